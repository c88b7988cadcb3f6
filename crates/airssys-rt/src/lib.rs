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
mod exit;
mod lifecycle;
mod link;
mod mailbox;
mod observe;
mod registry;
mod reply;
mod slot;
mod supervisor;
mod system;

pub use actor::{Actor, ActorId, Context, KillFlag, MonitorRef, Signal};
pub use address::{Address, AskError, TellError};
pub use exit::{Exit, ExitReason, PanicReport};
pub use mailbox::{MailboxOptions, MailboxStats, Overflow};
pub use observe::{DeadLetterCounts, DeadLetterReason, Event, Events, Lagged, NodeKind, NodeState, TreeNode};
pub use reply::ReplyTo;
pub use supervisor::{
    AutoShutdown, ChildCounts, ChildError, ChildInfo, ChildSpec, DynamicSpec, DynamicSupervisor, Restart,
    RestartRecord, Shutdown, Strategy, Supervisor, SupervisorError, SupervisorSpec,
};
pub use system::{ShutdownReport, SpawnError, StartError, System};
