//! The children of a dynamic supervisor, under one short lock.
//!
//! Everything that decides whether a child may be started, and what becomes of it, is decided here while the lock is held;
//! `is_open` is part of it, so nothing is started into a supervisor that stops. Locks are taken in this order: the table,
//! the registry, the control of a child. Slots are closed and tasks started outside of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::ActorId;
use crate::exit::{Exit, ExitReason};
use crate::registry::NotEntered;
use crate::slot::{AnySlot, TypedSlot};

use super::super::backoff::Pace;
use super::super::budget::Budget;
use super::super::ending::{self, Asked};
use super::super::plan::IfStartFails;
use super::super::seat::Seat;
use super::super::spec::{AutoShutdown, Shutdown, Terms};
use super::super::{ChildCounts, ChildError, ChildInfo, SupervisorError};
use super::DynamicSpec;

/// Room for this many children is kept when they are gone.
const KEPT_ROOM_MAX: usize = 1024;

pub(crate) struct Table {
    spec: DynamicSpec,
    /// The terms of what is spawned, shared by all of it.
    template: Arc<Terms>,
    members: Mutex<Members>,
}

struct Members {
    /// Children may be started.
    is_open: bool,
    budget: Budget,
    by_id: ById<Member>,
    /// What those need beside that have a backoff or an allowance.
    extras: ById<Extra>,
    /// Significant children that have not ended for good.
    significant_len: usize,
}

type ById<T> = HashMap<ActorId, T, BuildHasherDefault<IdHasher>>;

struct Extra {
    pace: Option<Pace>,
    allowance: Option<Budget>,
    /// How many of its restarts were put off.
    delays: u64,
}

struct Member {
    seat: Arc<dyn Seat>,
    terms: Arc<Terms>,
    phase: Phase,
}

/// An incarnation that has begun, to be launched.
pub(super) struct Begins {
    pub(super) seat: Arc<dyn Seat>,
    pub(super) terms: Arc<Terms>,
    pub(super) incarnation: u32,
}

impl Extra {
    fn begins(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.launched(Instant::now());
        }
    }
}

impl Member {
    fn begin(&mut self, if_start_fails: IfStartFails) -> Begins {
        self.phase = Phase::Up(if_start_fails);
        Begins {
            seat: self.seat.clone(),
            terms: self.terms.clone(),
            incarnation: self.seat.slot().header.begin(),
        }
    }

    fn had_started(&self) -> bool {
        self.seat.slot().header.had_started()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It was started, and nothing was done about an end.
    Up(IfStartFails),
    /// It is being ended by a call, and leaves when it has.
    Ending,
    /// Its restart is decided and has not begun.
    Waiting,
    /// Its start failed, and it is tried again when its turn comes.
    Retrying,
    /// It used up its own allowance.
    Quarantined,
}

/// How long a restart is put off, and the how manieth that is of its child.
#[derive(Clone, Copy)]
pub(super) struct Delay {
    pub(super) time: Duration,
    pub(super) nth: u64,
}

/// What the supervisor's task has to do about a child.
pub(super) enum Next {
    Nothing,
    Restart(Arc<dyn Seat>, Delay),
    TryAgain,
    Quarantine(Arc<dyn Seat>),
    GiveUp,
    ShutDown,
}

impl Table {
    pub(super) fn new(spec: DynamicSpec) -> Self {
        let budget = Budget::new(spec.intensity, spec.period);
        Self {
            template: Arc::new(Terms::new(spec.restart, spec.shutdown)),
            spec,
            members: Mutex::new(Members {
                is_open: false,
                budget,
                by_id: ById::default(),
                extras: ById::default(),
                significant_len: 0,
            }),
        }
    }

    pub(super) fn template(&self) -> &Arc<Terms> {
        &self.template
    }

    /// Lets children in, for a new incarnation of the supervisor.
    pub(super) fn open(&self) {
        let mut members = self.lock();
        members.is_open = true;
        members.budget.reset();
    }

    /// Lets nobody in any more. Returns who is there, and how long each may take to stop.
    pub(super) fn close(&self) -> Vec<(Arc<dyn Seat>, Shutdown)> {
        let mut members = self.lock();
        members.is_open = false;
        members.by_id.values().map(|member| (member.seat.clone(), member.terms.shutdown)).collect()
    }

    /// Forgets everyone. What still lives keeps its name until it is gone.
    pub(super) fn clear(&self) {
        let mut members = self.lock();
        let left = std::mem::take(&mut members.by_id);
        members.extras = ById::default();
        members.significant_len = 0;
        drop(members);
        for member in left.into_values() {
            leave(member.seat.slot());
        }
    }

