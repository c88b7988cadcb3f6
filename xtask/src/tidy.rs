//! The rules that no compiler knows: who may import whom, what must be tested, what must not be written.
//!
//! A check reads the files that git tracks and returns findings; a finding says where, what, and what to do about it.
//! The invariants in docs/architecture.md name these checks, and the check `invariants` holds the two lists together.

mod attacks;
mod doors;
mod guests;
mod imports;
mod invariants;
mod readme;
mod sizes;
mod source;
mod tree;
mod wit;
mod words;

use anyhow::bail;
use std::path::Path;
use tree::Tree;

/// One thing that is wrong at one place.
#[derive(Debug)]
pub(crate) struct Finding {
    weight: Weight,
    place: String,
    problem: String,
    remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
}

impl Finding {
    fn error(place: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { weight: Weight::Error, place: place.into(), problem: problem.into(), remedy: remedy.into() }
    }

    fn warning(place: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(place, problem, remedy) }
    }
}

struct Check {
    /// What an invariant's `[tidy: …]` tag says.
    name: &'static str,
    run: Run,
}

enum Run {
    /// Reads the tracked files only.
    Tree(fn(&Tree) -> Vec<Finding>),
    /// Starts programs in the workspace at this root.
    Root(fn(&Path) -> anyhow::Result<Vec<Finding>>),
}

static CHECKS: &[Check] = &[
    Check { name: "import-directions", run: Run::Tree(imports::directions) },
    Check { name: "light-embedding", run: Run::Root(imports::light_embedding) },
    Check { name: "doors", run: Run::Tree(doors::findings) },
    Check { name: "one-wit", run: Run::Tree(wit::findings) },
    Check { name: "words", run: Run::Tree(words::findings) },
    Check { name: "sizes", run: Run::Tree(sizes::findings) },
    Check { name: "guests-tested", run: Run::Tree(guests::findings) },
    Check { name: "guests-fresh", run: Run::Root(guests_are_fresh) },
    Check { name: "invariants", run: Run::Tree(every_invariant_is_checked) },
    Check { name: "attacks", run: Run::Tree(attacks::findings) },
    Check { name: "readme-commands", run: Run::Tree(readme::findings) },
];

fn guests_are_fresh(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let stale = |error: anyhow::Error| {
        let remedy = "run `cargo xtask guests`, and `cargo xtask polyglot` for C, and commit what they made";
        Finding::error("guests/prebuilt/guests.lock", format!("{error:#}"), remedy)
    };
    Ok(crate::guests::check(root).map_err(stale).err().into_iter().collect())
}

fn every_invariant_is_checked(tree: &Tree) -> Vec<Finding> {
    let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    invariants::findings(tree, &names)
}

pub(crate) fn main(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    if !arguments.is_empty() {
        bail!("tidy takes no arguments, not `{}`", arguments.join(" "));
    }
    check(root)
}

/// Runs every check, so that one run shows all there is to mend.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::tracked(root)?;
    let mut errors = 0;
    let mut warnings = 0;
    for check in CHECKS {
        let findings = match check.run {
            Run::Tree(run) => run(&tree),
            Run::Root(run) => run(root)?,
        };
        for Finding { weight, place, problem, remedy } in &findings {
            let word = match weight {
                Weight::Error => {
                    errors += 1;
                    "error"
                }
                Weight::Warning => {
                    warnings += 1;
                    "warning"
                }
            };
            println!("{word}[{}]: {place}: {problem}\n  do: {remedy}", check.name);
        }
    }
    println!("tidy: {} checks over {} files: {errors} errors, {warnings} warnings", CHECKS.len(), tree.len());
    if errors > 0 {
        bail!("tidy found {errors} errors");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_one_name() {
        let mut names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
    }
}
