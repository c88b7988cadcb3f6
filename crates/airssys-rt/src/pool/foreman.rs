//! The foreman: changes the number of a pool's workers, one order at a time.
//!
//! It talks to the pool's supervisor as any handle does. What it has in mind is on the floor, so that a restarted foreman,
//! or the foreman of a restarted pool, goes on from there.

use std::sync::Arc;

use crate::actor::{Actor, Context};
use crate::exit::ExitReason;
use crate::reply::ReplyTo;
use crate::supervisor::{ChildSpec, Supervisor};

use super::ResizeError;
use super::floor::{Floor, Station, Step};

pub(super) enum Order {
    Resize(usize, ReplyTo<Result<(), ResizeError>>),
    /// A worker that was to leave is free.
    Freed(u64),
    /// The supervisor, or the foreman alone, was restarted.
    Review,
}

type Make<M> = Arc<dyn Fn(u64) -> (ChildSpec, Arc<Station<M>>) + Send + Sync>;

pub(super) struct Foreman<M> {
    pool: Arc<str>,
    floor: Arc<Floor<M>>,
    /// The workers of the specification, which are there again whenever the supervisor is.
    original: Arc<Vec<Arc<Station<M>>>>,
    make: Make<M>,
}

impl<M: Send + 'static> Actor for Foreman<M> {
    type Message = Order;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        // A message and not done here: the supervisor answers only when all its children have started.
        if self.floor.was_resized() {
            drop(ctx.address().tell_beyond_capacity(Order::Review));
        }
        Ok(())
    }

    async fn handle(&mut self, order: Order, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        let parent = ctx.slot.header.parent().ok_or(ExitReason::Shutdown)?;
        let supervisor = ctx.system().supervisor(&parent.header.name).ok_or(ExitReason::Shutdown)?;
        match order {
            Order::Resize(target, reply) => {
                self.floor.set_target(target);
                let outcome = self.reach_target(&supervisor).await;
                // Whoever asked may have left.
                drop(reply.send(outcome));
            }
            Order::Freed(number) => {
                if let Some(station) = self.floor.take_leaving(number) {
                    self.remove(&supervisor, station.name()).await;
                }
            }
            Order::Review => {
                self.review(&supervisor).await;
                if let Err(error) = self.reach_target(&supervisor).await {
                    tracing::warn!(pool = %self.pool, %error, "pool is smaller than before its restart");
                }
            }
        }
        Ok(())
    }
}

impl<M: Send + 'static> Foreman<M> {
    pub(super) fn new(
        pool: Arc<str>,
        floor: Arc<Floor<M>>,
        original: Arc<Vec<Arc<Station<M>>>>,
        make: Make<M>,
    ) -> Self {
        Self { pool, floor, original, make }
    }

    async fn reach_target(&self, supervisor: &Supervisor) -> Result<(), ResizeError> {
        loop {
            match self.floor.next_step() {
                Step::Done => return Ok(()),
                Step::Stop(station) => self.remove(supervisor, station.name()).await,
                Step::Start(number) => {
                    let (child, station) = (self.make)(number);
                    if let Err(source) = supervisor.start_child(child).await {
                        self.floor.give_up_growing();
                        return Err(ResizeError::Start { worker: station.name().into(), source });
                    }
                    self.floor.seat(station);
                }
            }
        }
    }

    async fn remove(&self, supervisor: &Supervisor, worker: &str) {
        let mut outcome = supervisor.terminate_child(worker).await;
        if outcome.is_ok() {
            outcome = supervisor.delete_child(worker).await;
        }
        if let Err(error) = outcome {
            // Somebody else has removed it, or the supervisor is ending.
            tracing::debug!(pool = %self.pool, worker, %error, "worker was not there to be stopped");
        }
    }

    async fn review(&self, supervisor: &Supervisor) {
        let Ok(children) = supervisor.children().await else {
            return;
        };
        let workers: Vec<Arc<str>> =
            children.into_iter().map(|child| child.name).filter(|name| self.is_worker(name)).collect();
        for unknown in self.floor.review(&self.original, &workers) {
            self.remove(supervisor, &unknown).await;
        }
    }

    fn is_worker(&self, name: &str) -> bool {
        let number = name.strip_prefix(&*self.pool).and_then(|rest| rest.strip_prefix('/'));
        number.is_some_and(|number| number.parse::<u64>().is_ok())
    }
}
