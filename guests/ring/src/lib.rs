//! Passes a token around: eight bytes, little endian, how many hops remain.
//!
//! Whoever gets zero sends the token to the component that the config entry `done` names, or publishes it to
//! `ring.done`.

use airssys_wasm_component::{Address, Component, Config, Failure, Message, Payload, component, topics};

struct Ring {
    next: String,
    done: Option<String>,
    /// Looked up at the first token: the members of a ring cannot all start after their next.
    next_address: Option<Address>,
}

#[component]
impl Component for Ring {
    fn init(config: &Config) -> Result<Self, Failure> {
        let done = config.entry("done").map(str::to_owned);
        Ok(Self { next: config.require("to")?.to_owned(), done, next_address: None })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let remaining = <[u8; 8]>::try_from(message.payload.bytes.as_slice())?;
        let Some(left) = u64::from_le_bytes(remaining).checked_sub(1) else {
            match &self.done {
                Some(done) => Address::lookup(done)?.send(&message.payload)?,
                None => drop(topics::publish("ring.done", &message.payload)?),
            }
            return Ok(None);
        };
        let next = match self.next_address.take() {
            Some(next) => next,
            None => Address::lookup(&self.next)?,
        };
        let sent = next.send(&Payload::raw(left.to_le_bytes()));
        self.next_address = Some(next);
        sent?;
        Ok(None)
    }
}
