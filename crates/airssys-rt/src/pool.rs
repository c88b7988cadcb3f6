//! Worker pools: supervised workers that share one bounded queue, so that a slow one delays nobody.
//!
//! The queue is the mailbox of an ordinary actor, the dispatcher, which takes a job out only when a worker is free. Workers
//! are ordinary actors too; a [`Busy`] travels with each job, and its drop, however it comes about, says that the worker is
//! free. Workers, dispatcher and a foreman who changes their number are children of one supervisor.

mod floor;
mod foreman;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, ActorId, Context};
use crate::address::{Address, AskError, TellError};
use crate::envelope::{Envelope, inherited_deadline};
use crate::exit::ExitReason;
use crate::mailbox::MailboxOptions;
use crate::observe::DeadLetterReason;
use crate::reply::ReplyTo;
use crate::supervisor::{ChildSpec, SupervisorError, SupervisorSpec};
use crate::system::System;

use floor::{Floor, Station};
use foreman::{Foreman, Order};

/// What a worker is told: one job, and that it is busy with it.
///
/// Take `message` out of it; `busy` then lasts as long as the handler runs, or as long as it is kept elsewhere.
///
/// ```
/// # use airssys_rt::{Actor, Context, ExitReason, Job, PoolSpec, ReplyTo, System};
/// struct Squarer;
///
/// impl Actor for Squarer {
///     type Message = Job<(u64, ReplyTo<u64>)>;
///
///     async fn handle(&mut self, job: Self::Message, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
///         let (number, reply) = job.message;
///         // The asker may have left.
///         drop(reply.send(number * number));
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = System::new();
/// let (supervisor, pool) = PoolSpec::new("squarers", 4, || Squarer).build(&system);
/// system.supervise(supervisor).await?;
/// let nine = pool.ask(std::time::Duration::from_secs(1), |reply| (3, reply)).await;
/// assert_eq!(nine.ok(), Some(9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Job<M> {
    /// What was sent to the pool.
    pub message: M,
    /// Dropped, the worker takes its next job.
    pub busy: Busy,
}

impl<M> Job<M> {
    /// A job outside any pool: for what a worker tells itself, and for tests of one.
    pub fn new(message: M) -> Self {
        Self { message, busy: Busy(None) }
    }
}

/// A worker has a job. Kept beyond the handler, for an answer that is not ready yet, it keeps the next job away.
#[must_use = "dropped, the worker takes its next job"]
pub struct Busy(Option<Arc<dyn Occupied>>);

trait Occupied: Send + Sync {
    fn free(&self);
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(station) = self.0.take() {
            station.free();
        }
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy(..)")
    }
}

/// A pool to be: its workers and its queue.
pub struct PoolSpec<A: Actor> {
    name: Arc<str>,
    workers: usize,
    workers_max: usize,
    queue: MailboxOptions,
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    adjust: Arc<dyn Fn(ChildSpec) -> ChildSpec + Send + Sync>,
}

