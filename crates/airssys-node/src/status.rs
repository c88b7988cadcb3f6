//! What a node shows of itself: components, the tree, recent crashes. Plain data, ready for JSON.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airssys_rt::{ActorId, Event, Events, ExitReason, NodeKind, NodeState, System, TreeNode};
use airssys_wasm::{CrashReport, RouterCounts};
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// Crash reports that a node keeps; older ones are forgotten.
const CRASHES_KEPT: usize = 64;

/// One instance of a component.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// `namespace/name#instance`.
    pub id: String,
    /// From its manifest.
    pub version: String,
    /// `starting`, `running`, `restarting`, `stopping`, `quarantined` or `down`.
    pub state: String,
    /// How often its supervisor has started it again.
    pub restarts: u64,
    /// How the last instance that ended did so.
    pub last_exit: Option<String>,
    /// Messages waiting now.
    pub mailbox_len: u64,
    /// Messages that may wait.
    pub mailbox_capacity: u64,
    /// Messages handled since the node started.
    pub handled: u64,
    /// Messages that a full mailbox gave back.
    pub refused: u64,
    /// Messages that were lost: overflow by policy, or the end of the component.
    pub dropped: u64,
    /// Bytes of linear memory after the last message.
    pub memory_bytes: u64,
    /// What that may grow to.
    pub memory_bytes_max: u64,
}

/// Messages that did not arrive, since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    /// Operations refused for want of a grant.
    pub denied: u64,
    /// Messages whose sender had stopped waiting before they were handled.
    pub expired: u64,
    /// Published messages and timers that a full or closed mailbox did not take.
    pub unheard: u64,
    /// Answers that came after their asker had stopped waiting.
    pub late: u64,
    /// Messages lost by a mailbox's policy or by the end of their receiver.
    pub dead_letters: u64,
}

/// One node of the supervision tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeNodeStatus {
    /// The supervisor's or the component's name.
    pub name: String,
    /// `supervisor` or `worker`.
    pub kind: String,
    /// As in [`ComponentStatus`].
    pub state: String,
    /// How often it was started again.
    pub restarts: u64,
    /// In start order.
    pub children: Vec<TreeNodeStatus>,
}

/// One crash of a component.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CrashRecord {
    /// Which component.
    pub component: String,
    /// What happened.
    pub cause: String,
    /// The guest's stack, innermost first.
    pub backtrace: Vec<String>,
    /// The message that it was handling, at most 4 KiB of it; what is not UTF-8 is replaced. Not escaped: whoever shows
    /// it on a terminal must.
    pub message: Option<String>,
}

impl Node {
    /// Every instance of every component, in start order.
    pub fn status(&self) -> Vec<ComponentStatus> {
        let tree = self.system().tree();
        let mut actors = HashMap::new();
        flatten(&tree, &mut actors);
        self.components()
            .iter()
            .map(|component| {
                let actor = actors.get(&component.actor());
                let mailbox = component.mailbox();
                ComponentStatus {
                    id: component.id().to_string(),
                    version: self.version(component.id()).to_owned(),
                    state: actor.map_or_else(|| "down".to_owned(), |node| state(node.state).to_owned()),
                    restarts: actor.map_or(0, |node| node.restarts),
                    last_exit: actor.and_then(|node| node.last_exit.as_ref()).map(ExitReason::to_string),
                    mailbox_len: mailbox.depth as u64,
                    mailbox_capacity: mailbox.capacity as u64,
                    handled: mailbox.handled,
                    refused: mailbox.rejected,
                    dropped: mailbox.dropped,
                    memory_bytes: component.memory_bytes() as u64,
                    memory_bytes_max: component.limits().memory_bytes_max,
                }
            })
            .collect()
    }

    /// Messages that did not arrive, since the node started.
    pub fn message_counts(&self) -> MessageCounts {
        let RouterCounts { denied, expired, unheard, late } = self.router().counts();
        let lost = self.system().dead_letters();
        MessageCounts {
            denied,
            // A mailbox drops what it sees expire; a component's actor what expires on the way into the guest.
            expired: expired + lost.expired,
            unheard,
            late,
            dead_letters: lost.closed + lost.dropped_oldest + lost.dropped_newest + lost.refused,
        }
    }

    /// The supervision tree, the root first.
    pub fn tree(&self) -> Vec<TreeNodeStatus> {
        self.system().tree().iter().map(tree_status).collect()
    }

    /// Restarts of all components since the node started.
    pub fn restarts(&self) -> u64 {
        restarts(&self.system().tree())
    }

    /// The latest crashes, oldest first, at most 64.
    pub fn crash_records(&self) -> Vec<CrashRecord> {
        self.crashes().records()
    }
}

fn flatten<'a>(nodes: &'a [TreeNode], into: &mut HashMap<ActorId, &'a TreeNode>) {
    for node in nodes {
        into.insert(node.id, node);
        flatten(&node.children, into);
    }
}

fn restarts(nodes: &[TreeNode]) -> u64 {
    let of = |node: &TreeNode| match node.kind {
        NodeKind::Worker => node.restarts,
        NodeKind::Supervisor => restarts(&node.children),
    };
    nodes.iter().map(of).sum()
}

fn tree_status(node: &TreeNode) -> TreeNodeStatus {
    TreeNodeStatus {
        name: node.name.to_string(),
        kind: kind(node.kind).to_owned(),
        state: state(node.state).to_owned(),
        restarts: node.restarts,
        children: node.children.iter().map(tree_status).collect(),
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Starting => "starting",
        NodeState::Running => "running",
        NodeState::Restarting => "restarting",
        NodeState::Stopping => "stopping",
        NodeState::Quarantined => "quarantined",
        NodeState::Down => "down",
    }
}

fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Worker => "worker",
        NodeKind::Supervisor => "supervisor",
    }
}

/// The latest crashes of a node.
#[derive(Clone)]
pub(crate) struct Crashes(Arc<Mutex<Collected>>);

struct Collected {
    /// What has not been looked at. Read by whoever asks, so that nobody is told less than has happened.
    events: Events,
    records: VecDeque<CrashRecord>,
}

impl Crashes {
    /// Collects until the actor system is gone.
    pub(crate) fn watch(system: &System) -> Self {
        let collected = Collected { events: system.events(), records: VecDeque::new() };
        let crashes = Crashes(Arc::new(Mutex::new(collected)));
        // Its own events only wake this task: those that are collected must not wait until they are too many.
        let (mut news, collects) = (system.events(), crashes.clone());
        tokio::spawn(async move {
            while news.next().await.is_some() {
                collects.lock().collect();
            }
        });
        crashes
    }

    fn records(&self) -> Vec<CrashRecord> {
        let mut collected = self.lock();
        collected.collect();
        collected.records.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collected {
    fn collect(&mut self) {
        while let Some(event) = self.events.try_next() {
            if let Ok(Event::Exited { reason, .. } | Event::StartFailed { reason, .. }) = event
                && let Some(report) = report_of(&reason)
            {
                if self.records.len() == CRASHES_KEPT {
                    self.records.pop_front();
                }
                self.records.push_back(record(report));
            }
        }
    }
}

/// The crash report that an exit carries.
pub fn report_of(reason: &ExitReason) -> Option<&CrashReport> {
    reason.as_error()?.downcast_ref()
}

fn record(report: &CrashReport) -> CrashRecord {
    CrashRecord {
        component: report.component.to_string(),
        cause: report.cause.to_string(),
        backtrace: report.backtrace.iter().map(|frame| frame.function.clone()).collect(),
        message: report.message.as_ref().map(|message| String::from_utf8_lossy(&message.bytes).into_owned()),
    }
}
