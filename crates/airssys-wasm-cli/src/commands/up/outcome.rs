//! What a run has to say at its end, as data and as text.
//!
//! The report of the application's own component is merged in: the keys of its object stand beside the counts, and
//! cannot replace them.

use std::time::Duration;

use airssys_node::control::reply_value;
use airssys_node::{FeedSummary, Node, StopReport};
use serde_json::{Map, Value, json};

use super::super::{grouped, shown, text_of};
use super::Clock;
use crate::error::{CommandError, Kind};
use crate::ui::{one_line, table_of_objects};

/// Crash reports that the numbers carry.
const CRASHES_MAX: usize = 10;
const VALUE_CHARS_MAX: usize = 1000;

/// The numbers of a run, as they come in.
pub(super) struct Outcome<'c> {
    data: Map<String, Value>,
    clock: &'c Clock,
}

impl<'c> Outcome<'c> {
    pub(super) fn new(node: &Node, clock: &'c Clock) -> Self {
        let mut data = Map::new();
        data.insert("application".into(), node.name().into());
        data.insert("interrupted".into(), false.into());
        Outcome { data, clock }
    }

    /// What was read and became of it.
    pub(super) fn fed(&mut self, summary: &FeedSummary) {
        let FeedSummary { read, accepted, rejected, rejected_by, elapsed_ms, first_answer_ms, interrupted } =
            *summary;
        let before_ms =
            self.clock.feeding.map(|feeding| whole_ms(feeding.duration_since(self.clock.started)));
        let startup_ms = first_answer_ms.zip(before_ms).map(|(first, before)| before + first);
        let fields = [
            ("read", json!(read)),
            ("accepted", json!(accepted)),
            ("rejected", json!(rejected)),
            ("rejected_by", json!(rejected_by)),
            ("elapsed_ms", json!(elapsed_ms)),
            ("startup_ms", json!(startup_ms)),
            ("lines_per_s", json!(per_second(read, Duration::from_millis(elapsed_ms)))),
            ("interrupted", json!(interrupted)),
        ];
        self.data.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    }

    /// Asks the application's component for its report and takes it in.
    pub(super) async fn report(&mut self, node: &Node) -> Result<(), CommandError> {
        let reply = match node.report().await {
            None => return Ok(()),
            Some(Ok(reply)) => reply,
            Some(Err(error)) => {
                return Err(CommandError::of(Kind::Failed, "the application gave no report", &error));
            }
        };
        // A component may answer JSON under codec raw: what parses as an object is one.
        let report = match serde_json::from_slice::<Value>(&reply.bytes) {
            Ok(report) => report,
            Err(_) => reply_value(&reply),
        };
        self.merge(report);
        Ok(())
    }

    fn merge(&mut self, report: Value) {
        match report {
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.data.entry(key).or_insert(value);
                }
            }
            other => {
                self.data.entry("report").or_insert(other);
            }
        }
    }

    /// Restarts and crashes, which stay known after their components.
    pub(super) fn count(&mut self, node: &Node) {
        let mut crashes = node.crash_records();
        let older = crashes.len().saturating_sub(CRASHES_MAX);
        crashes.drain(..older);
        self.data.insert("restarts".into(), node.restarts().into());
        self.data.insert("crashes".into(), json!(crashes));
        if self.clock.feeding.is_none() {
            self.data.insert("elapsed_ms".into(), whole_ms(node.uptime()).into());
        }
    }

    /// How the end went.
    pub(super) fn stopped(&mut self, report: &StopReport) {
        let names = |names: &[std::sync::Arc<str>]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let shutdown = &report.shutdown;
        let stop = json!({
            "took_ms": whole_ms(report.took),
            "stopped": names(&shutdown.stopped),
            "killed": names(&shutdown.killed),
            "stuck": names(&shutdown.stuck),
        });
        self.data.insert("stop".into(), stop);
    }

    /// Whether the input was left before its end.
    pub(super) fn interrupted(&self) -> bool {
        self.data.get("interrupted") == Some(&Value::Bool(true))
    }

    pub(super) fn into_data(self) -> Value {
        Value::Object(self.data)
    }
}

/// Keys that the lines above the report already tell.
const TOLD: [&str; 14] = [
    "application",
    "read",
    "accepted",
    "rejected",
    "rejected_by",
    "elapsed_ms",
    "startup_ms",
    "lines_per_s",
    "interrupted",
    "restarts",
    "crashes",
    "stop",
    "codec",
    "text",
];

