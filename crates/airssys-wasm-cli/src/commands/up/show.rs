//! What a running application shows of itself: restarts, published messages, its components' log lines.
//!
//! Two hundred crashes in a second are news once: the first restarts are told one by one with the message that caused
//! each, then as one line per second. Nothing is counted here; the totals at the end come from the node.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use airssys_node::airssys_wasm::{CrashReport, Published, RouterEvent};
use airssys_node::{NodeEvent, Watch, report_of};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::{grouped, shown};
use crate::error::{CommandError, Kind};
use crate::ui::{Ui, one_line};

/// Restarts that are told one by one.
const RESTARTS_IN_FULL: u64 = 10;
/// How often the others are told in one line.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);
/// What happened before the stop and was not read yet is shown for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(20);
/// Guests choose the text of these.
const LOG_CHARS_MAX: usize = 2000;
const CRASH_CHARS_MAX: usize = 1000;

/// The task that shows.
pub(super) struct Show {
    task: Mutex<Option<(oneshot::Sender<()>, JoinHandle<Events>)>>,
    ui: Ui,
}

impl Show {
    pub(super) fn start(ui: Ui, watch: Watch) -> Self {
        let (ends, ended) = oneshot::channel();
        let task = tokio::spawn(show(ui.clone(), watch, ended));
        Show { task: Mutex::new(Some((ends, task))), ui }
    }

    /// Shows what has happened until now, and ends. Returns why this supervisor gave up, if it did.
    pub(super) async fn end(&self, supervisor: &str) -> Option<String> {
        let (ends, task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // Dropping the sender is the message.
        drop(ends);
        match task.await {
            Ok(mut events) => events.gave_up.remove(supervisor),
            Err(error) => {
                self.ui.warn(&CommandError::of(Kind::Failed, "events are not shown any more", &error));
                None
            }
        }
    }
}

async fn show(ui: Ui, mut watch: Watch, mut ended: oneshot::Receiver<()>) -> Events {
    let mut events = Events::default();
    let mut tick = tokio::time::interval(SUMMARY_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = watch.next() => match event {
                Some(event) => events.line(event).into_iter().for_each(|line| ui.note(&line)),
                None => break,
            },
            _ = tick.tick() => events.summary().into_iter().for_each(|line| ui.note(&line)),
            _ = &mut ended => break,
        }
    }
    while let Ok(Some(event)) = tokio::time::timeout(DRAIN_TIMEOUT, watch.next()).await {
        events.line(event).into_iter().for_each(|line| ui.note(&line));
    }
    let last = events.summary().into_iter().chain(events.leftovers());
    last.for_each(|line| ui.note(&line));
    events
}

/// What of the events is still to be told.
#[derive(Default)]
struct Events {
    /// Crashed components that their supervisors have not answered for yet.
    down: HashMap<String, Down>,
    restarts: u64,
    restarts_untold: u64,
    missed: u64,
    /// Supervisors that gave up, and the last end that each has seen.
    gave_up: HashMap<String, String>,
}

struct Down {
    /// Empty where only the fact counts, after the first restarts.
    cause: String,
    /// Summaries that it has waited for.
    age: u32,
}

impl Events {
    fn line(&mut self, event: NodeEvent) -> Option<String> {
        match event {
            NodeEvent::Exited { name, reason } => {
                let report = report_of(&reason)?;
                self.crashed(name, || report.to_string());
                None
            }
            NodeEvent::Restarted { name, reason, took } => {
                self.restarted(&name, took, || match report_of(&reason) {
                    Some(report) if report.component.to_string() == name => report.to_string(),
                    // A sibling's end, or one that was no crash.
                    Some(report) => format!("{name}, because {} crashed", report.component),
                    None => format!("{name}: {reason}"),
                })
            }
            NodeEvent::GaveUp { supervisor, reason } => {
                let report = report_of(&reason);
                if let Some(report) = report {
                    // Told with this.
                    self.down.remove(&report.component.to_string());
                }
                let cause = report.map_or_else(|| reason.to_string(), CrashReport::to_string);
                let cause = one_line(&cause, CRASH_CHARS_MAX);
                let line = format!("{supervisor} gave up: too many restarts; the last end was {cause}");
                self.gave_up.insert(supervisor, cause);
                Some(line)
            }
            NodeEvent::Router(RouterEvent::Log { from, level, text }) => {
                let level = level.as_str().to_ascii_lowercase();
                Some(format!("{level} {from}: {}", one_line(&text, LOG_CHARS_MAX)))
            }
            NodeEvent::Router(RouterEvent::Denied { from, verb, what }) => {
                Some(format!("denied {from}: {verb} {}", one_line(&what, LOG_CHARS_MAX)))
            }
            NodeEvent::Published(Published { from, topic, payload }) => {
                let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
                let text = String::from_utf8_lossy(&payload.bytes);
                Some(format!("{topic}{from}: {}", one_line(&text, LOG_CHARS_MAX)))
            }
            NodeEvent::Missed(missed) => {
                self.missed += missed;
                None
            }
            _ => None,
        }
    }

