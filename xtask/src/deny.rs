//! Licences, bans and sources of the dependencies, by cargo-deny with the rules of deny.toml.
//!
//! The tool is installed from the registry below the target folder at the version named here. Advisories need a database
//! that is fetched from elsewhere, so they are checked only when asked for; without that, this says that they were not.

use crate::program;
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "0.20.2";

pub(crate) fn main(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => check(root, Advisories::Leave),
        ["--advisories"] => check(root, Advisories::Fetch),
        other => bail!("deny takes --advisories or nothing, not `{}`", other.join(" ")),
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Advisories {
    Fetch,
    Leave,
}

pub(crate) fn check(root: &Path, advisories: Advisories) -> anyhow::Result<()> {
    let tool = installed(root)?;
    program::run(deny(root, &tool).args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    match advisories {
        Advisories::Fetch => program::run(deny(root, &tool).args(["check", "advisories"]))
            .context("check advisories (their database must be reachable)"),
        Advisories::Leave => {
            println!(
                "advisories: not checked; `cargo xtask deny --advisories` fetches their database and checks them"
            );
            Ok(())
        }
    }
}

fn deny(root: &Path, tool: &Path) -> Command {
    let mut command = Command::new(tool);
    command.current_dir(root).args(["--workspace", "--log-level", "warn"]);
    command
}

fn installed(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = program::target_dir(root).join("tools");
    let tool = folder.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if tool.is_file() && is_current(&tool)? {
        return Ok(tool);
    }
    let mut install = program::cargo(root);
    // Built in a folder that cargo removes afterwards: nothing else here shares its dependencies.
    install.env_remove("CARGO_TARGET_DIR");
    install.args([
        "install",
        "cargo-deny",
        "--locked",
        "--no-default-features",
        "--debug",
        "--force",
        "--version",
        VERSION,
        "--root",
    ]);
    program::run(install.arg(&folder)).context("install cargo-deny (the registry must be reachable)")?;
    Ok(tool)
}

fn is_current(tool: &Path) -> anyhow::Result<bool> {
    let answer = program::read(Command::new(tool).arg("--version"))?;
    Ok(answer.split_whitespace().any(|word| word == VERSION))
}
