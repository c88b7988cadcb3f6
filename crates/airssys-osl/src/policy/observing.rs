//! Subjects whose denials are recorded and not enforced, for a while, to find out what a policy has to say.
//!
//! A subject is here because the holder of the gate put it here, and for no other reason. Time is that of the clock that
//! nobody sets and that goes on while the machine sleeps. Who is allowed what is asked here only after the policy denied it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::Subject;
use crate::audit::{AuditError, uptime};

use super::RuleId;

/// Longest time of observing.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Subjects that are observed at one time.
const SUBJECTS_MAX: usize = 64;
/// How long after a warning the next operation of the same subject warns again.
const REMINDER: Duration = Duration::from_secs(60);

/// What is permitted to a subject that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lenience {
    /// What no rule allows. What a rule denies stays denied: somebody thought of it.
    Unruled,
    /// What rules deny as well.
    Everything,
}

impl fmt::Display for Lenience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lenience::Unruled => "unruled",
            Lenience::Everything => "everything",
        })
    }
}

/// Why a subject is not observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The time is none, or too long.
    #[error("observe for {asked:?}: more than nothing and at most {TIME_MAX:?} is possible")]
    Time {
        /// What was asked for.
        asked: Duration,
    },
    /// Too many subjects are observed.
    #[error("observe one subject more than {SUBJECTS_MAX}")]
    Subjects,
    /// The log does not take the record of it.
    #[error("record that a subject is observed")]
    Log(#[from] AuditError),
}

/// A subject that is being observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Who.
    pub subject: Subject,
    /// What it is permitted.
    pub lenience: Lenience,
    /// How long it goes on.
    pub left: Duration,
    /// Operations that were permitted for that reason alone.
    pub permitted: u64,
}

/// The subjects of one gate.
#[derive(Default)]
pub(crate) struct Observing(Mutex<State>);

#[derive(Default)]
struct State {
    subjects: HashMap<Subject, Entry>,
    permitted: u64,
}

struct Entry {
    lenience: Lenience,
    until: Duration,
    permitted: u64,
    warned_at: Duration,
}

impl Observing {
    /// Whether [`Observing::begin`] would do it.
    pub(crate) fn check(&self, subject: &Subject, time: Duration) -> Result<(), ObserveError> {
        if time.is_zero() || time > TIME_MAX {
            return Err(ObserveError::Time { asked: time });
        }
        let state = self.lock();
        if !state.subjects.contains_key(subject) && state.subjects.len() >= SUBJECTS_MAX {
            return Err(ObserveError::Subjects);
        }
        Ok(())
    }

    pub(crate) fn begin(
        &self,
        subject: &Subject,
        lenience: Lenience,
        time: Duration,
    ) -> Result<(), ObserveError> {
        // Another may have begun in between.
        self.check(subject, time)?;
        let now = uptime();
        let entry = Entry { lenience, until: now + time, permitted: 0, warned_at: now };
        self.lock().subjects.insert(subject.clone(), entry);
        tracing::warn!(%subject, %lenience, ?time, "the policy is not enforced for this subject, only observed");
        Ok(())
    }

    pub(crate) fn end(&self, subject: &Subject) -> bool {
        let was_observed = self.lock().subjects.remove(subject).is_some();
        if was_observed {
            tracing::warn!(%subject, "the policy is enforced again for this subject");
        }
        was_observed
    }

    /// Whether what the policy denies by this rule, or by none, is permitted all the same.
    pub(crate) fn permits(&self, subject: &Subject, rule: Option<RuleId>) -> bool {
        self.lock().subjects.get(subject).is_some_and(|entry| {
            let is_meant = match entry.lenience {
                Lenience::Unruled => rule.is_none(),
                Lenience::Everything => true,
            };
            is_meant && uptime() < entry.until
        })
    }

    /// Counts an operation that was permitted so.
    pub(crate) fn count(&self, subject: &Subject) {
        let mut state = self.lock();
        state.permitted += 1;
        let Some(entry) = state.subjects.get_mut(subject) else { return };
        entry.permitted += 1;
        let now = uptime();
        if now < entry.warned_at + REMINDER {
            return;
        }
        entry.warned_at = now;
        let (permitted, left) = (entry.permitted, entry.until.saturating_sub(now));
        drop(state);
        tracing::warn!(%subject, permitted, ?left, "the policy is still not enforced for this subject");
    }

    pub(crate) fn now(&self) -> Vec<Observed> {
        let now = uptime();
        let state = self.lock();
        let mut observed: Vec<Observed> = state
            .subjects
            .iter()
            .map(|(subject, entry)| Observed {
                subject: subject.clone(),
                lenience: entry.lenience,
                left: entry.until.saturating_sub(now),
                permitted: entry.permitted,
            })
            .collect();
        observed.sort_unstable_by(|one, other| one.subject.cmp(&other.subject));
        observed
    }

    pub(crate) fn permitted(&self) -> u64 {
        self.lock().permitted
    }

    /// Without those whose time is over.
    fn lock(&self) -> MutexGuard<'_, State> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = lock();
        if state.subjects.is_empty() {
            return state;
        }
        let now = uptime();
        let over: Vec<(Subject, Entry)> = state.subjects.extract_if(|_, entry| now >= entry.until).collect();
        if over.is_empty() {
            return state;
        }
        // Whoever listens is anybody's code and not to run while others wait.
        drop(state);
        for (subject, entry) in over {
            tracing::warn!(%subject, permitted = entry.permitted, "the time of observing is over");
        }
        lock()
    }
}
