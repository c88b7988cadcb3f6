//! Which actor runs on which thread, so that one that never awaits is seen from outside.
//!
//! Each thread notes the actor it polls and how often it has polled. A watching thread reports an actor that is in the same
//! poll for too long: nobody can stop it, but somebody can be told.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::actor::ActorId;
use crate::observe::Event;
use crate::system::WeakSystem;

/// Looks per limit: what is reported has run for at most a quarter longer.
const LOOKS: u32 = 4;

pub(crate) struct Watch {
    limit: Duration,
    beats: Arc<Beats>,
}

#[derive(Default)]
struct Beats(Mutex<Vec<Weak<Beat>>>);

/// What one thread runs of one system.
#[derive(Default)]
struct Beat {
    /// The actor being polled; 0 between polls.
    actor: AtomicU64,
    polls: AtomicU64,
}

impl Beat {
    /// To be called by its own thread.
    fn next_poll(&self) {
        let polls = self.polls.load(Ordering::Relaxed);
        self.polls.store(polls + 1, Ordering::Relaxed);
    }
}

thread_local! {
    /// One per system that this thread has run.
    static BEATS: RefCell<Vec<(Weak<Beats>, Arc<Beat>)>> = const { RefCell::new(Vec::new()) };
}

/// Held while an actor is polled.
pub(crate) struct Watched {
    beat: Arc<Beat>,
    /// Who goes on after that: an actor may be polled within the poll of the one that starts it.
    outer: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.outer != 0 {
            self.beat.next_poll();
        }
        self.beat.actor.store(self.outer, Ordering::Release);
    }
}

impl Watch {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit: limit.max(Duration::from_millis(4)), beats: Arc::default() }
    }

    pub(crate) fn enter(&self, id: ActorId) -> Watched {
        let beat = self.beat();
        beat.next_poll();
        let outer = beat.actor.swap(id.as_u64(), Ordering::Release);
        Watched { beat, outer }
    }

    fn beat(&self) -> Arc<Beat> {
        BEATS.with_borrow_mut(|beats| {
            let known = beats.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(&self.beats)));
            if let Some((_, beat)) = known {
                return beat.clone();
            }
            // Systems that are gone leave their notes behind.
            beats.retain(|(of, _)| of.strong_count() > 0);
            let beat = Arc::new(Beat::default());
            beats.push((Arc::downgrade(&self.beats), beat.clone()));
            self.beats.lock().push(Arc::downgrade(&beat));
            beat
        })
    }

    /// Looks until the system is gone.
    pub(crate) fn start(&self, system: WeakSystem) {
        let (limit, beats) = (self.limit, Arc::downgrade(&self.beats));
        let watch = thread::Builder::new().name("airssys-rt stuck".into());
        let started = watch.spawn(move || look(limit, &beats, &system));
        if let Err(error) = started {
            tracing::error!(%error, "no thread to watch for stuck actors");
        }
    }
}

impl Beats {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Beat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poll that was seen before.
struct Seen {
    beat: Weak<Beat>,
    poll: u64,
    since: Instant,
    is_reported: bool,
}

fn look(limit: Duration, beats: &Weak<Beats>, system: &WeakSystem) {
    let mut seen: Vec<Seen> = Vec::new();
    loop {
        thread::sleep(limit / LOOKS);
        let (Some(beats), Some(system)) = (beats.upgrade(), system.upgrade()) else {
            return;
        };
        let mut known = beats.lock();
        known.retain(|beat| beat.strong_count() > 0);
        let beats: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        drop(known);
        seen.retain(|seen| seen.beat.strong_count() > 0);
        let now = Instant::now();
        for beat in beats {
            let actor = beat.actor.load(Ordering::Acquire);
            let poll = beat.polls.load(Ordering::Relaxed);
            let index = seen.iter().position(|seen| std::ptr::eq(seen.beat.as_ptr(), Arc::as_ptr(&beat)));
            let Some(index) = index else {
                let beat = Arc::downgrade(&beat);
                seen.push(Seen { beat, poll, since: now, is_reported: false });
                continue;
            };
            let seen = &mut seen[index];
            if actor == 0 || seen.poll != poll {
                *seen = Seen { beat: Arc::downgrade(&beat), poll, since: now, is_reported: false };
            } else if now - seen.since >= limit && !seen.is_reported {
                seen.is_reported = true;
                report(&system, actor, now - seen.since);
            }
        }
    }
}

fn report(system: &crate::system::System, actor: u64, since: Duration) {
    let Some(slot) = ActorId::from_u64(actor).and_then(|id| system.slot(id)) else {
        return;
    };
    let header = &slot.header;
    tracing::warn!(actor = %header.name, id = actor, ?since, "actor has not awaited");
    system.emit(|| Event::Stuck { id: header.id, name: header.name.clone(), since });
}
