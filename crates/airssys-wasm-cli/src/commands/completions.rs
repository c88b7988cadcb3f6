//! `airssys completions SHELL`: a script that completes this command line in a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::{Cli, text_of};
use crate::error::CommandError;
use crate::ui::Ui;

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "airssys", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        ui.done(json!({ "shell": self.shell.to_string(), "script": script }), |data| {
            text_of(data, "script").to_owned()
        })
    }
}
