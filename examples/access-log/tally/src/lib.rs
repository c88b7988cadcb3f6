//! Counts per route: requests, bytes, errors and latencies. `report` answers with all of it as JSON.
//!
//! A record is three lines: the route, the agent's class, and `STATUS BYTES MILLISECONDS`. Every `notify_every`
//! records of a route, `alert` is told how it does. The counts survive an update.

mod latencies;

use std::collections::BTreeMap;

use airssys_wasm_component::{Address, Config, Failure, Message, Payload, StatefulComponent, component, log};
use latencies::Latencies;
use serde::{Deserialize, Serialize};

/// The log chooses the routes, so their number needs a bound; the rest is counted together.
const ROUTES_MAX: usize = 1000;
const OTHER: &str = "(other)";

pub struct Tally {
    alert: Address,
    notify_every: u64,
    counts: Counts,
}

#[derive(Default, Serialize, Deserialize)]
struct Counts {
    counted: u64,
    agents: BTreeMap<String, u64>,
    routes: BTreeMap<String, Route>,
}

#[derive(Default, Serialize, Deserialize)]
struct Route {
    count: u64,
    bytes: u64,
    errors: u64,
    latencies: Latencies,
}

#[derive(Serialize)]
struct Report<'a> {
    counted: u64,
    agents: &'a BTreeMap<String, u64>,
    routes: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    route: &'a str,
    count: u64,
    bytes: u64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
}

#[derive(Serialize)]
struct Standing<'a> {
    route: &'a str,
    count: u64,
    errors: u64,
}

#[component]
impl StatefulComponent for Tally {
    fn init(config: &Config) -> Result<Self, Failure> {
        let notify_every = config.parse_or("notify_every", 1000_u64)?;
        if notify_every == 0 {
            return Err(Failure::fatal("config entry notify_every is 0: it must be at least 1"));
        }
        Ok(Self { alert: Address::lookup("alert")?, notify_every, counts: Counts::default() })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let text = message.payload.text()?;
        if text == "report" {
            return Ok(Some(Payload::json(&self.counts.report())?));
        }
        let record = Record::read(text).ok_or_else(|| Failure::rejected("not a record"))?;
        let (name, route) = self.counts.add(&record);
        if route.count % self.notify_every == 0 {
            let standing = Standing { route: name, count: route.count, errors: route.errors };
            // The record is counted, and the next notice says all that this one did: losing one is not worth more.
            if let Err(error) = self.alert.send(&Payload::json(&standing)?) {
                log::warn(&format!("alert was not told of {name}: {error}"));
            }
        }
        Ok(None)
    }

    fn save(&self) -> Result<Payload, Failure> {
        Ok(Payload::json(&self.counts)?)
    }

    fn restore(&mut self, state: Payload) -> Result<(), Failure> {
        self.counts = state.parse_json()?;
        Ok(())
    }
}

struct Record<'a> {
    route: &'a str,
    agent: &'a str,
    status: u16,
    bytes: u64,
    ms: f64,
}

impl<'a> Record<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (route, rest) = text.split_once('\n')?;
        let (agent, numbers) = rest.split_once('\n')?;
        let (status, rest) = numbers.split_once(' ')?;
        let (bytes, ms) = rest.split_once(' ')?;
        let ms = ms.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms >= 0.0)?;
        Some(Self { route, agent, status: status.parse().ok()?, bytes: bytes.parse().ok()?, ms })
    }
}

impl Counts {
    /// Counts a record and returns how its route stands now, and under which name.
    fn add<'a>(&mut self, record: &Record<'a>) -> (&'a str, &Route) {
        self.counted += 1;
        *entry(&mut self.agents, record.agent).1 += 1;
        let (name, route) = entry(&mut self.routes, record.route);
        route.count += 1;
        route.bytes = route.bytes.saturating_add(record.bytes);
        route.errors += u64::from(record.status >= 500);
        route.latencies.add(record.ms);
        (name, route)
    }

    fn report(&self) -> Report<'_> {
        let lines = self.routes.iter().map(|(name, route)| Line {
            route: name,
            count: route.count,
            bytes: route.bytes,
            p50_ms: route.latencies.quantile_ms(0.50),
            p99_ms: route.latencies.quantile_ms(0.99),
            errors: route.errors,
        });
        Report { counted: self.counted, agents: &self.agents, routes: lines.collect() }
    }
}

/// The entry of `name`, or that of everything else once there are as many as there may be.
fn entry<'a, 'n, T: Default>(entries: &'a mut BTreeMap<String, T>, name: &'n str) -> (&'n str, &'a mut T) {
    let name = if entries.contains_key(name) || entries.len() < ROUTES_MAX { name } else { OTHER };
    if !entries.contains_key(name) {
        entries.insert(name.to_owned(), T::default());
    }
    (name, entries.get_mut(name).expect("it was inserted above"))
}