/// The same for people: the counts, then whatever the report has, lists of objects as tables.
pub(super) fn text(data: &Value) -> String {
    let mut lines = counts(data);
    if let Some(text) = data.get("text").and_then(Value::as_str) {
        lines.push(text.to_owned());
    }
    let fields = data.as_object().into_iter().flatten().filter(|(key, _)| !TOLD.contains(&key.as_str()));
    let mut tables = Vec::new();
    for (key, value) in fields {
        let key = one_line(key, VALUE_CHARS_MAX);
        match value.as_array().and_then(|list| table_of_objects(list)) {
            Some(table) => tables.push(format!("\n{key}\n{table}")),
            None => lines.push(format!("{key}: {}", plain(value))),
        }
    }
    lines.extend(tables);
    lines.join("\n")
}

fn counts(data: &Value) -> Vec<String> {
    let number = |key: &str| data.get(key).and_then(Value::as_u64);
    let elapsed = Duration::from_millis(number("elapsed_ms").unwrap_or_default());
    let name = text_of(data, "application");
    let mut lines = Vec::new();
    match (number("read"), number("accepted"), number("rejected")) {
        (Some(read), Some(accepted), Some(rejected)) => {
            let rate = number("lines_per_s").unwrap_or_default();
            let interrupted = if data["interrupted"] == true { ", interrupted" } else { "" };
            lines.push(format!(
                "{name}: {} lines read in {} ({} per second){interrupted}",
                grouped(read),
                shown(elapsed),
                grouped(rate)
            ));
            lines.push(format!(
                "accepted {}, rejected {}{}",
                grouped(accepted),
                grouped(rejected),
                reasons(data)
            ));
        }
        _ => lines.push(format!("{name}: ran for {}", shown(elapsed))),
    }
    let stop = &data["stop"];
    let took = Duration::from_millis(stop["took_ms"].as_u64().unwrap_or_default());
    let forced = ["killed", "stuck"].map(|how| match stop[how].as_array() {
        Some(names) if !names.is_empty() => format!(", {} {how}", names.len()),
        _ => String::new(),
    });
    let restarts = grouped(number("restarts").unwrap_or_default());
    lines.push(format!("restarts {restarts}; stopped in {}{}", shown(took), forced.concat()));
    lines
}

fn reasons(data: &Value) -> String {
    let fields = data["rejected_by"].as_object().into_iter().flatten();
    let told: Vec<String> = fields
        .filter_map(|(reason, count)| Some((reason, count.as_u64().filter(|count| *count > 0)?)))
        .map(|(reason, count)| format!("{} {}", grouped(count), reason.replace('_', " ")))
        .collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => one_line(text, VALUE_CHARS_MAX),
        other => one_line(&other.to_string(), VALUE_CHARS_MAX),
    }
}

pub(super) fn per_second(count: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use airssys_node::Rejections;
    use std::time::Instant;

    fn outcome(clock: &Clock) -> Outcome<'_> {
        let data = Map::from_iter([("application".to_owned(), json!("log"))]);
        let mut outcome = Outcome { data, clock };
        let rejected_by = Rejections { crashed: 2, ..Rejections::default() };
        outcome.fed(&FeedSummary {
            read: 5,
            accepted: 3,
            rejected: 2,
            rejected_by,
            ..FeedSummary::default()
        });
        outcome
    }

    #[test]
    fn a_report_adds_to_the_counts_and_cannot_replace_them() {
        let clock = Clock { started: Instant::now(), feeding: None };
        let mut outcome = outcome(&clock);
        outcome.merge(json!({"read": 99, "routes": [{"route": "/", "count": 3}], "slowest_ms": 7}));
        let data = outcome.into_data();
        assert_eq!((&data["read"], &data["routes"][0]["count"]), (&json!(5), &json!(3)));
        let text = text(&data);
        assert!(text.contains("5 lines read") && text.contains("rejected 2 (2 crashed)"), "{text}");
        assert!(text.contains("routes\n") && text.contains("slowest_ms: 7"), "{text}");
    }

    #[test]
    fn a_report_that_is_no_object_stands_by_itself() {
        let clock = Clock { started: Instant::now(), feeding: None };
        let mut outcome = outcome(&clock);
        outcome.merge(json!([1, 2]));
        assert_eq!(outcome.into_data()["report"], json!([1, 2]));
    }
}