    /// The supervisor is gone: ends and forgets whom it left behind.
    pub(crate) fn abandon(&self) {
        for (seat, _) in self.close() {
            seat.slot().header.exit(ExitReason::Killed);
        }
        self.clear();
    }

    /// Makes a child a member and claims its slot. The caller launches it at once.
    pub(super) fn admit<M: Send + 'static>(
        &self,
        seat: &Arc<dyn Seat>,
        terms: &Arc<Terms>,
        supervisor: &Arc<TypedSlot<M>>,
    ) -> Result<u32, SupervisorError> {
        let slot = seat.slot();
        let header = &slot.header;
        let refuse = |error: ChildError| error.into_refusal(header.name.clone());
        terms.check(&header.name, self.spec.auto_shutdown).map_err(refuse)?;
        let system = &supervisor.header.system;
        if !header.system.is(system) {
            return Err(refuse(ChildError::OtherSystem { name: header.name.clone() }));
        }
        let mut members = self.lock();
        if !members.is_open {
            return Err(SupervisorError::Gone);
        }
        let len = members.by_id.len();
        let MapEntry::Vacant(place) = members.by_id.entry(header.id) else {
            return Err(SupervisorError::Exists { child: header.name.clone() });
        };
        if len >= self.spec.children_max {
            return Err(SupervisorError::Full { children_max: self.spec.children_max });
        }
        if !header.adopt(&(supervisor.clone() as Arc<AnySlot>)) {
            return Err(refuse(ChildError::Elsewhere { name: header.name.clone() }));
        }
        let entered = if header.is_settled() {
            system.enter(&seat.entry()).map_err(|why| match why {
                NotEntered::NameTaken => ChildError::NameTaken { name: header.name.clone() },
                NotEntered::Closed => ChildError::ShuttingDown,
            })
        } else {
            Err(ChildError::Occupied { name: header.name.clone() })
        };
        if let Err(error) = entered {
            header.disown();
            return Err(refuse(error));
        }
        let incarnation = header.begin();
        // Somebody may have closed it who could not start this child.
        slot.mailbox.open();
        place.insert(Member {
            seat: seat.clone(),
            terms: terms.clone(),
            phase: Phase::Up(IfStartFails::Forget),
        });
        members.significant_len += usize::from(terms.is_significant);
        if terms.backoff.is_some() || terms.allowance.is_some() {
            let mut extra = Extra {
                pace: terms.backoff.map(|backoff| Pace::new(backoff, header.id, system)),
                allowance: terms.allowance(),
                delays: 0,
            };
            extra.begins();
            members.extras.insert(header.id, extra);
        }
        Ok(incarnation)
    }

    /// A child ended, and says so on its own task. True if that was all there is to it; then the supervisor is not told.
    pub(crate) fn let_go(&self, exit: &Exit) -> bool {
        let members = self.lock();
        // The supervisor's stop sees to whoever is left.
        let Some(member) = members.by_id.get(&exit.id).filter(|_| members.is_open) else {
            return true;
        };
        let concerns_nobody = match member.phase {
            Phase::Ending => true,
            Phase::Up(if_start_fails) if !member.had_started() => if_start_fails == IfStartFails::Forget,
            Phase::Up(_) => {
                let may_end_supervisor = match self.spec.auto_shutdown {
                    AutoShutdown::Never => false,
                    AutoShutdown::AnySignificant | AutoShutdown::AllSignificant => {
                        member.terms.is_significant
                    }
                };
                !member.terms.restart.follows(exit.reason.is_abnormal()) && !may_end_supervisor
            }
            Phase::Waiting | Phase::Retrying | Phase::Quarantined => false,
        };
        if concerns_nobody {
            members.remove(exit.id);
        }
        concerns_nobody
    }

