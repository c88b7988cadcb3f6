//! What the tests stand on: one set of engines, the prebuilt guests, and a small application around them.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use airssys_rt::{ChildSpec, MailboxOptions, Strategy, SupervisorSpec, System};
use airssys_wasm::manifest::{Accepts, Capabilities, Limits, Service, TargetPattern, TopicPattern};
use airssys_wasm::{
    CallError, Component, ComponentHandle, ComponentId, ComponentSpec, EngineOptions, Engines, Payload,
    Runtime,
};

/// How long a test waits for what must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// One set of engines for all tests of the process.
pub(crate) fn engines() -> Engines {
    static ENGINES: OnceLock<Engines> = OnceLock::new();
    let options = || EngineOptions { pool_instances: Some(64), cache: None };
    ENGINES.get_or_init(|| Engines::new(options()).expect("the engines start")).clone()
}

/// The bytes of a prebuilt guest; of `AIRSSYS_GUESTS` when that names a folder of freshly built ones.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let prebuilt = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/prebuilt");
    let folder = std::env::var_os("AIRSSYS_GUESTS").map_or(prebuilt, PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("read the guest {}: {error}", path.display()))
}

/// A guest as a component, granted every service.
pub(crate) fn component(name: &str) -> Component {
    Component::load(&engines(), &guest(name), false).unwrap_or_else(|error| panic!("load {name}: {error:?}"))
}

/// One component of the application under test.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) component: Component,
    pub(crate) grants: Capabilities,
    pub(crate) limits: Limits,
    pub(crate) mailbox: MailboxOptions,
    pub(crate) accepts: Accepts,
    pub(crate) config: Vec<(String, String)>,
}

impl Part {
    pub(crate) fn new(name: &'static str, guest: &str) -> Self {
        Part {
            name,
            component: component(guest),
            grants: services(),
            limits: Limits::default(),
            mailbox: MailboxOptions { overflow: airssys_rt::Overflow::Reject, ..MailboxOptions::default() },
            accepts: Accepts::All,
            config: Vec::new(),
        }
    }

    pub(crate) fn to(mut self, target: &str) -> Self {
        self.config.push(("to".into(), target.into()));
        self.may_send(target)
    }

    pub(crate) fn may_send(mut self, target: &str) -> Self {
        self.grants.send.push(TargetPattern::parse(target).expect("a pattern"));
        self
    }

    pub(crate) fn may_publish(mut self, pattern: &str) -> Self {
        self.grants.publish.push(TopicPattern::parse(pattern).expect("a pattern"));
        self
    }

    pub(crate) fn may_subscribe(mut self, pattern: &str) -> Self {
        self.grants.subscribe.push(TopicPattern::parse(pattern).expect("a pattern"));
        self
    }

    pub(crate) fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }
}

pub(crate) fn services() -> Capabilities {
    Capabilities { services: Service::ALL.into_iter().collect(), ..Capabilities::default() }
}

/// A running application of the given parts under one supervisor.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) system: System,
    handles: Vec<ComponentHandle>,
}

impl World {
    /// One for one, with room for many restarts.
    pub(crate) async fn start(parts: Vec<Part>) -> Self {
        World::supervised(parts, Strategy::OneForOne, 1000).await
    }

    pub(crate) async fn supervised(parts: Vec<Part>, strategy: Strategy, intensity: u32) -> Self {
        let system = System::new();
        let runtime = Runtime::new(engines(), system.clone());
        let (children, handles) = children(&runtime, parts);
        let spec = SupervisorSpec {
            strategy,
            intensity,
            period: Duration::from_secs(60),
            children,
            ..SupervisorSpec::new("top")
        };
        system.supervise(spec).await.expect("the application starts");
        World { runtime, system, handles }
    }

    pub(crate) fn get(&self, name: &str) -> &ComponentHandle {
        let named = |handle: &&ComponentHandle| handle.id().name() == name;
        self.handles.iter().find(named).unwrap_or_else(|| panic!("no component {name}"))
    }

    /// Calls a component with a text and returns its answer as text.
    pub(crate) async fn ask(&self, name: &str, text: &str) -> Result<String, CallError> {
        let reply = self.get(name).call(Payload::raw(text.as_bytes().to_vec()), Some(SOON)).await?;
        Ok(String::from_utf8(reply.bytes.to_vec()).expect("the guest answers with text"))
    }

    /// As `ask`, for an answer that must come.
    pub(crate) async fn answer(&self, name: &str, text: &str) -> String {
        self.ask(name, text).await.unwrap_or_else(|error| panic!("{name} answers {text:?}: {error}"))
    }

    /// Asks again and again until the answer satisfies.
    pub(crate) async fn until(&self, name: &str, text: &str, satisfies: impl Fn(&str) -> bool) -> String {
        let wait = async {
            loop {
                if let Ok(answer) = self.ask(name, text).await
                    && satisfies(&answer)
                {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(SOON, wait)
            .await
            .unwrap_or_else(|_| panic!("{name} never answered {text:?} as expected"))
    }

    /// How often a component's supervisor has started it again.
    pub(crate) fn restarts(&self, name: &str) -> u64 {
        let actor = self.get(name).actor();
        let tree = self.system.tree();
        let node = tree.iter().flat_map(|top| &top.children).find(|node| node.id == actor);
        node.map_or(0, |node| node.restarts)
    }

    /// Waits until the supervisor has counted so many restarts; it does so a moment after the instance can answer.
    pub(crate) async fn restarted(&self, name: &str, times: u64) {
        let counted = async {
            while self.restarts(name) != times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, counted)
            .await
            .unwrap_or_else(|_| panic!("{name}: {} restarts", self.restarts(name)));
    }

    pub(crate) async fn stop(self) {
        let report = self.system.shutdown(Duration::from_secs(10)).await;
        assert!(report.is_clean(), "the node stops in order: {report:?}");
    }
}

pub(crate) fn children(runtime: &Runtime, parts: Vec<Part>) -> (Vec<ChildSpec>, Vec<ComponentHandle>) {
    parts
        .into_iter()
        .map(|part| {
            let Part { name, component, grants, limits, mailbox, accepts, config } = part;
            let id = ComponentId::new("test", name, "0").expect("a component's name");
            let spec = ComponentSpec { id, component, limits, grants, accepts, config, mailbox };
            runtime.child(spec).unwrap_or_else(|error| panic!("{name}: {error:?}"))
        })
        .unzip()
}
