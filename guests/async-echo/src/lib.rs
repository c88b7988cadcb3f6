//! Awaits: `sleep:MS` answers after that time, `call:NAME:TEXT` answers with what the named component says, and
//! anything else comes back at once.

use std::time::Duration;

use airssys_wasm_component::{Address, AsyncComponent, Config, Failure, Message, Payload, component, sleep};

struct AsyncEcho;

#[component]
impl AsyncComponent for AsyncEcho {
    async fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let words: Vec<&str> = message.payload.text()?.splitn(3, ':').collect();
        match words.as_slice() {
            ["sleep", milliseconds] => {
                sleep::sleep_async(Duration::from_millis(milliseconds.parse()?)).await;
                Ok(Some(message.payload))
            }
            ["call", target, text] => {
                let target = Address::lookup(target)?;
                Ok(Some(target.call_async(Payload::raw(*text), None).await?))
            }
            _ => Ok(Some(message.payload)),
        }
    }
}
