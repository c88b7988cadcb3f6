//! `cargo xtask ci`: the steps of CI in order, each under a heading with its time, stopping at the first failure.
//!
//! The order is cheap first. A failing step says what to do; the last line counts what passed, failed, was skipped and was
//! not run. One step may skip itself: rebuilding guests needs a compiler for them, which a machine with Rust alone has
//! not. Where the variable CI is set nothing skips itself.

use crate::{deny, examples, fuzz, guests, program, tidy};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What CI runs; the discriminants are the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fmt,
    Tidy,
    Clippy,
    Tests,
    Doc,
    Deny,
    Fuzz,
    Guests,
    Examples,
}

const STEPS: [Step; 9] = [
    Step::Fmt,
    Step::Tidy,
    Step::Clippy,
    Step::Tests,
    Step::Doc,
    Step::Deny,
    Step::Fuzz,
    Step::Guests,
    Step::Examples,
];

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Clippy => "clippy",
            Self::Tests => "tests",
            Self::Doc => "doc",
            Self::Deny => "deny",
            Self::Fuzz => "fuzz",
            Self::Guests => "guests",
            Self::Examples => "examples",
        }
    }

    fn law(self) -> &'static str {
        match self {
            Self::Fmt => "the code is formatted",
            Self::Tidy => "the rules that no compiler knows hold",
            Self::Clippy => "no lint is raised anywhere",
            Self::Tests => "every test passes, documentation examples too",
            Self::Doc => "the documentation builds without a warning",
            Self::Deny => "dependencies have known licences and come from the registry",
            Self::Fuzz => "a minute of inputs that nobody thought of breaks no reader",
            Self::Guests => "guests rebuilt from source pass the tests that the prebuilt ones pass",
            Self::Examples => "the README's example runs to the end and its figures add up",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Fmt => "run the command above without `--check` and commit",
            Self::Tidy => "each finding above says what to do",
            Self::Clippy => "mend the code; lift a lint only with `#[expect(…, reason = \"…\")]`",
            Self::Tests => "run the failing test alone: `cargo test -p CRATE --test it NAME`",
            Self::Doc => "mend the links and examples named above",
            Self::Deny => "drop the dependency, or change deny.toml and say why in the commit",
            Self::Fuzz => {
                "the input lies in target/fuzz/found: give its path to the program of the target, mend the code, and keep \
                 the input as a seed in fuzz/seeds"
            }
            Self::Guests => {
                "if it did not build: CONTRIBUTING.md lists what a rebuild needs (`--skip guests` runs the rest without); \
                 if a test failed: the source and the prebuilt guest differ, so run `cargo xtask guests` and commit"
            }
            Self::Examples => "run the command above by hand and read its error",
        }
    }

    fn run(self, context: &Context) -> anyhow::Result<Done> {
        let root = context.root.as_path();
        let result = match self {
            Self::Fmt => formatted(root),
            Self::Tidy => tidy::check(root),
            Self::Clippy => {
                let warnings = ["--", "-D", "warnings"];
                program::run(
                    program::cargo(root).args(["clippy", "--workspace", "--all-targets"]).args(warnings),
                )?;
                // As those have it who depend on it alone: tests turn on a feature that is off for them.
                program::run(program::cargo(root).args(["clippy", "-p", "airssys-rt"]).args(warnings))
            }
            Self::Tests => program::run(program::cargo(root).args(["test", "--workspace"])),
            Self::Doc => program::run(
                program::cargo(root)
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Deny => deny::check(root, deny::Advisories::Leave),
            Self::Fuzz => fuzz::check(root),
            Self::Guests => return rebuilt_guests(context),
            Self::Examples => examples::check(root),
        };
        result.map(|()| Done::Passed)
    }
}

/// How a step ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    Passed,
    /// What was not checked, and what it takes.
    Skipped(String),
}

/// Guests, examples and fuzz targets are workspaces of their own, so cargo must be told of each.
fn formatted(root: &Path) -> anyhow::Result<()> {
    let mut manifests =
        vec![root.join("Cargo.toml"), root.join("fuzz/Cargo.toml"), root.join("guests/Cargo.toml")];
    for entry in root.join("examples").read_dir().context("list the examples")? {
        manifests.push(entry.context("list the examples")?.path().join("Cargo.toml"));
    }
    manifests.retain(|manifest| manifest.is_file());
    for manifest in manifests {
        program::run(
            program::cargo(root).args(["fmt", "--all", "--check", "--manifest-path"]).arg(manifest),
        )?;
    }
    Ok(())
}

struct Context {
    root: PathBuf,
    /// This program's path, taken at the start: `cargo test` replaces the file while we run.
    itself: PathBuf,
    /// Whether the variable CI is set: then a check that cannot be made is a failure.
    in_ci: bool,
}

/// What to say instead of rebuilding the guests, where `absent` says why this machine cannot. In CI it is tried all the
/// same: that may install a compiler, and where it cannot, the step fails.
fn skips_guests(in_ci: bool, absent: impl FnOnce() -> Option<String>) -> Option<String> {
    let absent = if in_ci { None } else { absent() }?;
    Some(format!("no guest was rebuilt from its source and tested: {absent}"))
}

