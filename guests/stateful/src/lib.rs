//! A counter that survives an update: `count` answers, `add:N` adds, anything else adds one.
//!
//! The state is the number as decimal text. With the config entry `refuse = "yes"` it refuses every state, as a new
//! version does that cannot read the old one's.

use airssys_wasm_component::{Config, Failure, Message, Payload, StatefulComponent, component};

struct Counter {
    count: u64,
    refuses: bool,
}

#[component]
impl StatefulComponent for Counter {
    fn init(config: &Config) -> Result<Self, Failure> {
        Ok(Self { count: 0, refuses: config.entry("refuse") == Some("yes") })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let text = message.payload.text()?;
        if text != "count" {
            self.count += text.strip_prefix("add:").map_or(Ok(1), str::parse)?;
        }
        Ok(Some(Payload::raw(self.count.to_string())))
    }

    fn save(&self) -> Result<Payload, Failure> {
        Ok(Payload::raw(self.count.to_string()))
    }

    fn restore(&mut self, state: Payload) -> Result<(), Failure> {
        if self.refuses {
            return Err(Failure::rejected("told to refuse the state"));
        }
        self.count = state.text()?.parse()?;
        Ok(())
    }
}
