//! `airssys audit verify FOLDER`: whether an audit log is as it was written.

use std::path::PathBuf;
use std::process::ExitCode;

use airssys_node::airssys_osl::Root;
use airssys_node::airssys_osl::audit::{AuditError, Head, verify};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{grouped, text_of};
use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// Works with audit logs.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Reads a whole log and names the first record that is not as it was written.
    Verify {
        /// The folder of the log.
        folder: PathBuf,
        /// A newest record that was noted before, as `SEQ:HASH`: shows also what is missing at the end.
        #[arg(long)]
        head: Option<String>,
    },
}

impl Audit {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let Verb::Verify { folder, head } = self.verb;
        let known = match head {
            Some(text) => Some(Head::parse(&text).ok_or_else(|| {
                CommandError::new(Kind::Usage, "the head is not `SEQ:HASH`")
                    .hint("`airssys audit verify` shows one")
            })?),
            None => None,
        };
        match verify(&Root::open(&folder)?, known) {
            Ok(sound) => {
                let data = json!({
                    "first": sound.first,
                    "last": sound.head.seq,
                    "head": sound.head.to_string(),
                });
                ui.done(data, |data| {
                    let last = grouped(data["last"].as_u64().unwrap_or_default());
                    format!("sound up to record {last}\nhead {}", text_of(data, "head"))
                })
            }
            Err(AuditError::Broken(broken)) => {
                let data = json!({
                    "file": broken.file, "line": broken.line, "seq": broken.seq, "flaw": format!("{:?}", broken.flaw),
                });
                Err(CommandError::new(Kind::Invalid, broken.to_string()).data(data))
            }
            Err(AuditError::Folder(error)) => Err(error.into()),
            Err(error) => Err(CommandError::of(Kind::Failed, "verify the audit log", &error)),
        }
    }
}
