//! `airssys crash NAME`: ends a component's instance as if it had crashed, and shows what its supervisor did.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use airssys_node::control::Verb;
use clap::Args;
use serde_json::Value;

use super::{ANSWER_TIMEOUT, ask, shown, text_of};
use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// Crashes a component on purpose and shows what its supervisor does.
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// The component: NAME, NAME#INSTANCE or APPLICATION/NAME#INSTANCE.
    target: String,
}

impl Crash {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let data = ask(socket, Verb::Crash { target: self.target }, ANSWER_TIMEOUT).await?;
        if data.get("restarted").and_then(Value::as_bool) != Some(true) {
            let message =
                format!("{} crashed, and no supervisor started it again", text_of(&data, "crashed"));
            return Err(CommandError::new(Kind::Failed, message)
                .hint("`airssys tree` shows what is left; a temporary component is never started again")
                .data(data));
        }
        ui.done(data, |data| {
            let took = Duration::from_micros(data.get("took_us").and_then(Value::as_u64).unwrap_or_default());
            format!("{} crashed; its supervisor restarted it in {}", text_of(data, "crashed"), shown(took))
        })
    }
}
