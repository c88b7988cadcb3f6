//! One hop of the message benchmarks: the same bytes to the next component, where there is one.

use airssys_wasm_component::{Address, Component, Config, Failure, Message, Payload, component};

struct Hop {
    next: Option<Address>,
    handled: u64,
}

#[component]
impl Component for Hop {
    fn init(config: &Config) -> Result<Self, Failure> {
        let next = config.entry("to").map(Address::lookup).transpose()?;
        Ok(Self { next, handled: 0 })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        if message.payload.bytes == b"count?" {
            return Ok(Some(Payload::raw(self.handled.to_string())));
        }
        self.handled += 1;
        if let Some(next) = &self.next {
            next.send(&message.payload)?;
        }
        Ok(None)
    }
}
