//! What the macro makes of an impl block where nothing is exported.

use airssys_wasm_component::testing::block_on;
use airssys_wasm_component::{
    AsyncComponent, Component, Config, Failure, Health, Message, Metadata, Payload, StatefulComponent,
    component,
};

struct Counter(u64);

#[component]
impl StatefulComponent for Counter {
    fn init(config: &Config) -> Result<Self, Failure> {
        Ok(Self(config.parse_or("from", 0)?))
    }

    fn handle_message(&mut self, _message: Message) -> Result<Option<Payload>, Failure> {
        self.0 += 1;
        Ok(None)
    }

    fn save(&self) -> Result<Payload, Failure> {
        Ok(Payload::raw(self.0.to_string()))
    }

    fn restore(&mut self, state: Payload) -> Result<(), Failure> {
        self.0 = state.text()?.parse()?;
        Ok(())
    }
}

struct Named;

#[component]
impl Component for Named {
    fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn handle_message(&mut self, _message: Message) -> Result<Option<Payload>, Failure> {
        Ok(None)
    }

    fn metadata() -> Metadata {
        Metadata { name: "own".to_owned(), version: "2".to_owned(), description: String::new() }
    }
}

struct Waiting;

#[component]
impl AsyncComponent for Waiting {
    async fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        Ok(Some(message.payload))
    }
}

#[test]
fn metadata_is_the_packages_unless_the_block_has_its_own() {
    assert_eq!(Counter::metadata().name, "airssys-wasm-component");
    assert_eq!(Counter::metadata().version, env!("CARGO_PKG_VERSION"));
    assert_eq!(Named::metadata().name, "own");
}

#[test]
fn a_state_goes_from_one_instance_to_the_next() {
    let mut old = Counter::init(&Config::from([("from", "41")])).unwrap();
    old.handle_message(Message::new(Payload::empty())).unwrap();
    let mut new = Counter::init(&Config::default()).unwrap();
    new.restore(old.save().unwrap()).unwrap();
    assert_eq!(new.0, 42);
}

#[test]
fn a_component_that_says_nothing_is_healthy() {
    assert_eq!(Named::init(&Config::default()).unwrap().health(), Health::Healthy);
}

#[test]
fn an_async_component_runs_without_a_runtime() {
    let reply = block_on(async {
        let mut waiting = Waiting::init(&Config::default()).await?;
        waiting.handle_message(Message::new(Payload::raw("now"))).await
    });
    assert_eq!(reply, Ok(Some(Payload::raw("now"))));
}

#[test]
fn a_config_entry_is_read_by_name_and_refused_by_name() {
    let config = Config::from([("to", "tally"), ("every", "10"), ("wrong", "ten")]);
    assert_eq!(config.entry("to"), Some("tally"));
    assert_eq!(config.require("to"), Ok("tally"));
    assert_eq!(config.parse_or("every", 1_u64), Ok(10));
    assert_eq!(config.parse_or("absent", 1_u64), Ok(1));
    assert_eq!(config.require("absent"), Err(Failure::fatal("config entry absent is missing")));
    let refused = config.parse_or("wrong", 1_u64).unwrap_err();
    assert_eq!(refused, Failure::fatal("config entry wrong = \"ten\": invalid digit found in string"));
}
