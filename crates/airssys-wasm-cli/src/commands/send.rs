//! `airssys send TARGET PAYLOAD`: a message into a component's mailbox.

use std::path::Path;
use std::process::ExitCode;

use airssys_node::control::Verb;
use clap::Args;

use super::call::Message;
use super::{ANSWER_TIMEOUT, ask, text_of};
use crate::error::CommandError;
use crate::ui::Ui;

/// Sends a message to a component and returns when it is in the mailbox.
#[derive(Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    message: Message,
}

impl Send {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let Message { target, payload, codec } = self.message;
        let verb = Verb::Send { target, payload, codec };
        ui.done(ask(socket, verb, ANSWER_TIMEOUT).await?, |data| {
            format!("sent to {}", text_of(data, "sent_to"))
        })
    }
}
