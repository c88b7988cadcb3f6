//! Supervised actors in the manner of Erlang/OTP, on tokio.
//!
//! An [`Actor`] is a state with a bounded mailbox. A [`Supervisor`] starts actors in order, restarts them when they fail and
//! stops them in reverse. Every end is one [`Exit`], seen once by each link, each monitor and the supervisor.
//!
//! ```
//! use std::time::Duration;
//! use airssys_rt::{Actor, ChildSpec, Context, ExitReason, MailboxOptions, ReplyTo, SupervisorSpec, System};
//!
//! struct Counter(u64);
//!
//! enum Message {
//!     Add(u64),
//!     Total(ReplyTo<u64>),
//! }
//!
//! impl Actor for Counter {
//!     type Message = Message;
//!
//!     async fn handle(&mut self, message: Message, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
//!         match message {
//!             Message::Add(n) => self.0 += n,
//!             // The asker may have given up waiting; then the answer is of no use to anyone.
//!             Message::Total(reply) => drop(reply.send(self.0)),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let system = System::new();
//! let (child, counter) = ChildSpec::worker(&system, "counter", MailboxOptions::default(), || Counter(0));
//! system.supervise(SupervisorSpec::new("top").child(child)).await?;
//!
//! counter.try_tell(Message::Add(2)).map_err(|_| "full")?;
//! counter.try_tell(Message::Add(3)).map_err(|_| "full")?;
//! let total = counter.ask(Duration::from_secs(1), Message::Total).await.map_err(|_| "no answer")?;
//! assert_eq!(total, 5);
//!
//! assert!(system.shutdown(Duration::from_secs(1)).await.is_clean());
//! # Ok(())
//! # }
//! ```

mod actor;
mod address;
mod breaker;
mod clock;
mod deadline;
mod envelope;
mod executor;
mod exit;
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod glue;
mod group;
mod leftovers;
mod lifecycle;
mod link;
mod mailbox;
// Not below the mailbox, because a model of it is built from the same files.
#[cfg(test)]
#[path = "mailbox/tests.rs"]
mod mailbox_tests;
mod observe;
mod pool;
mod recipient;
mod registry;
mod reply;
mod slot;
mod standin;
mod stuck;
mod supervisor;
mod sync;
mod sys;
mod system;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;

pub use actor::{Actor, ActorId, Context, KillFlag, MonitorRef, NoCodeChange, Signal};
pub use address::{Address, AskError, TellError, WeakAddress};
#[cfg(feature = "macros")]
pub use airssys_rt_macros::Message;
/// ```
/// use std::time::Duration;
/// use airssys_rt::{Context, ExitReason, MailboxOptions, ReplyTo, System, actor};
///
/// struct Counter { total: u64, waiting: Vec<ReplyTo<u64>> }
///
/// #[actor]
/// impl Counter {
///     /// Adds. An overflow ends the actor.
///     #[tell]
///     async fn add(&mut self, n: u64) -> Result<(), ExitReason> {
///         self.total = self.total.checked_add(n).ok_or(std::fmt::Error)?;
///         for reply in self.waiting.drain(..) {
///             // Who asked may have given up.
///             drop(reply.send(self.total));
///         }
///         Ok(())
///     }
///
///     #[ask]
///     fn total(&self) -> u64 { self.total }
///
///     #[ask(deferred)]
///     fn next_total(&mut self, reply: ReplyTo<u64>) { self.waiting.push(reply); }
///
///     #[hook]
///     async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
///         // The actor tells itself.
///         Ok(ctx.address().try_add(1)?)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = System::new();
/// let make = || Counter { total: 0, waiting: Vec::new() };
/// let counter = system.spawn("counter", MailboxOptions::default(), make).await?;
///
/// counter.add(2).await?;
/// assert_eq!(counter.total(Duration::from_secs(1)).await?, 3);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "macros")]
pub use airssys_rt_macros::actor;
pub use breaker::{Breaker, BreakerError, BreakerOptions, BreakerState};
pub use exit::{Exit, ExitReason, PanicReport};
pub use group::{
    Broadcast, Group, GroupError, GroupEvent, GroupMonitor, JoinError, Members, MembersIter, Scope,
    ScopeExists, ScopeOptions,
};
pub use mailbox::{Latency, MailboxOptions, MailboxStats, Overflow, Priority};
pub use observe::{
    DeadLetter, DeadLetterCounts, DeadLetterReason, DeadLetters, Event, Events, Lagged, Metrics, NodeKind,
    NodeState, TreeNode,
};
pub use pool::{Busy, Job, Pool, PoolSpec, PoolStats, ResizeError};
pub use recipient::Recipient;
pub use registry::RegisterError;
pub use reply::ReplyTo;
pub use supervisor::{
    AutoShutdown, Backoff, ChildCounts, ChildError, ChildInfo, ChildSpec, DynamicSpec, DynamicSupervisor,
    HealthCheck, Restart, RestartRecord, Shutdown, Strategy, Supervisor, SupervisorError, SupervisorSpec,
    Unhealthy,
};
pub use sys::{Sys, SysError, Trace, TraceEntry};
pub use system::{ShutdownReport, SpawnError, StartError, System, SystemOptions};
pub use tasks::{StreamRef, TimerRef};
pub use trace::{NotATraceparent, TraceContext};
