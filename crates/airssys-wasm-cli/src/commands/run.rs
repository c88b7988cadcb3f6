//! `airssys run COMPONENT [ARGS...]`: a program that is a component, on this terminal, with nothing granted.
//!
//! Its exit code becomes the command's. The signals keep their usual effect: Ctrl-C ends program and command at once.

use std::path::PathBuf;
use std::process::ExitCode;

use airssys_node::airssys_osl::{Name, OwnFiles};
use airssys_node::airssys_wasm::{COMPONENT_BYTES_MAX, Command, EngineError, EngineOptions, Engines};
use airssys_node::own_subject;
use clap::Args;

use crate::error::CommandError;
use crate::paths;

/// Runs a program that is a component (a wasi:cli command). It gets the standard streams and its arguments: no files,
/// no environment, no network.
#[derive(Debug, Args)]
pub(crate) struct Run {
    // One list, because everything after the component is the program's, also what looks like an option of ours.
    /// The component's file, and the program's arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_names = ["COMPONENT", "ARGS"]
    )]
    program: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode, CommandError> {
        let mut args = self.program;
        let path = args.first().map(PathBuf::from).unwrap_or_default();
        let (folder, file) = paths::named_file(&path)?;
        let bytes = folder.read(&file, COMPONENT_BYTES_MAX)?;
        let command = Command::load(&engines()?, &bytes)?;
        if let Some(name) = args.first_mut() {
            *name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        let code = command.run(&args).await?;
        // A process has eight bits for it, of which none may turn a failure into success.
        Ok(u8::try_from(code).unwrap_or(1).into())
    }
}

/// None as well while another program runs: a log has one writer.
fn cache() -> Option<OwnFiles> {
    let gate = super::up::gate(&paths::audit_of_runs()).ok()?;
    let name = Name::parse("cache").expect("a word is a name");
    Some(OwnFiles::new(gate, own_subject(), name, paths::cache().ok()?))
}

/// A cache that cannot be used costs a compilation and nothing else: not worth a word between the program's own.
fn engines() -> Result<Engines, EngineError> {
    match Engines::new(EngineOptions { cache: cache(), ..EngineOptions::default() }) {
        Err(EngineError::Cache(_)) => Engines::new(EngineOptions::default()),
        engines => engines,
    }
}