/// Rebuilds every guest from source and runs the integration tests on the result instead of on the prebuilt ones.
fn rebuilt_guests(context: &Context) -> anyhow::Result<Done> {
    if let Some(notice) = skips_guests(context.in_ci, || guests::why_not_buildable(&context.root)) {
        return Ok(Done::Skipped(notice));
    }
    let folder = program::target_dir(&context.root).join("guests-rebuilt");
    let mut rebuild = Command::new(&context.itself);
    rebuild.current_dir(&context.root).args(["guests", "--rebuild-into"]).arg(&folder);
    program::run(&mut rebuild).context("rebuild the guests from source")?;
    // All crates, though few use guests: naming a few would change the features of what is built, and build it twice.
    let mut test = program::cargo(&context.root);
    test.args(["test", "--workspace", "--test", "it"]).env("AIRSSYS_GUESTS", &folder);
    program::run(&mut test).context("test with the rebuilt guests")?;
    Ok(Done::Passed)
}

pub(crate) fn main(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let steps = chosen(arguments)?;
    let context = Context {
        root: root.to_path_buf(),
        itself: std::env::current_exe().context("find this program's own path")?,
        in_ci: std::env::var_os("CI").is_some_and(|value| !value.is_empty()),
    };
    let began = Instant::now();
    let mut passed = 0;
    let mut skipped = STEPS.len() - steps.len();
    let mut notices = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let title = format!("[{}/{}] {}", index + 1, steps.len(), step.name());
        println!("\n{title}: {}", step.law());
        let step_began = Instant::now();
        let result = step.run(&context);
        let took = time(step_began.elapsed());
        match result {
            Ok(Done::Passed) => {
                passed += 1;
                println!("{title}: passed in {took}");
            }
            Ok(Done::Skipped(notice)) => {
                skipped += 1;
                println!("{title}: SKIPPED: {notice}");
                notices.push(format!("skipped {}: {notice}", step.name()));
            }
            Err(error) => {
                println!("{title}: FAILED after {took}: {error:#}");
                println!("do: {}", step.remedy());
                println!("again: cargo xtask ci --only {}", step.name());
                let not_run = steps.len() - index - 1;
                println!(
                    "\nci: {passed} passed, 1 failed, {not_run} not run, {skipped} skipped in {}",
                    time(began.elapsed())
                );
                bail!("the step {} failed", step.name());
            }
        }
    }
    println!();
    for notice in notices {
        println!("{notice}");
    }
    println!("ci: {passed} passed, 0 failed, {skipped} skipped in {}", time(began.elapsed()));
    Ok(())
}

/// The steps that `--only` and `--skip` leave, in CI's order whatever order they were named in.
fn chosen(arguments: &[String]) -> anyhow::Result<Vec<Step>> {
    let mut only = Vec::new();
    let mut skip = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (argument.as_str(), rest.next().map(String::as_str)),
        };
        let list = match flag {
            "--only" => &mut only,
            "--skip" => &mut skip,
            unknown => bail!("ci takes --only STEP and --skip STEP, not `{unknown}`"),
        };
        let names = value.with_context(|| format!("name the steps after {flag}: {}", names_of_steps()))?;
        for name in names.split(',') {
            let step = STEPS.into_iter().find(|step| step.name() == name);
            list.push(
                step.with_context(|| {
                    format!("there is no step `{name}`; the steps are {}", names_of_steps())
                })?,
            );
        }
    }
    let steps: Vec<Step> = STEPS
        .into_iter()
        .filter(|step| (only.is_empty() || only.contains(step)) && !skip.contains(step))
        .collect();
    if steps.is_empty() {
        bail!("no step is left to run; the steps are {}", names_of_steps());
    }
    Ok(steps)
}

fn names_of_steps() -> String {
    STEPS.map(Step::name).join(", ")
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_build_guests_skips_them_and_says_what_it_takes() {
        let notice = skips_guests(false, || Some("`rustup target add wasm32-wasip2`".to_owned())).unwrap();
        assert!(notice.contains("no guest was rebuilt"), "{notice}");
        assert!(notice.contains("rustup target add"), "{notice}");
    }

    #[test]
    fn ci_and_a_machine_that_can_build_guests_never_skip_them() {
        assert_eq!(skips_guests(true, || Some("no compiler".to_owned())), None);
        assert_eq!(skips_guests(true, || None), None);
        assert_eq!(skips_guests(false, || None), None);
    }

    fn chosen_names(arguments: &[&str]) -> Result<Vec<&'static str>, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
        let steps = chosen(&arguments).map_err(|error| error.to_string())?;
        Ok(steps.into_iter().map(Step::name).collect())
    }

    #[test]
    fn without_arguments_every_step_runs() {
        assert_eq!(chosen_names(&[]).unwrap(), STEPS.map(Step::name));
    }

    #[test]
    fn chosen_steps_keep_their_order() {
        assert_eq!(chosen_names(&["--only", "tests,fmt"]).unwrap(), ["fmt", "tests"]);
        assert_eq!(chosen_names(&["--only=tests", "--only=fmt", "--skip=fmt"]).unwrap(), ["tests"]);
    }

    #[test]
    fn a_choice_that_means_nothing_is_refused() {
        assert!(chosen_names(&["--only", "lint"]).unwrap_err().contains("no step `lint`"));
        assert!(chosen_names(&["--only"]).unwrap_err().contains("name the steps"));
        assert!(chosen_names(&["--fast"]).unwrap_err().contains("not `--fast`"));
        assert!(chosen_names(&["--only", "fmt", "--skip", "fmt"]).unwrap_err().contains("no step is left"));
    }
}