impl<A: Actor> PoolSpec<A> {
    /// This many workers, zero being read as one, with the default mailbox for their queue. `name` names the supervisor in
    /// the system; the others are called `name/1` and so on, `name/queue` and `name/foreman`.
    pub fn new(
        name: impl Into<Arc<str>>,
        workers: usize,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            workers: workers.max(1),
            workers_max: 1024,
            queue: MailboxOptions::default(),
            factory: Arc::new(factory),
            adjust: Arc::new(|child| child),
        }
    }

    /// Chooses how many jobs wait at most, and what happens to one that does not fit.
    pub fn queue(self, queue: MailboxOptions) -> Self {
        Self { queue, ..self }
    }

    /// Workers it may be resized to; 1024 unless told otherwise, and never fewer than it starts with.
    pub fn workers_max(self, workers_max: usize) -> Self {
        Self { workers_max, ..self }
    }

    /// Chooses more about each worker, such as its time to stop. A worker that is not restarted stays away for good, so it
    /// should stay permanent.
    pub fn worker(self, adjust: impl Fn(ChildSpec) -> ChildSpec + Send + Sync + 'static) -> Self {
        Self { adjust: Arc::new(adjust), ..self }
    }

    /// The supervisor to start, alone or in a tree, and the pool it will be. Jobs sent before it starts wait for it. It
    /// restarts each worker by itself, and allows as many restarts in 5 s as it has workers.
    pub fn build<M>(self, system: &System) -> (SupervisorSpec, Pool<M>)
    where
        M: Send + 'static,
        A::Message: From<Job<M>>,
    {
        let Self { name, workers, workers_max, queue, factory, adjust } = self;
        let floor = Arc::new(Floor::new(workers, workers_max.max(workers)));
        let make = {
            let (system, name, floor) = (system.clone(), name.clone(), Arc::downgrade(&floor));
            Arc::new(move |number: u64| {
                let factory = factory.clone();
                let (child, address) = ChildSpec::worker(
                    &system,
                    format!("{name}/{number}"),
                    MailboxOptions::default(),
                    move || factory(),
                );
                let slot = address.0.clone();
                let give = move |job| give(&address, job);
                (adjust(child), Arc::new(Station::new(number, slot, Box::new(give), floor.clone())))
            })
        };
        let mut spec = SupervisorSpec::new(name.clone())
            .intensity(u32::try_from(workers).unwrap_or(u32::MAX), Duration::from_secs(5));
        let mut original = Vec::new();
        for number in 1..=workers as u64 {
            let (child, station) = make(number);
            spec = spec.child(child);
            floor.seat(station.clone());
            original.push(station);
        }
        let (boss, boss_floor, boss_name) = (Arc::new(original), floor.clone(), name.clone());
        let (child, foreman) =
            ChildSpec::worker(system, format!("{name}/foreman"), MailboxOptions::bounded(64), move || {
                Foreman::new(boss_name.clone(), boss_floor.clone(), boss.clone(), make.clone())
            });
        floor.set_foreman(foreman.downgrade());
        spec = spec.child(child);
        let dispatched = floor.clone();
        let (child, queue) = ChildSpec::worker(system, format!("{name}/queue"), queue, move || Dispatcher {
            floor: dispatched.clone(),
        });
        (spec.child(child), Pool { name, queue, foreman, floor })
    }
}

impl<A: Actor> fmt::Debug for PoolSpec<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSpec")
            .field("name", &self.name)
            .field("workers", &self.workers)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// Hands a job over, with the deadline and the trace it came with. One per worker at a time, so no bound is needed.
fn give<M, W>(address: &Address<W>, job: Job<M>)
where
    W: From<Job<M>> + Send + 'static,
{
    let envelope = Envelope::new(W::from(job), inherited_deadline());
    if let Err(refused) = address.0.mailbox.push_beyond_capacity(envelope) {
        // Somebody else ended this worker for good since it was found running.
        let header = &address.0.header;
        header.system.lose(header, DeadLetterReason::Closed, [TellError::from(refused).into_message()]);
    }
}

/// Workers that share a queue. Cheap to clone; dropping it does nothing to them.
pub struct Pool<M> {
    name: Arc<str>,
    queue: Address<M>,
    foreman: Address<Order>,
    floor: Arc<Floor<M>>,
}

