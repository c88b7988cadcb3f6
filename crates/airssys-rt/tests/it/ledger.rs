//! What must hold in any run of any tree: written down as it happens, by those it happens to and by the system's own hook.
//!
//! The hook is called within actors, where a panic would be an actor's, so what is wrong is kept and shown at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use airssys_rt::{
    ActorId, DeadLetterReason, Event, ExitReason, MailboxStats, Metrics, NodeKind, NodeState, Restart,
    Strategy, TellError, TreeNode,
};

pub(crate) type Name = Arc<str>;

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    alive: BTreeMap<ActorId, Name>,
    supervisors: BTreeMap<Name, SupervisorBook>,
    workers: BTreeMap<Name, WorkerBook>,
    /// The latest number of each sender that each worker has seen.
    latest: BTreeMap<(Name, u64), u64>,
    /// Actors of the test that are in memory.
    instances: i64,
    wrong: Vec<String>,
}

/// A supervisor as it was specified, and its present incarnation.
#[derive(Clone)]
pub(crate) struct SupervisorBook {
    pub(crate) parent: Option<Name>,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: u32,
    /// In start order.
    pub(crate) children: Vec<(Name, Restart)>,
    /// It was killed: what is left of its children dies beside the new ones.
    pub(crate) is_disturbed: bool,
    /// Children were started and stopped by hand.
    pub(crate) is_manual: bool,
    pub(crate) era: Era,
}

/// What one incarnation of a supervisor did.
#[derive(Clone, Default)]
pub(crate) struct Era {
    is_running: bool,
    gave_up: bool,
    first_starts: Vec<Name>,
    restarts: BTreeMap<Name, u32>,
    failed_starts: u32,
    /// Ends of each child that no restart has been told for: one that is being started when its supervisor is stopped is
    /// stopped first.
    ends: BTreeMap<Name, u32>,
}

#[derive(Clone, Default)]
struct WorkerBook {
    supervisor: Option<Name>,
    restart: Option<Restart>,
    made: u64,
    ended: u64,
    sent: u64,
    refused: u64,
    /// Sent by actors that ended meanwhile, or not.
    perhaps: u64,
    handled: u64,
    /// Spawns that are not through yet.
    spawning: u64,
    lost: u64,
    /// Messages that may have been kept from the handler by a fault on order.
    faults: u64,
    forgotten: u64,
    /// An exit of it need not come from its supervisor.
    is_linked: bool,
}

impl Metrics for Ledger {
    fn event(&self, event: &Event) {
        let mut books = self.lock();
        match event {
            Event::Started { id, name } => books.started(*id, name),
            Event::StartFailed { id, name, reason } => {
                if !matches!(reason, ExitReason::Init(_)) {
                    books.wrong(format!("{name} failed to start by {reason}"));
                }
                books.start_failed(*id, name);
            }
            Event::Exited { id, name, reason } => books.exited(*id, name, reason),
            Event::Restarted { supervisor, name, reason, .. } => books.restarted(*supervisor, name, reason),
            Event::GaveUp { name, .. } => books.gave_up(name),
            Event::DeadLetter { name, reason, count, .. } => {
                // A late reply was no message in a mailbox.
                if *reason != DeadLetterReason::LateReply {
                    books.workers.entry(name.clone()).or_default().lost += count;
                }
            }
            other => books.wrong(format!("unexpected {other:?}")),
        }
    }
}

impl Ledger {
    pub(crate) fn add_supervisor(&self, name: &Name, book: SupervisorBook) {
        let mut books = self.lock();
        for (child, restart) in &book.children {
            let worker = books.workers.entry(child.clone()).or_default();
            (worker.supervisor, worker.restart) = (Some(name.clone()), Some(*restart));
        }
        books.supervisors.insert(name.clone(), book);
    }

    /// This supervisor may be killed, and those below it with it.
    pub(crate) fn disturb(&self, name: &Name) {
        let mut books = self.lock();
        let mut below = vec![name.clone()];
        while let Some(name) = below.pop() {
            if let Some(book) = books.supervisors.get_mut(&name) {
                book.is_disturbed = true;
                below.extend(book.children.iter().map(|(child, _)| child.clone()));
            }
        }
    }

