//! Publishes `alert.raised` when a route fails too often.
//!
//! A notice is JSON `{route, count, errors}`. A route is reported when the part of its requests that failed passes
//! `threshold`, once there were `minimum` of them; and again only after it had come back below.

use std::collections::BTreeSet;

use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component, topics};
use serde::{Deserialize, Serialize};

/// The sender chooses the routes, so the memory of them needs a bound.
const RAISED_MAX: usize = 10_000;

pub struct Alert {
    threshold: f64,
    minimum: u64,
    raised: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Notice {
    route: String,
    count: u64,
    errors: u64,
}

#[derive(Serialize)]
struct Raised<'a> {
    route: &'a str,
    error_rate: f64,
    count: u64,
}

#[component]
impl Component for Alert {
    fn init(config: &Config) -> Result<Self, Failure> {
        let threshold = config.parse_or("threshold", 0.05_f64)?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(Failure::fatal(format!("config entry threshold = {threshold}: not between 0 and 1")));
        }
        Ok(Self { threshold, minimum: config.parse_or("minimum", 100_u64)?, raised: BTreeSet::new() })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let Notice { route, count, errors } = message.payload.parse_json()?;
        let error_rate = errors as f64 / count.max(1) as f64;
        if error_rate <= self.threshold {
            self.raised.remove(&route);
        } else if count >= self.minimum && !self.raised.contains(&route) {
            if self.raised.len() >= RAISED_MAX {
                return Err(Failure::rejected("too many routes fail at once"));
            }
            topics::publish("alert.raised", &Payload::json(&Raised { route: &route, error_rate, count })?)?;
            self.raised.insert(route);
        }
        Ok(None)
    }
}