    fn crashed(&mut self, name: String, cause: impl FnOnce() -> String) {
        let in_full = self.restarts < RESTARTS_IN_FULL;
        let cause = if in_full { one_line(&cause(), CRASH_CHARS_MAX) } else { String::new() };
        self.down.insert(name, Down { cause, age: 0 });
    }

    fn restarted(&mut self, name: &str, took: Duration, cause: impl FnOnce() -> String) -> Option<String> {
        self.down.remove(name);
        self.restarts += 1;
        if self.restarts > RESTARTS_IN_FULL {
            self.restarts_untold += 1;
            return None;
        }
        Some(format!("restart: {}; up again in {}", one_line(&cause(), CRASH_CHARS_MAX), shown(took)))
    }

    /// The lines that are due once in a while.
    fn summary(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.restarts_untold > 0 {
            lines.push(format!("restart: {} more", grouped(self.restarts_untold)));
            self.restarts_untold = 0;
        }
        if self.missed > 0 {
            lines.push(format!(
                "{} events were too many to show; the totals count them",
                grouped(self.missed)
            ));
            self.missed = 0;
        }
        // A restart that takes its time, or none: a temporary component stays down.
        self.down.retain(|name, down| {
            down.age += 1;
            if down.age > 1 {
                lines.push(down.line(name));
            }
            down.age <= 1
        });
        lines
    }

    /// Crashes that no restart has followed until the end.
    fn leftovers(&mut self) -> Vec<String> {
        self.down.drain().map(|(name, down)| down.line(&name)).collect()
    }
}

impl Down {
    fn line(&self, name: &str) -> String {
        match self.cause.as_str() {
            "" => format!("crash: {name}"),
            cause => format!("crash: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn crash_and_restart(events: &mut Events, line: usize) -> Option<String> {
        let cause = || format!("log/parse#0: trap while handling \"line {line}\"");
        events.crashed("log/parse#0".into(), cause);
        events.restarted("log/parse#0", MS, cause)
    }

    #[test]
    fn the_first_restarts_are_told_with_the_line_that_caused_them() {
        let mut events = Events::default();
        let told = crash_and_restart(&mut events, 7).unwrap();
        assert!(told.contains("line 7") && told.ends_with("up again in 1.0 ms"), "{told}");
        assert!(events.summary().is_empty());
    }

    #[test]
    fn two_hundred_restarts_are_told_in_eleven_lines() {
        let mut events = Events::default();
        let told = (0..200).filter_map(|line| crash_and_restart(&mut events, line)).count();
        assert_eq!(told as u64, RESTARTS_IN_FULL);
        assert_eq!(events.summary(), ["restart: 190 more"]);
        assert!(events.summary().is_empty());
    }

    #[test]
    fn a_crash_that_no_restart_follows_is_told_once() {
        let mut events = Events::default();
        events.crashed("log/parse#0".into(), || "log/parse#0: trap".into());
        assert!(events.summary().is_empty());
        assert_eq!(events.summary(), ["crash: log/parse#0: trap"]);
        assert!(events.summary().is_empty());

        events.crashed("log/parse#0".into(), || "log/parse#0: trap".into());
        assert_eq!(events.leftovers(), ["crash: log/parse#0: trap"]);
        assert!(events.leftovers().is_empty());
    }
}
