//! `airssys audit`: audit logs verified, read, searched and exported, and the keys that sign them.

mod records;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use airssys_node::airssys_osl::Root;
use airssys_node::airssys_osl::audit::{
    AuditError, Broken, Head, KeyError, PublicKey, SecretKey, verify, verify_signed,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{grouped, text_of};
use crate::error::{CommandError, Kind};
use crate::paths;
use crate::ui::Ui;

pub(super) use records::Reading;

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
        /// The folder of the log [default: that of the node at the socket].
        folder: Option<PathBuf>,
        /// A newest record that was noted before, as `SEQ:HASH`: shows also what is missing at the end.
        #[arg(long)]
        head: Option<String>,
        /// A file with the public key of the log: shows also what was written anew.
        #[arg(long, value_name = "PUBFILE")]
        key: Option<PathBuf>,
    },
    /// Shows the newest records.
    Tail(records::Tail),
    /// Shows the records that say something.
    Search(records::Search),
    /// Writes all records as OCSF events, one JSON object a line.
    Export {
        /// The folder of the log [default: that of the node at the socket].
        folder: Option<PathBuf>,
    },
    /// Makes a key to sign a log with: FILE, which is a secret, and FILE.pub beside it.
    Key {
        /// The file of the secret key, which does not exist yet.
        file: PathBuf,
    },
}

impl Audit {
    pub(crate) fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let of_node = || paths::audit(socket);
        match self.verb {
            Verb::Verify { folder, head, key } => run_verify(ui, &folder.unwrap_or_else(of_node), head, key),
            Verb::Tail(tail) => tail.run(ui, of_node),
            Verb::Search(search) => search.run(ui, of_node),
            Verb::Export { folder } => records::export(ui, &folder.unwrap_or_else(of_node)),
            Verb::Key { file } => make_key(ui, &file),
        }
    }
}

fn run_verify(
    ui: &Ui,
    folder: &Path,
    head: Option<String>,
    key: Option<PathBuf>,
) -> Result<ExitCode, CommandError> {
    let known = match head {
        Some(text) => Some(Head::parse(&text).ok_or_else(|| {
            CommandError::new(Kind::Usage, "the head is not `SEQ:HASH`")
                .hint("`airssys audit verify` shows one")
        })?),
        None => None,
    };
    let root = Root::open(folder)?;
    let verified = match key {
        Some(path) => {
            let (folder, name) = paths::named_file(&path)?;
            verify_signed(&root, known, &PublicKey::read(&folder, &name).map_err(key_error)?)
        }
        None => verify(&root, known),
    };
    let sound = verified.map_err(log_error)?;
    let data = json!({
        "first": sound.first,
        "last": sound.head.seq,
        "head": sound.head.to_string(),
        "signed": sound.signed,
        "clock_steps": sound.clock_steps,
    });
    ui.done(data, |data| {
        let number = |key: &str| data[key].as_u64();
        let mut lines = vec![format!("sound up to record {}", grouped(number("last").unwrap_or_default()))];
        lines.extend(number("signed").map(|signed| format!("signed up to record {}", grouped(signed))));
        let steps = number("clock_steps").filter(|steps| *steps > 0);
        lines.extend(steps.map(|steps| format!("the clock was set {} times", grouped(steps))));
        lines.push(format!("head {}", text_of(data, "head")));
        lines.join("\n")
    })
}

fn make_key(ui: &Ui, file: &Path) -> Result<ExitCode, CommandError> {
    let (folder, name) = Root::of_file(file)?;
    let key = SecretKey::create(&folder, name.as_ref()).map_err(key_error)?;
    let data = json!({ "secret": file, "public": file.with_added_extension("pub"), "key": key.public().to_string() });
    ui.done(data, |data| {
        format!("secret key {}\npublic key {}", text_of(data, "secret"), text_of(data, "public"))
    })
}

fn key_error(error: KeyError) -> CommandError {
    let kind = match error {
        KeyError::File(error) => return error.into(),
        KeyError::Shape | KeyError::Weak => Kind::Invalid,
        _ => Kind::Refused,
    };
    CommandError::new(kind, error.to_string())
}

/// Where a log is broken.
fn flaw(broken: &Broken) -> Value {
    json!({ "file": broken.file, "line": broken.line, "seq": broken.seq, "flaw": format!("{:?}", broken.flaw) })
}

pub(super) fn log_error(error: AuditError) -> CommandError {
    match error {
        AuditError::Broken(broken) => {
            CommandError::new(Kind::Invalid, broken.to_string()).data(flaw(&broken))
        }
        AuditError::Folder(error) => error.into(),
        error => CommandError::of(Kind::Failed, "read the audit log", &error),
    }
}