    /// What follows from the end of a child that did not leave by itself.
    pub(super) fn exited(&self, exit: &Exit, at: Instant) -> Next {
        let mut members = self.lock();
        let Some(member) = members.by_id.get_mut(&exit.id) else {
            return Next::Nothing;
        };
        if member.seat.slot().header.lock().is_alive() {
            // It was terminated after this end, and started anew: the exit is of one who is forgotten.
            return Next::Nothing;
        }
        match member.phase {
            Phase::Up(if_start_fails) if !member.had_started() => match if_start_fails {
                IfStartFails::TryAgain => {
                    member.phase = Phase::Retrying;
                    Next::TryAgain
                }
                IfStartFails::Quarantine => {
                    member.phase = Phase::Quarantined;
                    Next::Quarantine(member.seat.clone())
                }
                IfStartFails::Forget | IfStartFails::StayDown => {
                    members.remove(exit.id);
                    Next::Nothing
                }
            },
            Phase::Up(_) if member.terms.restart.follows(exit.reason.is_abnormal()) => {
                members.restart(exit.id, at)
            }
            Phase::Up(_) => {
                let is_significant = member.terms.is_significant;
                members.remove(exit.id);
                let is_through = match self.spec.auto_shutdown {
                    AutoShutdown::Never => false,
                    AutoShutdown::AnySignificant => is_significant,
                    AutoShutdown::AllSignificant => is_significant && self.lock().significant_len == 0,
                };
                if is_through { Next::ShutDown } else { Next::Nothing }
            }
            Phase::Ending => {
                members.remove(exit.id);
                Next::Nothing
            }
            Phase::Waiting | Phase::Retrying | Phase::Quarantined => Next::Nothing,
        }
    }

    /// The turn of a child came whose start had failed.
    pub(super) fn try_again(&self, id: ActorId, at: Instant) -> Next {
        let mut members = self.lock();
        match members.by_id.get(&id) {
            Some(member) if member.phase == Phase::Retrying => members.restart(id, at),
            Some(_) | None => Next::Nothing,
        }
    }

    /// A child whose delay is over, unless it was terminated or put off again meanwhile.
    pub(super) fn due(&self, id: ActorId, nth: u64) -> Option<Arc<dyn Seat>> {
        let members = self.lock();
        let member = members.by_id.get(&id).filter(|member| member.phase == Phase::Waiting)?;
        let is_latest = members.extras.get(&id).is_some_and(|extra| extra.delays == nth);
        is_latest.then(|| member.seat.clone())
    }

    /// Claims the slot of a child whose restart was decided, unless somebody terminated it meanwhile. Its place is free, and
    /// the caller launches it at once.
    pub(super) fn begin(&self, id: ActorId) -> Option<Begins> {
        let mut members = self.lock();
        let member = members.by_id.get_mut(&id).filter(|member| member.phase == Phase::Waiting)?;
        let begins = member.begin(IfStartFails::TryAgain);
        members.extras.get_mut(&id).into_iter().for_each(Extra::begins);
        Some(begins)
    }

    /// Claims the slot of a child in quarantine, as [`Table::begin`] does, with its whole allowance.
    pub(super) fn release(&self, id: ActorId, name: &Arc<str>) -> Result<Begins, SupervisorError> {
        let mut members = self.lock();
        if !members.is_open {
            return Err(SupervisorError::Gone);
        }
        let Some(member) = members.by_id.get_mut(&id) else {
            return Err(SupervisorError::NoSuchChild { child: name.clone() });
        };
        // One that has just ended and is telling everyone is not yet where it can be released from.
        if member.phase != Phase::Quarantined || !member.seat.slot().header.is_settled() {
            return Err(SupervisorError::NotQuarantined { child: name.clone() });
        }
        let begins = member.begin(IfStartFails::Quarantine);
        begins.seat.slot().mailbox.open();
        if let Some(extra) = members.extras.get_mut(&id) {
            extra.allowance.iter_mut().for_each(Budget::reset);
            extra.begins();
        }
        Ok(begins)
    }

    /// Marks a child as ending, asks it to, and returns how long it may take; `None` if it was down and is forgotten already.
    pub(super) fn terminate(
        &self,
        id: ActorId,
        name: &Arc<str>,
    ) -> Result<Option<(Shutdown, Asked)>, SupervisorError> {
        let mut members = self.lock();
        if !members.is_open {
            return Err(SupervisorError::Gone);
        }
        let Some(member) = members.by_id.get_mut(&id) else {
            return Err(SupervisorError::NoSuchChild { child: name.clone() });
        };
        let shutdown = member.terms.shutdown;
        let ask = |member: &Member| Ok(Some((shutdown, ending::ask(&member.seat.slot().header, shutdown))));
        match member.phase {
            Phase::Up(_) => {
                member.phase = Phase::Ending;
                let asked = ask(member);
                let is_significant = member.terms.is_significant;
                members.significant_len -= usize::from(is_significant);
                asked
            }
            Phase::Ending => ask(member),
            Phase::Waiting | Phase::Retrying | Phase::Quarantined => {
                members.remove(id);
                Ok(None)
            }
        }
    }

