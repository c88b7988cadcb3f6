//! An actor that stands in for others in a test: it handles nothing and shows what reaches it.

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::actor::{Actor, ActorId, Context, MonitorRef, Signal};
use crate::address::Address;
use crate::exit::{Exit, ExitReason};
use crate::mailbox::MailboxOptions;
use crate::supervisor::ChildSpec;
use crate::system::System;

/// Messages that wait to be read by the test. Further ones stay in the probe's mailbox, which may run full.
const UNREAD_MAX: usize = 1024;

/// The test's end of an actor that shows what reaches it: messages in one line, signals in another. It traps exits.
///
/// Waits are on tokio's clock, which a seeded run and `start_paused` tests pause, so they cost no time. All `expect_…`
/// panic with the place they were called from when they do not see what they expect, and are cancel safe. Dropped, the
/// actor stays and forgets what reaches it.
///
/// ```
/// # use std::time::Duration;
/// use airssys_rt::testing::{self, Probe};
///
/// testing::run(0, |system| async move {
///     let mut probe = Probe::spawn(&system, "probe").await;
///     probe.address().tell("hello").await.expect("room");
///     assert_eq!(probe.expect_message(Duration::from_secs(1)).await, "hello");
///     probe.expect_no_message(Duration::from_secs(1)).await;
///
///     let other = Probe::<()>::spawn(&system, "other").await;
///     probe.monitor(other.id());
///     other.address().exit(airssys_rt::ExitReason::Killed);
///     assert_eq!(&*probe.expect_exit(Duration::from_secs(1)).await.name, "other");
/// });
/// ```
pub struct Probe<M> {
    address: Address<M>,
    messages: mpsc::Receiver<M>,
    signals: mpsc::UnboundedReceiver<Signal>,
}

impl<M: Send + 'static> Probe<M> {
    /// Starts a probe that nobody supervises.
    ///
    /// # Panics
    /// When the name is taken or the system shuts down.
    pub async fn spawn(system: &System, name: impl Into<Arc<str>>) -> Self {
        let (actor, messages, signals) = ends();
        match system.spawn(name, MailboxOptions::default(), move || actor).await {
            Ok(address) => Self { address, messages, signals },
            Err(error) => panic!("a probe does not start: {error}"),
        }
    }

    /// A probe to be supervised. All its incarnations show what reaches them here.
    pub fn child(system: &System, id: impl Into<Arc<str>>) -> (ChildSpec, Self) {
        let (actor, messages, signals) = ends();
        let (spec, address) = ChildSpec::worker(system, id, MailboxOptions::default(), move || actor.clone());
        (spec, Self { address, messages, signals })
    }

    /// Where to reach the probe.
    pub fn address(&self) -> &Address<M> {
        &self.address
    }

    /// Whom to link to and to monitor.
    pub fn id(&self) -> ActorId {
        self.address.id()
    }

    /// Links the probe and another actor; see [`Context::link`].
    ///
    /// # Panics
    /// When the probe is not alive.
    pub fn link(&self, other: ActorId) {
        self.alive().link(other);
    }

    /// Makes the probe monitor another actor; see [`Context::monitor`].
    ///
    /// # Panics
    /// When the probe is not alive.
    pub fn monitor(&self, target: ActorId) -> MonitorRef {
        self.alive().monitor(target)
    }

    /// The next message.
    #[track_caller]
    pub fn expect_message(&mut self, within: Duration) -> impl Future<Output = M> {
        let caller = Location::caller();
        async move {
            match timeout(within, self.messages.recv()).await {
                Ok(Some(message)) => message,
                Ok(None) => self.fail(caller, "has ended"),
                Err(_) => self.fail(caller, &format!("got no message within {within:?}")),
            }
        }
    }

    /// Waits, and sees no message.
    #[track_caller]
    pub fn expect_no_message(&mut self, during: Duration) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            if let Ok(Some(_)) = timeout(during, self.messages.recv()).await {
                self.fail(caller, "got a message");
            }
        }
    }

    /// The next signal.
    #[track_caller]
    pub fn expect_signal(&mut self, within: Duration) -> impl Future<Output = Signal> {
        let caller = Location::caller();
        async move {
            match timeout(within, self.signals.recv()).await {
                Ok(Some(signal)) => signal,
                Ok(None) => self.fail(caller, "has ended"),
                Err(_) => self.fail(caller, &format!("got no signal within {within:?}")),
            }
        }
    }

    /// Waits, and sees no signal.
    #[track_caller]
    pub fn expect_no_signal(&mut self, during: Duration) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            if let Ok(Some(signal)) = timeout(during, self.signals.recv()).await {
                self.fail(caller, &format!("got {signal:?}"));
            }
        }
    }

    /// The next signal, which is the end of an actor that the probe is linked to or monitors.
    #[track_caller]
    pub fn expect_exit(&mut self, within: Duration) -> impl Future<Output = Exit> {
        let caller = Location::caller();
        async move {
            match timeout(within, self.signals.recv()).await {
                Ok(Some(Signal::Exit(exit) | Signal::Down { exit, .. })) => exit,
                Ok(Some(signal @ Signal::ExitRequested(_))) => self.fail(caller, &format!("got {signal:?}")),
                Ok(None) => self.fail(caller, "has ended"),
                Err(_) => self.fail(caller, &format!("saw no end within {within:?}")),
            }
        }
    }

    /// The messages that were shown and not read.
    pub fn unread_messages(&mut self) -> Vec<M> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }

    /// The signals that were shown and not read.
    pub fn unread_signals(&mut self) -> Vec<Signal> {
        std::iter::from_fn(|| self.signals.try_recv().ok()).collect()
    }

    fn alive(&self) -> &crate::slot::Header {
        assert!(self.address.is_alive(), "probe {} is not alive", self.address.name());
        &self.address.0.header
    }

    fn fail(&self, caller: &Location<'_>, what: &str) -> ! {
        panic!("probe {} {what}, at {caller}", self.address.name())
    }
}

/// Passes on what reaches it, and nothing once the test has dropped its end.
struct Forwarder<M> {
    messages: mpsc::Sender<M>,
    signals: mpsc::UnboundedSender<Signal>,
}

impl<M> Clone for Forwarder<M> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), signals: self.signals.clone() }
    }
}

impl<M: Send + 'static> Actor for Forwarder<M> {
    type Message = M;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.trap_exits(true);
        Ok(())
    }

    async fn handle(&mut self, message: M, _: &mut Context<Self>) -> Result<(), ExitReason> {
        drop(self.messages.send(message).await);
        Ok(())
    }

    async fn signal(&mut self, signal: Signal, _: &mut Context<Self>) -> Result<(), ExitReason> {
        // As many as the test makes links, monitors and exit requests, so they need no bound.
        drop(self.signals.send(signal));
        Ok(())
    }
}

fn ends<M>() -> (Forwarder<M>, mpsc::Receiver<M>, mpsc::UnboundedReceiver<Signal>) {
    let (messages, shown_messages) = mpsc::channel(UNREAD_MAX);
    let (signals, shown_signals) = mpsc::unbounded_channel();
    (Forwarder { messages, signals }, shown_messages, shown_signals)
}
