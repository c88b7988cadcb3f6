//! Faults on order: what goes wrong with which message or start of which actor of a system.
//!
//! The lifecycle asks before each message and each start, which costs one branch while nothing is on order, and nothing
//! without the feature `testing`.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::envelope::Envelope;
use crate::exit::ExitReason;
use crate::observe::DeadLetterReason;
use crate::slot::{Header, TypedSlot};
use crate::system::System;

/// What goes wrong with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The handler panics.
    Panic,
    /// The handler returns an error, [`InjectedFault`].
    Error,
    /// The actor is killed in the handler.
    Kill,
    /// The handler begins so much later. The actor is as busy as with a slow message.
    Delay(Duration),
    /// The message is lost on its way to the handler: a dead letter with
    /// [`DeadLetterReason::Injected`], and an ask in it dies.
    Drop,
}

/// The error of [`Fault::Error`] and of starts that fail on order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("injected fault")]
pub struct InjectedFault;

/// Faults to install in a system under test, seeded or not.
///
/// ```
/// # use std::time::Duration;
/// use airssys_rt::SupervisorSpec;
/// use airssys_rt::testing::{self, Fault, Faults, Probe};
///
/// testing::check(20, |system| async move {
///     let faults = Faults::new().at("probe", 2, Fault::Kill).fail_start("probe", 2).install(&system);
///     let (child, mut probe) = Probe::child(&system, "probe");
///     let spec = SupervisorSpec::new("top").intensity(2, Duration::from_secs(5)).child(child);
///     system.supervise(spec).await.expect("it starts");
///     for n in 1..=3 {
///         probe.address().tell(n).await.expect("room");
///     }
///     assert_eq!(probe.expect_message(Duration::from_secs(1)).await, 1);
///     assert_eq!(probe.expect_message(Duration::from_secs(1)).await, 3, "the third incarnation goes on");
///     assert_eq!(faults.left(), 0);
/// });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "faults do nothing until they are installed"]
pub struct Faults(BTreeMap<Arc<str>, Script>);

#[derive(Clone, Debug, Default)]
struct Script {
    messages: BTreeMap<u64, Fault>,
    starts: BTreeSet<u64>,
    messages_seen: u64,
    starts_seen: u64,
}

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does this to the `nth` message of the actor with this name, where 1 is the first after the installation. Restarts do
    /// not begin the count anew, so each fault happens once. The latter of two faults with one message stands.
    pub fn at(mut self, actor: impl Into<Arc<str>>, nth: u64, fault: Fault) -> Self {
        self.0.entry(actor.into()).or_default().messages.insert(nth, fault);
        self
    }

    /// Makes the `nth` start of the actor with this name fail, where 1 is the first after the installation.
    pub fn fail_start(mut self, actor: impl Into<Arc<str>>, nth: u64) -> Self {
        self.0.entry(actor.into()).or_default().starts.insert(nth);
        self
    }

    /// Begins to count, in place of what was installed before.
    pub fn install(self, system: &System) -> Installed {
        *system.faults().lock() = self.0;
        system.faults().is_armed.store(true, Ordering::Relaxed);
        Installed(system.clone())
    }
}

/// Faults at work. They stay when this is dropped.
#[derive(Clone)]
pub struct Installed(System);

impl Installed {
    /// How many have not happened yet. A test that means each to happen ends with none left.
    pub fn left(&self) -> usize {
        self.0.faults().lock().values().map(|script| script.messages.len() + script.starts.len()).sum()
    }
}

/// A system's side of it.
#[derive(Default)]
pub(crate) struct FaultTable {
    /// True from the first installation on.
    is_armed: AtomicBool,
    scripts: Mutex<BTreeMap<Arc<str>, Script>>,
}

impl FaultTable {
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_message(&self, actor: &str) -> Option<Fault> {
        let mut scripts = self.lock();
        let script = scripts.get_mut(actor)?;
        script.messages_seen += 1;
        script.messages.remove(&script.messages_seen)
    }

    fn next_start_fails(&self, actor: &str) -> bool {
        self.lock().get_mut(actor).is_some_and(|script| {
            script.starts_seen += 1;
            script.starts.remove(&script.starts_seen)
        })
    }
}

/// Comes before a start.
pub(crate) fn before_start(header: &Header) -> Result<(), ExitReason> {
    if header.system.faults().is_armed() && header.system.faults().next_start_fails(&header.name) {
        return Err(InjectedFault.into());
    }
    Ok(())
}

/// What goes wrong with the message that comes next.
pub(crate) fn next_fault(header: &Header) -> Option<Fault> {
    let faults = header.system.faults();
    if faults.is_armed() { faults.next_message(&header.name) } else { None }
}

/// Lets it happen. The message comes back if it is to be handled.
pub(crate) async fn strike<M: Send + 'static>(
    fault: Fault,
    slot: &TypedSlot<M>,
    envelope: Envelope<M>,
) -> Result<Option<Envelope<M>>, ExitReason> {
    let header = &slot.header;
    match fault {
        Fault::Panic => panic!("{InjectedFault}"),
        Fault::Error => Err(InjectedFault.into()),
        Fault::Kill => {
            header.exit(ExitReason::Killed);
            future::pending().await
        }
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Ok(Some(envelope))
        }
        Fault::Drop => {
            if envelope.is_sampled() {
                slot.mailbox.record_wait();
            }
            slot.mailbox.count_dropped();
            header.system.lose(header, DeadLetterReason::Injected, [envelope.message]);
            Ok(None)
        }
    }
}
