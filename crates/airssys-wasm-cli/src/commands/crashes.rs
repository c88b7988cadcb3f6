//! `airssys crashes`: the latest crash reports, each with the message that was being handled.

use std::path::Path;
use std::process::ExitCode;

use airssys_node::CrashRecord;
use airssys_node::control::Verb;
use clap::Args;

use super::{ANSWER_TIMEOUT, ask};
use crate::error::{CommandError, Kind};
use crate::ui::{Ui, one_line};

/// Shows the latest crash reports.
#[derive(Debug, Args)]
pub(crate) struct Crashes {}

/// A crashed component chose the message and the names of its functions.
const MESSAGE_CHARS_MAX: usize = 300;
const FUNCTION_CHARS_MAX: usize = 200;

impl Crashes {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let data = ask(socket, Verb::Crashes, ANSWER_TIMEOUT).await?;
        let records = data.get("crashes").cloned().unwrap_or_default();
        let records: Vec<CrashRecord> = serde_json::from_value(records)
            .map_err(|error| CommandError::of(Kind::NotRunning, "read the node's answer", &error))?;
        ui.done(data, |_| match records.is_empty() {
            true => "nothing has crashed".to_owned(),
            false => records.iter().map(text).collect::<Vec<_>>().join("\n"),
        })
    }
}

fn text(record: &CrashRecord) -> String {
    let mut text = format!("{}: {}\n", record.component, one_line(&record.cause, MESSAGE_CHARS_MAX));
    for function in &record.backtrace {
        text.push_str(&format!("  in {}\n", one_line(function, FUNCTION_CHARS_MAX)));
    }
    if let Some(message) = &record.message {
        text.push_str(&format!("  while handling \"{}\"\n", one_line(message, MESSAGE_CHARS_MAX)));
    }
    text
}