    /// A supervisor was or may have been killed.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.lock().supervisors.values().any(|book| book.is_disturbed)
    }

    pub(crate) fn manage(&self, name: &Name) {
        if let Some(book) = self.lock().supervisors.get_mut(name) {
            book.is_manual = true;
        }
    }

    pub(crate) fn link(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().is_linked = true;
    }

    pub(crate) fn fault(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().faults += 1;
    }

    pub(crate) fn made(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().made += 1;
    }

    pub(crate) fn instance(&self, change: i64) {
        self.lock().instances += change;
    }

    pub(crate) fn handled(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().handled += 1;
    }

    /// A sender numbers its messages in the order it sends them.
    pub(crate) fn handled_in_turn(&self, name: &Name, sender: u64, number: u64) {
        let mut books = self.lock();
        let latest = books.latest.insert((name.clone(), sender), number);
        if let Some(latest) = latest.filter(|latest| *latest >= number) {
            books.wrong(format!("{name} handled {number} of sender {sender} after {latest}"));
        }
    }

    /// An actor is about to be spawned. True if its name is free.
    pub(crate) fn spawning(&self, name: &Name) -> bool {
        let mut books = self.lock();
        let worker = books.workers.entry(name.clone()).or_default();
        worker.spawning += 1;
        worker.spawning == 1 && worker.made == worker.ended
    }

    pub(crate) fn spawned(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().spawning -= 1;
    }

    pub(crate) fn sending(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().perhaps += 1;
    }

    /// How it went with what was announced by `sending`.
    pub(crate) fn sent<M>(&self, name: &Name, outcome: Result<(), &TellError<M>>) {
        let mut books = self.lock();
        let worker = books.workers.entry(name.clone()).or_default();
        worker.perhaps -= 1;
        match outcome {
            Ok(()) => worker.sent += 1,
            Err(TellError::Full(_) | TellError::TooLarge(_) | TellError::Closed(_)) => worker.refused += 1,
            Err(TellError::Expired(_)) => {}
        }
    }

    /// A worker was told to stop and begins to.
    pub(crate) fn stopping(&self, name: &Name) {
        let mut books = self.lock();
        books.expect_nobody_right_of_stopping(name, "is stopped");
    }

    /// Nobody answered, and nobody said that nobody would.
    pub(crate) fn forgotten(&self, name: &Name) {
        self.lock().workers.entry(name.clone()).or_default().forgotten += 1;
    }

    /// Nothing happens any more, and nobody has ended what runs.
    pub(crate) fn expect_settled(&self, tree: &[TreeNode]) {
        let mut books = self.lock();
        for node in tree {
            books.expect_settled(node, true);
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.lock().wrong(what);
    }

    /// Everything has ended.
    pub(crate) fn expect_over(&self, mailboxes: &[(Name, MailboxStats)]) {
        let mut books = self.lock();
        let left: Vec<_> = books.alive.values().cloned().collect();
        if !left.is_empty() || books.instances != 0 {
            let instances = books.instances;
            books.wrong(format!("{left:?} are left, and {instances} instances"));
        }
        for (name, stats) in mailboxes {
            let worker = books.workers.get(name).cloned().unwrap_or_default();
            if worker.made != worker.ended {
                books.wrong(format!("{name} was made {} times and ended {}", worker.made, worker.ended));
            }
            if worker.made == 0 {
                // Its supervisor did not come that far, so what was sent to it waits for a start that is yet to come.
                continue;
            }
            if worker.forgotten > 0 {
                books.wrong(format!("{name} forgot {} who asked", worker.forgotten));
            }
            let sent = worker.sent..=worker.sent + worker.perhaps;
            let refused = worker.refused..=worker.refused + worker.perhaps;
            let handled = worker.handled..=worker.handled + worker.faults;
            let adds_up = sent.contains(&stats.accepted)
                && refused.contains(&stats.rejected)
                && handled.contains(&stats.handled)
                && (stats.dropped, stats.depth) == (worker.lost, 0)
                && stats.accepted == stats.handled + stats.dropped;
            if !adds_up {
                books.wrong(format!(
                    "the counts of {name}: {stats:?}, and it was sent {sent:?}, refused {refused:?}, handled {handled:?}, lost {}",
                    worker.lost
                ));
            }
        }
        let wrong = std::mem::take(&mut books.wrong);
        // What is dropped by a failure is still entered.
        drop(books);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("the ledger does not panic")
    }
}

