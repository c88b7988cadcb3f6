//! `airssys stop`: asks the running application to stop in order.

use std::path::Path;
use std::process::ExitCode;

use airssys_node::control::Verb;
use clap::Args;

use super::{ANSWER_TIMEOUT, ask, text_of};
use crate::error::CommandError;
use crate::ui::Ui;

/// Stops the running application in order, as Ctrl-C does. Returns when it has begun to stop.
#[derive(Debug, Args)]
pub(crate) struct Stop {}

impl Stop {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let data = ask(socket, Verb::Stop, ANSWER_TIMEOUT).await?;
        ui.done(data, |data| format!("{} is stopping", text_of(data, "stopping")))
    }
}
