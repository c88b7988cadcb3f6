//! `echo` for wasm32-wasip2: its std speaks WASI 0.2, so the component imports what std needs beside our contract.
//!
//! Each message is also written to standard output; `stderr:X` goes to standard error, `time` answers with the system
//! time in nanoseconds, `env:NAME` with an environment variable or `none`, and `read:PATH` with a file.

use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component};

struct Echo;

#[component]
impl Component for Echo {
    fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let text = message.payload.text()?;
        let (command, rest) = text.split_once(':').unwrap_or((text, ""));
        let answer = match command {
            "stderr" => {
                eprintln!("{rest}");
                return Ok(Some(message.payload));
            }
            "time" => std::time::UNIX_EPOCH.elapsed()?.as_nanos().to_string(),
            "env" => std::env::var(rest).unwrap_or_else(|_| "none".to_owned()),
            "read" => std::fs::read_to_string(rest)?,
            _ => {
                println!("{text}");
                return Ok(Some(message.payload));
            }
        };
        Ok(Some(Payload::raw(answer)))
    }
}