impl Books {
    fn started(&mut self, id: ActorId, name: &Name) {
        if let Some((other, _)) = self.alive.iter().find(|(_, alive)| *alive == name) {
            self.wrong(format!("{name} started as {id} while it lives as {other}"));
        }
        self.alive.insert(id, name.clone());
        if let Some(parent) = self.parent_of(name) {
            let book = &mut self.supervisors.get_mut(&parent).expect("it is in the books");
            if !book.era.is_running && !book.era.first_starts.contains(name) {
                book.era.first_starts.push(name.clone());
            }
            // In a running supervisor that treats each child by itself, a restart leaves the others alone.
            if !book.era.is_running || book.strategy != Strategy::OneForOne {
                self.expect_nobody_right_of(name, "starts");
            }
        }
        if let Some(book) = self.supervisors.get_mut(name) {
            book.era.is_running = true;
            let specified: Vec<Name> = book.children.iter().map(|(child, _)| child.clone()).collect();
            if book.era.first_starts != specified {
                let first_starts = book.era.first_starts.clone();
                self.wrong(format!("{name} started {first_starts:?} and not {specified:?}"));
            }
        }
    }

    fn start_failed(&mut self, id: ActorId, name: &Name) {
        if self.alive.contains_key(&id) {
            self.wrong(format!("{name} lives and fails to start"));
        }
        self.workers.entry(name.clone()).or_default().ended += 1;
        if let Some(parent) = self.parent_of(name)
            && let Some(book) = self.supervisors.get_mut(&parent)
        {
            book.era.failed_starts += 1;
        }
        self.end_era(name);
    }

    fn exited(&mut self, id: ActorId, name: &Name, reason: &ExitReason) {
        if self.alive.remove(&id).is_none() {
            self.wrong(format!("{name} ends by {reason} and does not live"));
        }
        self.workers.entry(name.clone()).or_default().ended += 1;
        let gave_up = self.supervisors.get(name).is_some_and(|book| book.era.gave_up);
        if matches!(reason, ExitReason::Shutdown) && !gave_up {
            self.expect_nobody_right_of_stopping(name, "has stopped");
        }
        if let Some(book) = self.supervisors.get(name) {
            let expected = match reason {
                ExitReason::Shutdown => true,
                ExitReason::Killed | ExitReason::Panic(_) | ExitReason::Error(_) => book.is_disturbed,
                _ => false,
            };
            if !expected {
                self.wrong(format!("supervisor {name} ended by {reason}"));
            }
        }
        if let Some(parent) = self.parent_of(name)
            && let Some(book) = self.supervisors.get_mut(&parent)
        {
            *book.era.ends.entry(name.clone()).or_default() += 1;
        }
        self.end_era(name);
    }

    fn expect_nobody_right_of_stopping(&mut self, name: &Name, what: &str) {
        let parent = self.parent_of(name).and_then(|parent| self.supervisors.get(&parent));
        if parent.is_none_or(|book| book.era.ends.get(name).is_none_or(|ends| *ends == 0)) {
            self.expect_nobody_right_of(name, what);
        }
    }

    fn end_era(&mut self, name: &Name) {
        if let Some(book) = self.supervisors.get_mut(name) {
            book.era = Era::default();
        }
    }

