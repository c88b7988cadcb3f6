//! `airssys ps`: the components of the running application and their state.

use std::path::Path;
use std::process::ExitCode;

use airssys_node::control::Verb;
use clap::Args;
use serde_json::Value;

use super::{ANSWER_TIMEOUT, ask};
use crate::error::CommandError;
use crate::ui::{Ui, table};

/// Lists the components of the running application.
#[derive(Debug, Args)]
pub(crate) struct Ps {}

const COLUMNS: [(&str, &str); 8] = [
    ("component", "id"),
    ("version", "version"),
    ("state", "state"),
    ("restarts", "restarts"),
    ("handled", "handled"),
    ("waiting", "mailbox_len"),
    ("memory", "memory_bytes"),
    ("last exit", "last_exit"),
];

impl Ps {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        ui.done(ask(socket, Verb::Ps, ANSWER_TIMEOUT).await?, text)
    }
}

fn text(data: &Value) -> String {
    let headers = COLUMNS.map(|(header, _)| header.to_owned());
    let components = data.get("components").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let field = |component: &Value, key: &str| component.get(key).cloned().unwrap_or(Value::Null);
    let rows: Vec<_> = components
        .iter()
        .map(|component| COLUMNS.iter().map(|(_, key)| field(component, key)).collect())
        .collect();
    table(&headers, &rows)
}
