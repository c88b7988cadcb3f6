//! Capabilities as they are asked for and as they are granted. One shape for both: a grant is a request that was met.
//!
//! Nothing is permitted by default. A grant must lie within the request of `Component.toml`, pattern by pattern.

use std::collections::BTreeSet;

use super::pattern::{TargetPattern, TopicPattern};
use airssys_osl::document::Section;
use airssys_osl::document::{Located, Problem};

/// Most patterns of one list.
pub const PATTERNS_MAX: usize = 256;

/// A service of the host that is either given or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Service {
    /// `logging`.
    Log,
    /// `clock`.
    Clock,
    /// `random`.
    Random,
    /// `sleep`.
    Sleep,
    /// WASI 0.2 with nothing granted inside.
    Wasi,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] =
        [Service::Log, Service::Clock, Service::Random, Service::Sleep, Service::Wasi];

    /// The key in both files.
    pub fn key(self) -> &'static str {
        match self {
            Service::Log => "log",
            Service::Clock => "clock",
            Service::Random => "random",
            Service::Sleep => "sleep",
            Service::Wasi => "wasi",
        }
    }
}

/// What a component may do, or asks to do. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Components it may send to, call and request from.
    pub send: Vec<TargetPattern>,
    /// Topics it may publish to.
    pub publish: Vec<TopicPattern>,
    /// Topics it may subscribe to.
    pub subscribe: Vec<TopicPattern>,
    /// Services it may import.
    pub services: BTreeSet<Service>,
}

impl Capabilities {
    /// Whether a component of application `own` may send to `namespace/name`.
    pub fn may_send(&self, own: &str, namespace: &str, name: &str) -> bool {
        self.send.iter().any(|pattern| pattern.matches(own, namespace, name))
    }

    /// Whether it may publish to `topic`.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether it may subscribe to all of `pattern`: one granted pattern has to cover it.
    pub fn may_subscribe(&self, pattern: &TopicPattern) -> bool {
        self.subscribe.iter().any(|granted| granted.covers(pattern))
    }

    /// Whether it may import `service`.
    pub fn may_use(&self, service: Service) -> bool {
        self.services.contains(&service)
    }
}

/// Capabilities with the places where a file names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenCapabilities {
    /// See [`Capabilities::send`].
    pub send: Vec<Located<TargetPattern>>,
    publish: Vec<Located<TopicPattern>>,
    subscribe: Vec<Located<TopicPattern>>,
    services: Vec<Located<Service>>,
}

impl WrittenCapabilities {
    /// Reads a table of capabilities.
    pub fn read(section: &mut Section<'_>) -> Self {
        let send = section.parsed_list("send", PATTERNS_MAX, TargetPattern::parse);
        let publish = section.parsed_list("publish", PATTERNS_MAX, TopicPattern::parse);
        let subscribe = section.parsed_list("subscribe", PATTERNS_MAX, TopicPattern::parse);
        let mut given = |service: Service| {
            let truth = section.boolean(service.key())?;
            truth.value.then_some(Located { value: service, at: truth.at })
        };
        WrittenCapabilities {
            send: send.unwrap_or_default(),
            publish: publish.unwrap_or_default(),
            subscribe: subscribe.unwrap_or_default(),
            services: Service::ALL.into_iter().filter_map(&mut given).collect(),
        }
    }

    /// The same without places.
    pub fn plain(&self) -> Capabilities {
        Capabilities {
            send: self.send.iter().map(|pattern| pattern.value.clone()).collect(),
            publish: self.publish.iter().map(|pattern| pattern.value.clone()).collect(),
            subscribe: self.subscribe.iter().map(|pattern| pattern.value.clone()).collect(),
            services: self.services.iter().map(|service| service.value).collect(),
        }
    }

    /// What of this lies within `requested`, for a component of application `own`; the rest are problems.
    pub fn within(&self, requested: &Capabilities, own: &str, problems: &mut Vec<Problem>) -> Capabilities {
        let mut refuse = |at, what: String| {
            let message = format!("{what} is granted, but Component.toml does not request it");
            problems.push(Problem::new(at, message));
        };
        let mut granted = self.plain();
        for pattern in &self.send {
            if !requested.send.iter().any(|asked| asked.covers(own, &pattern.value)) {
                refuse(pattern.at, format!("sending to `{}`", pattern.value));
                granted.send.retain(|other| *other != pattern.value);
            }
        }
        for pattern in &self.publish {
            if !requested.publish.iter().any(|asked| asked.covers(&pattern.value)) {
                refuse(pattern.at, format!("publishing to `{}`", pattern.value));
                granted.publish.retain(|other| *other != pattern.value);
            }
        }
        for pattern in &self.subscribe {
            if !requested.may_subscribe(&pattern.value) {
                refuse(pattern.at, format!("subscribing to `{}`", pattern.value));
                granted.subscribe.retain(|other| *other != pattern.value);
            }
        }
        for service in &self.services {
            if !requested.may_use(service.value) {
                refuse(service.at, format!("`{}`", service.value.key()));
                granted.services.remove(&service.value);
            }
        }
        granted
    }
}
