//! What handles ask of a supervisor's task.
//!
//! Whether a call fits the child is for the plan to say. A start is answered when it has begun and a termination when the
//! child has ended, so neither keeps the next call waiting under one for one.

use std::future::poll_fn;
use std::sync::Arc;

use crate::exit::ExitReason;
use crate::reply::ReplyTo;
use crate::slot::AnySlot;

use super::super::ending;
use super::super::plan::{self, Action, Call, IfStartFails, Key, Refusal};
use super::super::spec::ChildSpec;
use super::super::{ChildCounts, ChildError, ChildInfo, SupervisorError};
use super::{Ctx, NotStarted, SupervisorActor, answer};

pub(crate) enum Command {
    Children(ReplyTo<Vec<ChildInfo>>),
    Count(ReplyTo<ChildCounts>),
    Start(ChildSpec, ReplyTo<Result<Begun, SupervisorError>>),
    Restart(Arc<str>, ReplyTo<Result<Begun, SupervisorError>>),
    Release(Arc<str>, ReplyTo<Result<Begun, SupervisorError>>),
    Terminate(Arc<str>, ReplyTo<Result<(), SupervisorError>>),
    Delete(Arc<str>, ReplyTo<Result<(), SupervisorError>>),
    /// To itself: the turn of a child whose start failed.
    TryAgain(Key),
    /// To itself: the delay of a child is over, the n-th it had.
    Due(Key, u64),
    /// To itself: a child that was to end is still there.
    Stuck(Key),
}

/// A start under way, for whoever wants to know what comes of it.
pub(crate) struct Begun {
    pub(crate) slot: Arc<AnySlot>,
    pub(crate) incarnation: u32,
}

impl Begun {
    pub(crate) async fn outcome(&self) -> Result<(), SupervisorError> {
        let header = &self.slot.header;
        poll_fn(|cx| header.poll_started_as(self.incarnation, cx))
            .await
            .map_err(|exit| SupervisorError::Start { child: exit.name, reason: exit.reason })
    }
}

impl SupervisorActor {
    pub(super) async fn add_and_start(
        &mut self,
        spec: ChildSpec,
        ctx: &mut Ctx,
    ) -> Result<Begun, SupervisorError> {
        let id = spec.id.clone();
        if self.ids.contains_key(&id) {
            return Err(SupervisorError::Exists { child: id });
        }
        if self.children.len() >= self.children_max {
            return Err(SupervisorError::Full { children_max: self.children_max });
        }
        spec.terms.check(&id, self.state.auto_shutdown).map_err(|error| error.into_refusal(id.clone()))?;
        if ending::is_leaving(&spec.seat(ctx.system()).slot().header) {
            return Err(ChildError::Occupied { name: id.clone() }.into_refusal(id));
        }
        let key = self.add(spec, ctx.system());
        // Beside those that are shown already: adding one costs the same however many there are.
        ctx.slot.header.lock().rare_mut().children.add(self.children[&key].seat.entry().slot());
        self.start_and_tell(key, IfStartFails::Forget, ctx).await
    }

    pub(super) async fn start_by_call(
        &mut self,
        id: &Arc<str>,
        call: Call,
        if_start_fails: IfStartFails,
        ctx: &mut Ctx,
    ) -> Result<Begun, SupervisorError> {
        // The one action is the start, whose outcome the caller wants to know.
        let (key, _start) = self.find_and_call(id, call)?;
        self.start_and_tell(key, if_start_fails, ctx).await
    }

    async fn start_and_tell(
        &mut self,
        key: Key,
        if_start_fails: IfStartFails,
        ctx: &mut Ctx,
    ) -> Result<Begun, SupervisorError> {
        let child = self.name_of(key);
        self.state.up(key, if_start_fails);
        match self.start_child(key, self.starts_in_turn(), ctx).await {
            Ok(begun) => Ok(begun),
            Err(NotStarted::Stopping) => Err(SupervisorError::Gone),
            Err(NotStarted::Failed(reason)) => {
                for action in self.start_failed(key, reason.clone()) {
                    match action {
                        Action::Forget(key) => self.forget(key, ctx),
                        Action::Close(key) => self.close(key, ctx),
                        Action::Quarantine(key) => self.quarantine(key, ctx),
                        Action::Stop(_)
                        | Action::End(_)
                        | Action::Start(_)
                        | Action::Wait(_)
                        | Action::TryAgain(_)
                        | Action::GiveUp(_)
                        | Action::ShutDown => {
                            unreachable!("a start that a call wanted concerns its child alone")
                        }
                    }
                }
                Err(SupervisorError::Start { child, reason })
            }
        }
    }

    pub(super) async fn terminate(
        &mut self,
        id: &Arc<str>,
        reply: ReplyTo<Result<(), SupervisorError>>,
        ctx: &mut Ctx,
    ) -> Result<(), ExitReason> {
        let (key, actions) = match self.find_and_call(id, Call::Terminate) {
            Ok(planned) => planned,
            Err(error) => {
                answer(reply, Err(error));
                return Ok(());
            }
        };
        if let Some(child) = self.children.get_mut(&key) {
            child.callers.push(reply);
            if child.is_stuck {
                self.mark_stuck(key);
            }
        }
        self.perform(actions, ctx).await
    }

    pub(super) fn find_and_call(
        &mut self,
        id: &Arc<str>,
        call: Call,
    ) -> Result<(Key, Vec<Action>), SupervisorError> {
        let child = id.clone();
        let Some(key) = self.ids.get(id).copied() else {
            return Err(SupervisorError::NoSuchChild { child });
        };
        let is_stuck = self.children[&key].is_stuck;
        match plan::call(&mut self.state, key, call) {
            Ok(actions) => Ok((key, actions)),
            Err(Refusal::Running) if is_stuck => Err(SupervisorError::Stuck { child }),
            Err(Refusal::Running) => Err(SupervisorError::Running { child }),
            Err(Refusal::Restarting) => Err(SupervisorError::Restarting { child }),
            Err(Refusal::Quarantined) => Err(SupervisorError::Quarantined { child }),
            Err(Refusal::NotQuarantined) => Err(SupervisorError::NotQuarantined { child }),
        }
    }
}