    fn restarted(&mut self, supervisor: ActorId, name: &Name, reason: &ExitReason) {
        let Some(supervisor) = self.alive.get(&supervisor).cloned() else {
            return self.wrong(format!("{name} was restarted by nobody"));
        };
        let Some(book) = self.supervisors.get_mut(&supervisor) else {
            return self.wrong(format!("{name} was restarted by {supervisor}, which is no supervisor"));
        };
        *book.era.restarts.entry(name.clone()).or_default() += 1;
        if let Some(ends) = book.era.ends.get_mut(name) {
            *ends = ends.saturating_sub(1);
        }
        let most = match book.strategy {
            Strategy::OneForOne => book.era.restarts.values().sum(),
            // One crash restarts several, but none of them twice.
            Strategy::OneForAll | Strategy::RestForOne => {
                book.era.restarts.values().copied().max().unwrap_or(0)
            }
        };
        let (strategy, intensity) = (book.strategy, book.intensity);
        if most > intensity {
            self.wrong(format!("{supervisor} may restart {intensity} times and has {most} times"));
        }
        match self.workers.get(name).and_then(|worker| worker.restart) {
            Some(Restart::Temporary) => self.wrong(format!("temporary {name} was restarted")),
            Some(Restart::Transient) if strategy == Strategy::OneForOne && reason.is_normal() => {
                self.wrong(format!("transient {name} was restarted after {reason}"));
            }
            Some(Restart::Transient | Restart::Permanent) | None => {}
        }
    }

    fn gave_up(&mut self, name: &Name) {
        let book = self.supervisors.get_mut(name).expect("only supervisors give up");
        book.era.gave_up = true;
        let mut charges = book.era.restarts.values().sum::<u32>() + book.era.failed_starts;
        // A restart is charged when it begins and told when it is through, and others begin meanwhile.
        charges += book.era.ends.values().sum::<u32>();
        // Failed starts of children that were added by hand are not in the books.
        if charges < book.intensity && !book.is_manual {
            let intensity = book.intensity;
            self.wrong(format!("{name} may restart {intensity} times and gave up after {charges}"));
        }
    }

    /// Those are started later and stopped earlier, so where order matters none of them lives.
    fn expect_nobody_right_of(&mut self, name: &Name, what: &str) {
        let Some(parent) = self.parent_of(name) else {
            return;
        };
        let book = &self.supervisors[&parent];
        if book.is_disturbed
            || book.is_manual
            || self.workers.get(name).is_some_and(|worker| worker.is_linked)
        {
            return;
        }
        let right = book.children.iter().map(|(child, _)| child).skip_while(|child| *child != name).skip(1);
        let alive: Vec<Name> = right.filter(|child| self.is_alive(child)).cloned().collect();
        if !alive.is_empty() {
            self.wrong(format!("{name} {what} and {alive:?} are there"));
        }
    }

    fn expect_settled(&mut self, node: &TreeNode, is_up: bool) {
        let runs = node.state == NodeState::Running;
        if node.state != NodeState::Down && !runs {
            self.wrong(format!("{} is still {:?}", node.name, node.state));
        }
        if runs && !is_up {
            self.wrong(format!("{} runs under a supervisor that is down", node.name));
        }
        if node.kind == NodeKind::Worker {
            return;
        }
        if let Some(book) = self.supervisors.get(&node.name).cloned()
            && !book.is_manual
        {
            let shown: Vec<&Name> = node.children.iter().map(|child| &child.name).collect();
            let mut known = book.children.iter().map(|(child, _)| child);
            if !shown.iter().all(|child| known.any(|name| name == *child)) {
                self.wrong(format!("{} shows {shown:?}, out of order", node.name));
            }
            for (child, restart) in &book.children {
                let child_runs = node.children.iter().any(|node| node.name == *child && self.is_alive(child));
                if runs && *restart == Restart::Permanent && !child_runs {
                    self.wrong(format!("permanent {child} is down and {} is not", node.name));
                }
            }
        }
        for child in &node.children {
            self.expect_settled(child, runs);
        }
    }

    fn parent_of(&self, name: &Name) -> Option<Name> {
        let parent = self.supervisors.get(name).and_then(|book| book.parent.clone());
        parent.or_else(|| self.workers.get(name)?.supervisor.clone())
    }

    fn is_alive(&self, name: &Name) -> bool {
        self.alive.values().any(|alive| alive == name)
    }

    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }
}