impl<M: Send + 'static> Pool<M> {
    /// The pool's name, which is its supervisor's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the queue's actor.
    pub fn id(&self) -> ActorId {
        self.queue.id()
    }

    /// Where jobs are sent: an address like any other.
    pub fn address(&self) -> &Address<M> {
        &self.queue
    }

    /// Sends a job without waiting for room in the queue; see [`Address::try_tell`].
    pub fn try_tell(&self, message: M) -> Result<(), TellError<M>> {
        self.queue.try_tell(message)
    }

    /// Sends a job, as the queue's overflow policy has it; see [`Address::tell`], also for cancel safety.
    pub async fn tell(&self, message: M) -> Result<(), TellError<M>> {
        self.queue.tell(message).await
    }

    /// Sends a job and waits for its answer; see [`Address::ask`], also for cancel safety. The time in the queue counts. If
    /// the worker ends with the job in work, the request died.
    pub async fn ask<R: Send>(
        &self,
        timeout: Duration,
        make: impl FnOnce(ReplyTo<R>) -> M,
    ) -> Result<R, AskError<M>> {
        self.queue.ask(timeout, make).await
    }

    /// Changes the number of workers, zero being read as one. Returns when those to be added have started. Of those that are
    /// too many, idle ones stop first; a busy one stops when it is free. The number outlasts a restart of the pool.
    ///
    /// Dropping the future, or a timeout, takes nothing back.
    pub async fn resize(&self, workers: usize, timeout: Duration) -> Result<(), ResizeError> {
        let max = self.floor.workers_max();
        if workers > max {
            return Err(ResizeError::TooMany { max });
        }
        match self.foreman.ask(timeout, |reply| Order::Resize(workers.max(1), reply)).await {
            Ok(outcome) => outcome,
            Err(AskError::Timeout) => Err(ResizeError::Timeout),
            Err(AskError::Died) => Err(ResizeError::Gone),
            Err(AskError::NotSent(refused)) => Err(match refused {
                TellError::Full(_) | TellError::Expired(_) => ResizeError::Timeout,
                TellError::Closed(_) | TellError::TooLarge(_) => ResizeError::Gone,
            }),
        }
    }

    /// Who works and what waits, at this moment.
    pub fn stats(&self) -> PoolStats {
        let stats = self.floor.stats();
        PoolStats { queued: stats.queued + self.queue.0.mailbox.depth(), ..stats }
    }
}

impl<M> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            queue: self.queue.clone(),
            foreman: self.foreman.clone(),
            floor: self.floor.clone(),
        }
    }
}

impl<M> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.name)
    }
}

/// A pool at one moment. How often jobs were refused or dropped is in the statistics of [`Pool::address`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs that no worker has.
    pub queued: usize,
    /// Workers with a job, those that will stop after it included.
    pub busy: usize,
    /// Workers that take jobs, also those that are just being restarted.
    pub workers: usize,
    /// Workers that stop when their job is done, or are just stopping.
    pub leaving: usize,
}

/// Why a pool has not the size that was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// It may not have so many workers.
    #[error("a pool of at most {max} workers")]
    TooMany {
        /// As many as it may have.
        max: usize,
    },
    /// A worker did not start. The pool keeps those it has.
    #[error("start worker {worker}")]
    Start {
        /// The worker's name.
        worker: Arc<str>,
        /// Why.
        #[source]
        source: SupervisorError,
    },
    /// It did not happen in time, but still may.
    #[error("no answer in time")]
    Timeout,
    /// The pool has ended, or ended before it answered.
    #[error("pool has ended")]
    Gone,
}

/// The actor whose mailbox is the queue.
struct Dispatcher<M> {
    floor: Arc<Floor<M>>,
}

impl<M: Send + 'static> Actor for Dispatcher<M> {
    type Message = M;

    async fn handle(&mut self, message: M, _: &mut Context<Self>) -> Result<(), ExitReason> {
        let mut held = None;
        let station = poll_fn(|cx| {
            let taken = self.floor.poll_take(cx);
            if taken.is_pending() {
                // The one that was found free below has ended or left since.
                held.get_or_insert_with(|| self.floor.hold());
            }
            taken
        })
        .await;
        drop(held);
        let busy = Busy(Some(station.clone()));
        station.give(Job { message, busy });
        // What is in the mailbox is within the bound and the policy, what is in hand is not: take the next one only when
        // it can be handed on.
        poll_fn(|cx| self.floor.poll_idle(cx)).await;
        Ok(())
    }
}
