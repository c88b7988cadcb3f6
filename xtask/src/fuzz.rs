//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, each for a time, beside each other.
//!
//! The targets are built with the compiler at hand: the coverage that guides the fuzzer needs no other one. What a target
//! learned stays in `target/fuzz`, so the next run goes on from there; what broke one lies there too, and the command
//! that tries it again is printed. A target that ended without having tried anything is a failure.

use crate::program;
use anyhow::{Context as _, bail};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SECONDS: u32 = 60;
/// Fewer inputs than this in any time mean that the target did not work.
const INPUTS_MIN: u64 = 1000;
/// What the compiler adds to the code, so that the fuzzer sees which inputs reach what.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

pub(crate) fn main(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let known = targets(root)?;
    let mut seconds = SECONDS;
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => {
                let value = rest.next().context("say how many seconds after --seconds")?;
                seconds = value.parse().with_context(|| format!("read {value:?} as seconds"))?;
            }
            name if known.iter().any(|known| known == name) => chosen.push(name.to_owned()),
            name => bail!("there is no fuzz target `{name}`; the targets are {}", known.join(", ")),
        }
    }
    run(root, if chosen.is_empty() { &known } else { &chosen }, seconds)
}

/// All targets for as long as CI gives them.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    run(root, &targets(root)?, SECONDS)
}

/// A target is a folder of seeds; the build fails where one has no program, and [`run`] where one has no seeds.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in root.join("fuzz/seeds").read_dir().context("list the fuzz targets")? {
        names.push(entry.context("list the fuzz targets")?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

struct Running {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

fn run(root: &Path, names: &[String], seconds: u32) -> anyhow::Result<()> {
    let folder = program::target_dir(root).join("fuzz");
    // Named, so that the flags reach neither build scripts nor macros.
    let triple = host(root)?;
    let mut build = program::cargo(root);
    build.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &triple]);
    build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &folder);
    program::run(&mut build).context("build the fuzz targets")?;
    let mut running = Vec::new();
    for name in names {
        let (corpus, found) = (folder.join("corpus").join(name), folder.join("found").join(name));
        for made in [&corpus, &found] {
            std::fs::create_dir_all(made).with_context(|| format!("create {}", made.display()))?;
        }
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = Command::new(folder.join(&triple).join("release").join(name));
        command
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(&corpus)
            .arg(root.join("fuzz/seeds").join(name));
        println!("$ {}", program::describe(&command));
        command.stdin(Stdio::null()).stdout(out.try_clone().context("share the log")?).stderr(out);
        let child = command.spawn().with_context(|| format!("start the fuzz target {name}"))?;
        running.push(Running { name: name.clone(), child, log });
    }
    // All of them are waited for, also when one fails: none may outlive this.
    let ended: Vec<_> = running.into_iter().map(Running::end).collect();
    ended.into_iter().collect()
}

impl Running {
    fn end(mut self) -> anyhow::Result<()> {
        let name = &self.name;
        let status = self.child.wait().with_context(|| format!("wait for the fuzz target {name}"))?;
        let text = std::fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        let text = String::from_utf8_lossy(&text);
        if !status.success() {
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            bail!(
                "the fuzz target {name} ended with {status}; all of it is in {}:\n{end}",
                self.log.display()
            );
        }
        let tried =
            tried(&text).with_context(|| format!("the fuzz target {name} does not say what it tried"))?;
        if tried < INPUTS_MIN {
            bail!("the fuzz target {name} tried {tried} inputs only: it does not work");
        }
        println!("{name}: {tried} inputs tried, none found that breaks it");
        Ok(())
    }
}

fn tried(log: &str) -> Option<u64> {
    let line = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

fn host(root: &Path) -> anyhow::Result<String> {
    let version = program::read(program::cargo(root).arg("-vV"))?;
    let triple = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("cargo -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fuzzer_tried_is_read_from_its_last_words() {
        assert_eq!(
            tried("Done 7 runs\nstat::number_of_executed_units: 4389442\nstat::x: 1"),
            Some(4_389_442)
        );
        assert_eq!(tried("Done 7 runs"), None);
    }
}