    /// A child was ended by a call. It has left by itself, unless it ended at the same moment for a reason of its own.
    pub(super) fn terminated(&self, id: ActorId) {
        let members = self.lock();
        if members
            .by_id
            .get(&id)
            .is_some_and(|member| member.phase == Phase::Ending && member.seat.slot().header.is_settled())
        {
            members.remove(id);
        }
    }

    pub(super) fn has(&self, id: ActorId) -> bool {
        self.lock().by_id.contains_key(&id)
    }

    /// The slots of all children in the order they were made.
    pub(crate) fn slots(&self) -> Vec<Arc<AnySlot>> {
        let mut slots: Vec<_> = self.lock().by_id.values().map(|member| member.seat.entry().slot()).collect();
        slots.sort_unstable_by_key(|slot| slot.header.id);
        slots
    }

    pub(super) fn children(&self) -> Vec<ChildInfo> {
        let mut children: Vec<_> =
            self.lock().by_id.values().map(|member| (member.seat.clone(), member.terms.clone())).collect();
        children.sort_unstable_by_key(|(seat, _)| seat.slot().header.id);
        children.iter().map(|(seat, terms)| ChildInfo::of(&seat.slot().header, terms)).collect()
    }

    pub(super) fn counts(&self) -> ChildCounts {
        let seats: Vec<_> = self.lock().by_id.values().map(|member| member.seat.clone()).collect();
        let mut counts = ChildCounts::default();
        for seat in seats {
            counts.add(&seat.slot().header);
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table while it is locked, for what has to let go of the lock at its end.
trait Locked {
    fn remove(self, id: ActorId);
}

impl Locked for MutexGuard<'_, Members> {
    /// Forgets one child, whose slot is closed after the lock is gone.
    fn remove(mut self, id: ActorId) {
        let member = self.by_id.remove(&id);
        if !self.extras.is_empty() {
            self.extras.remove(&id);
        }
        let (len, room) = (self.by_id.len(), self.by_id.capacity());
        if room > KEPT_ROOM_MAX && len < room / 8 {
            // A burst does not cost memory for ever.
            self.by_id.shrink_to(room / 4);
        }
        if let Some(member) = &member {
            let counts = member.terms.is_significant && member.phase != Phase::Ending;
            self.significant_len -= usize::from(counts);
        }
        drop(self);
        if let Some(member) = member {
            leave(member.seat.slot());
        }
    }
}

impl Members {
    fn restart(&mut self, id: ActorId, at: Instant) -> Next {
        let Some(member) = self.by_id.get_mut(&id) else {
            return Next::Nothing;
        };
        let mut extra = self.extras.get_mut(&id);
        if let Some(allowance) = extra.as_mut().and_then(|extra| extra.allowance.as_mut())
            && !allowance.charge(at)
        {
            member.phase = Phase::Quarantined;
            return Next::Quarantine(member.seat.clone());
        }
        if !self.budget.charge(at) {
            return Next::GiveUp;
        }
        member.phase = Phase::Waiting;
        let delay = extra.map_or(Delay { time: Duration::ZERO, nth: 0 }, |extra| {
            extra.delays += 1;
            let time = extra.pace.as_mut().map_or(Duration::ZERO, |pace| pace.next_delay(at));
            Delay { time, nth: extra.delays }
        });
        Next::Restart(member.seat.clone(), delay)
    }
}

fn leave(slot: &AnySlot) {
    slot.header.set_down();
    slot.close();
    slot.header.disown();
}

/// Ids are counted up and nobody chooses them, so they need no defence, only their bits spread.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_child_costs_the_table_five_words_and_a_seat_of_three() {
        let word = size_of::<usize>();
        assert!(size_of::<(ActorId, Member)>() <= 5 * word);
        // Two counts and a slot; the factory comes on top.
        assert!(
            2 * word + size_of::<super::super::super::seat::Made<super::super::Keeper, fn()>>() <= 4 * word
        );
    }

    #[test]
    fn ids_that_are_counted_up_are_spread_over_the_whole_hash() {
        let hash = |n: u64| {
            let mut hasher = IdHasher::default();
            hasher.write_u64(n);
            hasher.finish()
        };
        let distinct = |of: fn(u64) -> u64| {
            (0..1024).map(|n| of(hash(n))).collect::<std::collections::HashSet<_>>().len()
        };
        assert!(distinct(|hash| hash & 1023) > 512);
        assert_eq!(distinct(|hash| hash >> 57), 128);
    }
}
