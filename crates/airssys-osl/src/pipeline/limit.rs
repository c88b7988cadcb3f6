//! How often each subject may do something: a bucket that fills steadily, one for each.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};

use crate::access::Subject;

/// Longest time for one more: a hundred years.
const EVERY_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Longest time in which as many come again as are permitted at once; fewer are where it would be longer.
const TIME_MAX: Duration = EVERY_MAX;
/// Subjects that are counted at a time.
const SUBJECTS_MAX: usize = 10_000;

/// A rate for each subject. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct RateLimit(Arc<Shared>);

struct Shared {
    rate: Rate,
    began: Instant,
    subjects_max: usize,
    buckets: Mutex<HashMap<Subject, Bucket>>,
}

struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>,
    used: Instant,
}

/// The time since the first question.
#[derive(Clone, Copy)]
struct Since(Instant);

/// Why a subject has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// It was too much at once.
    #[error("at most {burst} at once, and one more every {every:?}")]
    TooOften {
        /// How many are permitted at once.
        burst: NonZeroU32,
        /// After what time one more is.
        every: Duration,
    },
    /// Too many subjects are counted at this moment.
    #[error("no room to count for one more than {max} subjects")]
    Subjects {
        /// The bound.
        max: usize,
    },
}

impl RateLimit {
    /// At most `burst` operations at once, and one more after each `every`, for each of 10,000 subjects. An `every` of no time
    /// counts as a nanosecond, and where all of a burst would take more than a hundred years to come again fewer are permitted.
    pub fn new(burst: NonZeroU32, every: Duration) -> Self {
        Self::for_subjects(burst, every, SUBJECTS_MAX)
    }

    /// As [`RateLimit::new`], for this many subjects at a time: one more is refused until another has been quiet for so long
    /// that its count is as new.
    pub fn for_subjects(burst: NonZeroU32, every: Duration, subjects_max: usize) -> Self {
        let every = every.clamp(Duration::from_nanos(1), EVERY_MAX);
        // The time in which all of them come again is counted in 64 bits of nanoseconds.
        let fit = u64::try_from(TIME_MAX.as_nanos() / every.as_nanos()).unwrap_or(u64::MAX);
        let burst = u32::try_from(fit).ok().and_then(NonZeroU32::new).map_or(burst, |fit| burst.min(fit));
        let rate = Rate::with_period(every).expect("the time is not zero").allow_burst(burst);
        let buckets = Mutex::default();
        Self(Arc::new(Shared { rate, began: Instant::now(), subjects_max, buckets }))
    }

    /// Counts one operation of a subject, if it has one left.
    pub(super) fn take(&self, subject: &Subject) -> Result<(), LimitError> {
        let Shared { rate, began, subjects_max, buckets } = &*self.0;
        let now = Instant::now();
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(subject) {
            if buckets.len() >= *subjects_max {
                let full_after = rate.burst_size_replenished_in();
                buckets.retain(|_, bucket| now.saturating_duration_since(bucket.used) < full_after);
            }
            if buckets.len() >= *subjects_max {
                return Err(LimitError::Subjects { max: *subjects_max });
            }
        }
        let bucket = buckets.entry(subject.clone()).or_insert_with(|| Bucket {
            limiter: RateLimiter::direct_with_clock(*rate, Since(*began)),
            used: now,
        });
        match bucket.limiter.check() {
            Ok(()) => {
                bucket.used = now;
                Ok(())
            }
            Err(_) => {
                let (burst, every) = (rate.burst_size(), rate.replenish_interval());
                Err(LimitError::TooOften { burst, every })
            }
        }
    }
}

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("rate", &self.0.rate).finish_non_exhaustive()
    }
}
