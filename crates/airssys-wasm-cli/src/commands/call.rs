//! `airssys call TARGET PAYLOAD`: a message to a component, and its answer.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use airssys_node::control::Verb;
use clap::Args;
use serde_json::Value;

use super::{ANSWER_TIMEOUT, ask};
use crate::error::CommandError;
use crate::ui::Ui;

/// Sends a message to a component and prints its answer.
#[derive(Debug, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    message: Message,
    /// How long to wait for the answer [default: 30000].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout: Option<u64>,
}

/// A message as it is named on the command line.
#[derive(Debug, Args)]
pub(crate) struct Message {
    /// The component: NAME, NAME#INSTANCE or APPLICATION/NAME#INSTANCE.
    pub(crate) target: String,
    /// The message, as text.
    #[arg(allow_hyphen_values = true)]
    pub(crate) payload: String,
    /// How the component is to read it: raw, json, or the number of a codec [default: raw].
    #[arg(long, value_name = "CODEC", value_parser = codec)]
    pub(crate) codec: Option<u32>,
}

impl Call {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let Message { target, payload, codec } = self.message;
        let timeout_ms = self.timeout;
        // The node keeps the time; this only catches a node that does not answer at all.
        let patience = timeout_ms.map(Duration::from_millis).unwrap_or_default() + ANSWER_TIMEOUT;
        let verb = Verb::Call { target, payload, codec, timeout_ms };
        ui.done(ask(socket, verb, patience).await?, text)
    }
}

fn text(reply: &Value) -> String {
    match (reply.get("text").and_then(Value::as_str), reply.get("json"), reply.get("hex")) {
        (Some(text), _, _) => text.to_owned(),
        (None, Some(json), _) => format!("{json:#}"),
        (None, None, Some(hex)) => hex.as_str().unwrap_or_default().to_owned(),
        (None, None, None) => reply.to_string(),
    }
}

fn codec(text: &str) -> Result<u32, String> {
    match text {
        "raw" => Ok(airssys_node::airssys_wasm::Codec::RAW.0),
        "json" => Ok(airssys_node::airssys_wasm::Codec::JSON.0),
        number => number.parse().map_err(|_| "a codec is raw, json, or a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_shown_as_what_it_is() {
        assert_eq!(text(&json!({"codec": "raw", "text": "hello"})), "hello");
        assert_eq!(text(&json!({"codec": "json", "json": {"a": 1}})), "{\n  \"a\": 1\n}");
        assert_eq!(text(&json!({"codec": "raw", "hex": "00ff"})), "00ff");
    }

    #[test]
    fn a_codec_has_a_name_or_a_number() {
        assert_eq!((codec("json"), codec("85")), (Ok(0x200), Ok(85)));
        assert!(codec("yaml").is_err());
    }
}
