//! The task of a dynamic supervisor: it restarts, and it stops everyone at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::{Actor, ActorId, Context, Signal};
use crate::exit::ExitReason;
use crate::lifecycle::{FirstPoll, give_way};
use crate::observe::Event;

use super::super::ending;
use super::super::seat::Seat;
use super::super::shell::{NotStarted, unless_stopping};
use super::table::{Next, Table};

/// Children that are asked to stop before others get a turn.
const ASKED_PER_TURN: usize = 1024;

/// What it tells itself.
pub(crate) enum Command {
    /// The turn of a child whose start failed.
    TryAgain(ActorId),
    /// The delay of a child is over, the n-th it had.
    Due(ActorId, u64),
}

pub(super) struct Keeper {
    table: Arc<Table>,
}

type Ctx = Context<Keeper>;

impl Actor for Keeper {
    type Message = Command;

    async fn start(&mut self, ctx: &mut Ctx) -> Result<(), ExitReason> {
        ctx.trap_exits(true);
        self.table.open();
        Ok(())
    }

    async fn handle(&mut self, command: Command, ctx: &mut Ctx) -> Result<(), ExitReason> {
        match command {
            Command::TryAgain(id) => {
                let next = self.table.try_again(id, Instant::now());
                let exit = ctx.system().slot(id).and_then(|slot| slot.header.last_exit());
                let reason = exit.map_or(ExitReason::NoProc, |exit| exit.reason);
                self.perform(id, reason, next, ctx).await
            }
            Command::Due(id, nth) => {
                if let Some(seat) = self.table.due(id, nth) {
                    self.restart(id, &seat, ctx).await;
                }
                Ok(())
            }
        }
    }

    async fn signal(&mut self, signal: Signal, ctx: &mut Ctx) -> Result<(), ExitReason> {
        let exit = match signal {
            Signal::Exit(exit) => exit,
            // As in OTP, only the one above ends a supervisor by a signal it can trap.
            Signal::ExitRequested(_) | Signal::Down { .. } => return Ok(()),
        };
        let next = self.table.exited(&exit, Instant::now());
        self.perform(exit.id, exit.reason, next, ctx).await
    }

    async fn stop(&mut self, _reason: &ExitReason, _ctx: &mut Ctx) {
        self.stop_all().await;
    }
}

impl Keeper {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { table }
    }

    async fn perform(
        &mut self,
        id: ActorId,
        reason: ExitReason,
        next: Next,
        ctx: &mut Ctx,
    ) -> Result<(), ExitReason> {
        match next {
            Next::Nothing => {}
            Next::Restart(seat, delay) => {
                seat.slot().header.set_restarting(ctx.id(), reason);
                if delay.time.is_zero() {
                    self.restart(id, &seat, ctx).await;
                } else {
                    ctx.send_after(delay.time, Command::Due(id, delay.nth));
                }
            }
            // The executor takes no more tasks: it is being shut down, and no retry will change that.
            Next::TryAgain if reason.is_aborted() => return Err(ExitReason::Aborted),
            // Comes after what is waiting already. Refused only when this supervisor is closed.
            Next::TryAgain => drop(ctx.address().tell_beyond_capacity(Command::TryAgain(id))),
            Next::Quarantine(seat) => super::super::quarantine(seat.slot(), ctx.id(), reason),
            Next::GiveUp => {
                ctx.system().emit(|| Event::GaveUp {
                    supervisor: ctx.id(),
                    name: ctx.slot.header.name.clone(),
                    child: id,
                    reason,
                });
                return Err(ExitReason::Shutdown);
            }
            Next::ShutDown => return Err(ExitReason::Shutdown),
        }
        Ok(())
    }

    /// Nobody waits for the start: if it fails, that comes as an exit.
    async fn restart(&self, id: ActorId, seat: &Arc<dyn Seat>, ctx: &Ctx) {
        // The child has ended and is telling everyone; we are the last to be told.
        match unless_stopping(&ctx.slot.header, ending::vacated(&seat.slot().header)).await {
            Ok(()) => {}
            Err(NotStarted::Stopping | NotStarted::Failed(_)) => return,
        }
        if let Some(begins) = self.table.begin(id) {
            begins.launch(FirstPoll::Task);
        }
    }

    /// Asks all at once, kills each when its own time is over, and forgets them.
    async fn stop_all(&self) {
        let mut left = Vec::new();
        for (n, (seat, shutdown)) in self.table.close().into_iter().enumerate() {
            let asked = ending::ask(&seat.slot().header, shutdown);
            left.push((seat, ending::limit(shutdown), asked));
            if n % ASKED_PER_TURN == ASKED_PER_TURN - 1 {
                give_way().await;
            }
        }
        left.sort_by_key(|(_, limit, _)| limit.unwrap_or(Duration::MAX));
        let mut killed = Vec::new();
        let mut unlimited = Vec::new();
        for (seat, limit, asked) in &left {
            let header = &seat.slot().header;
            match limit {
                None => unlimited.push((header, *asked)),
                Some(limit) => {
                    if !ending::settles_within(header, *asked, *limit).await {
                        killed.push((header, ending::kill(header, *asked)));
                    }
                }
            }
        }
        // Who is stuck is reported, and we have done what we can.
        for (header, killed) in killed {
            drop(ending::mourn(header, killed).await);
        }
        for (header, asked) in unlimited {
            drop(ending::wait_for_ever(header, asked).await);
        }
        self.table.clear();
    }
}
