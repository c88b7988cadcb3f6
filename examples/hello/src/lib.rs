//! Answers each message with a greeting.

use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component};

struct Hello {
    greeting: String,
}

#[component]
impl Component for Hello {
    fn init(config: &Config) -> Result<Self, Failure> {
        Ok(Self { greeting: config.entry("greeting").unwrap_or("hello").to_owned() })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let name = message.payload.text()?;
        if name.is_empty() {
            return Err(Failure::rejected("a greeting needs a name"));
        }
        Ok(Some(Payload::raw(format!("{}, {name}", self.greeting))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greet(config: Config, name: &str) -> Result<Option<Payload>, Failure> {
        Hello::init(&config)?.handle_message(Message::new(Payload::raw(name)))
    }

    #[test]
    fn a_name_is_greeted_as_configured() {
        assert_eq!(greet(Config::default(), "Ada"), Ok(Some(Payload::raw("hello, Ada"))));
        assert_eq!(greet(Config::from([("greeting", "hi")]), "Ada"), Ok(Some(Payload::raw("hi, Ada"))));
    }

    #[test]
    fn an_empty_name_is_refused() {
        assert_eq!(greet(Config::default(), ""), Err(Failure::rejected("a greeting needs a name")));
    }
}
