//! What is kept of a seeded run: a hash of all its steps, and the last of them to show when it fails.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::{Event, TreeNode};

/// Steps that the report of a failure shows.
const STEPS_SHOWN: usize = 40;
/// Steps that it shows when one seed is run alone, to be looked at.
const STEPS_SHOWN_ALONE: usize = 1000;

/// What tells one run from another. Runs of the same seed, scenario and build have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Over which task was polled when, what was delayed, and which events were seen.
    pub hash: u64,
    /// Polls and delays.
    pub steps: u64,
    /// On the clock of the run.
    pub elapsed: Duration,
}

pub(super) struct Record {
    began: Instant,
    hash: DefaultHasher,
    steps: u64,
    shown_max: usize,
    latest: VecDeque<Step>,
}

struct Step {
    at: Duration,
    what: What,
}

pub(super) enum What {
    Polled(u64, Arc<str>),
    Delayed(u64, Arc<str>, Duration),
    Saw(Event),
}

impl Record {
    /// The clock of the run begins here.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            // Not randomly keyed, other than the hasher of a `HashMap`.
            hash: DefaultHasher::new(),
            steps: 0,
            shown_max: if super::runs_alone() { STEPS_SHOWN_ALONE } else { STEPS_SHOWN },
            latest: VecDeque::with_capacity(STEPS_SHOWN),
        }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn note(&mut self, what: What) {
        let at = self.began.elapsed();
        at.hash(&mut self.hash);
        match &what {
            What::Polled(number, _) => {
                self.steps += 1;
                number.hash(&mut self.hash);
            }
            What::Delayed(number, _, delay) => {
                self.steps += 1;
                (number, delay).hash(&mut self.hash);
            }
            // Not what actors put into it, which may be told in another way each time.
            What::Saw(event) => mem::discriminant(event).hash(&mut self.hash),
        }
        if self.latest.len() == self.shown_max {
            self.latest.pop_front();
        }
        self.latest.push_back(Step { at, what });
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { hash: self.hash.finish(), steps: self.steps, elapsed: self.began.elapsed() }
    }

    /// Takes the last steps along.
    pub(super) fn failure(&mut self, why: Why, tree: Vec<TreeNode>) -> Failure {
        Failure { why, fingerprint: self.fingerprint(), tree, latest: mem::take(&mut self.latest) }
    }
}

/// Why a run has no result, and how it stood then.
pub(super) struct Failure {
    why: Why,
    fingerprint: Fingerprint,
    tree: Vec<TreeNode>,
    latest: VecDeque<Step>,
}

pub(super) enum Why {
    Panicked { task: Arc<str>, message: String },
    Deadlock,
    Endless,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Panicked { task, message } => write!(f, "{task} panicked: {message}")?,
            Why::Deadlock => f.write_str("deadlock: nothing is ready and no timer runs")?,
            Why::Endless => f.write_str("endless: the scenario does not come to its end")?,
        }
        write!(
            f,
            "\nafter {} steps, at {:?}, with this tree:",
            self.fingerprint.steps, self.fingerprint.elapsed
        )?;
        if self.tree.is_empty() {
            f.write_str("\n  (nobody)")?;
        }
        self.tree.iter().try_for_each(|node| show(node, 1, f))?;
        f.write_str("\nlatest steps:")?;
        self.latest.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        match &self.what {
            What::Polled(number, name) => write!(f, "{at:>9.3} s  {name} runs (task {number})"),
            What::Delayed(number, name, delay) => {
                write!(f, "{at:>9.3} s  {name} is delayed by {delay:?} (task {number})")
            }
            What::Saw(event) => write!(f, "{at:>9.3} s    {event:?}"),
        }
    }
}

fn show(node: &TreeNode, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let indent = depth * 2;
    write!(f, "\n{:indent$}{} {} {:?}", "", node.name, node.id, node.state)?;
    if let Some(mailbox) = &node.mailbox {
        write!(f, ", {} handled, {} queued", mailbox.handled, mailbox.depth)?;
    }
    if node.restarts > 0 {
        write!(f, ", restarts {}", node.restarts)?;
    }
    if let Some(reason) = &node.last_exit {
        write!(f, ", last exit {reason}")?;
    }
    node.children.iter().try_for_each(|child| show(child, depth + 1, f))
}
