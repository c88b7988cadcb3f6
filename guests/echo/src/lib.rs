//! Replies what it is sent. A published message is logged instead.

use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component, log};

struct Echo;

#[component]
impl Component for Echo {
    fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        match message.topic {
            None => Ok(Some(message.payload)),
            Some(topic) => {
                log::info(&format!("{topic}: {}", String::from_utf8_lossy(&message.payload.bytes)));
                Ok(None)
            }
        }
    }
}
