//! How long a child stays down before it is restarted, longer each time it does not live long.
//!
//! The delay is the child's own: siblings and calls are served meanwhile. Jitter spreads children that fail together; it is
//! drawn from a seed and from what the delay is for, so that a seed decides all of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::ActorId;
use crate::system::System;

/// Where delays that grow stop growing, unless told otherwise.
const CAP: Duration = Duration::from_secs(30);

/// A series of delays between the end of a child and its restart. A child that lived for longer than the longest delay
/// begins it anew.
///
/// ```
/// # use std::time::Duration;
/// # use airssys_rt::Backoff;
/// // 100 ms, 200 ms, 400 ms, up to 5 s, each up to a fifth shorter.
/// let backoff = Backoff::exponential(Duration::from_millis(100)).cap(Duration::from_secs(5)).jitter(0.2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    growth: Growth,
    first: Duration,
    cap: Duration,
    jitter: f64,
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Constant,
    Linear,
    Exponential,
}

impl Backoff {
    /// The same delay each time.
    pub fn constant(delay: Duration) -> Self {
        Self { growth: Growth::Constant, first: delay, cap: delay, jitter: 0.0, seed: None }
    }

    /// Longer by `step` each time, from `step` on, at most 30 s.
    pub fn linear(step: Duration) -> Self {
        Self { growth: Growth::Linear, cap: CAP.max(step), ..Self::constant(step) }
    }

    /// Twice as long each time, from `first` on, at most 30 s.
    pub fn exponential(first: Duration) -> Self {
        Self { growth: Growth::Exponential, cap: CAP.max(first), ..Self::constant(first) }
    }

    /// No delay is longer than this.
    pub fn cap(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// Makes each delay shorter by up to this part of it, at random: 0 leaves it as it is, 1 makes it anything down to none.
    /// What is less or more is read as 0 or 1.
    pub fn jitter(self, part: f64) -> Self {
        // Not a number is neither less nor more, and nothing to multiply with.
        let jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        Self { jitter, ..self }
    }

    /// Draws the jitter from this seed instead of from chance. Children with one seed still differ.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// The delay of the `n`-th restart of a series, from zero, without jitter.
    fn delay(&self, n: u32) -> Duration {
        let factor = match self.growth {
            Growth::Constant => 1,
            Growth::Linear => n.saturating_add(1),
            Growth::Exponential => 1u32.checked_shl(n).unwrap_or(u32::MAX),
        };
        self.first.saturating_mul(factor).min(self.cap)
    }
}

/// One child's place in its series of delays.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    backoff: Backoff,
    seed: u64,
    /// Restarts since the series began, and since there is this child.
    in_series: u32,
    in_all: u32,
    launched_at: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(backoff: Backoff, id: ActorId, system: &System) -> Self {
        let seed = backoff.seed.unwrap_or_else(|| system.executor().random_u64());
        Self { backoff, seed: draw(&(seed, id)), in_series: 0, in_all: 0, launched_at: None }
    }

    /// An incarnation begins.
    pub(crate) fn launched(&mut self, at: Instant) {
        self.launched_at = Some(at);
    }

    /// How long the child stays down that has just ended.
    pub(crate) fn next_delay(&mut self, at: Instant) -> Duration {
        let lived = self.launched_at.take().map_or(Duration::ZERO, |from| at.duration_since(from));
        if lived > self.backoff.cap {
            self.in_series = 0;
        }
        let delay = self.backoff.delay(self.in_series);
        // Of 2^53 possible values, which a float holds exactly.
        let chance = (draw(&(self.seed, self.in_all)) >> 11) as f64 / (1u64 << 53) as f64;
        self.in_series = self.in_series.saturating_add(1);
        self.in_all = self.in_all.wrapping_add(1);
        delay.mul_f64(1.0 - self.backoff.jitter * chance)
    }
}

/// A number that depends on nothing but this.
fn draw(from: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    from.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn series(backoff: Backoff, id: u64, count: u32) -> Vec<Duration> {
        let mut pace = Pace::new(backoff, ActorId(id), &System::new());
        let at = Instant::now();
        (0..count)
            .map(|_| {
                pace.launched(at);
                pace.next_delay(at)
            })
            .collect()
    }

    #[test]
    fn delays_grow_as_they_are_told_to_and_stop_at_the_cap() {
        let five = |backoff: Backoff| series(backoff.cap(MS * 50), 1, 5);
        assert_eq!(five(Backoff::constant(MS * 20)), [MS * 20; 5]);
        assert_eq!(five(Backoff::linear(MS * 20)), [MS * 20, MS * 40, MS * 50, MS * 50, MS * 50]);
        assert_eq!(five(Backoff::exponential(MS * 10)), [MS * 10, MS * 20, MS * 40, MS * 50, MS * 50]);
    }

    #[test]
    fn delays_do_not_overflow_and_have_a_cap_of_their_own() {
        for backoff in [Backoff::linear(MS), Backoff::exponential(MS)] {
            assert_eq!(backoff.delay(u32::MAX), CAP);
            assert_eq!(backoff.cap(Duration::MAX).delay(u32::MAX), MS * u32::MAX);
        }
        assert_eq!(Backoff::exponential(Duration::MAX).delay(3), Duration::MAX);
    }

    #[test]
    fn a_life_longer_than_the_longest_delay_begins_the_series_anew() {
        let backoff = Backoff::exponential(MS).cap(MS * 100);
        let mut pace = Pace::new(backoff, ActorId(1), &System::new());
        let start = Instant::now();
        assert_eq!(pace.next_delay(start), MS);
        pace.launched(start);
        assert_eq!(pace.next_delay(start + MS * 100), MS * 2, "as long is not longer");
        pace.launched(start);
        assert_eq!(pace.next_delay(start + MS * 101), MS);
        assert_eq!(pace.next_delay(start + MS * 1000), MS * 2, "a start that failed was no life");
    }

    #[test]
    fn a_seed_decides_the_jitter_of_each_child() {
        let backoff = Backoff::constant(MS * 100).jitter(0.5);
        assert_eq!(series(backoff.seed(7), 1, 20), series(backoff.seed(7), 1, 20));
        assert_ne!(series(backoff.seed(7), 1, 20), series(backoff.seed(8), 1, 20));
        assert_ne!(series(backoff.seed(7), 1, 20), series(backoff.seed(7), 2, 20));
        assert_ne!(series(backoff, 1, 20), series(backoff, 1, 20), "without a seed, chance does");
    }

    proptest! {
        #[test]
        fn jitter_only_shortens_and_by_no_more_than_its_part(part in -0.5..1.5f64, seed: u64, id in any::<u64>()) {
            let delay = MS * 1000;
            for jittered in series(Backoff::constant(delay).jitter(part).seed(seed), id, 10) {
                prop_assert!(jittered <= delay);
                prop_assert!(jittered >= delay.mul_f64(1.0 - part.clamp(0.0, 1.0)));
            }
            prop_assert_eq!(series(Backoff::constant(delay).jitter(f64::NAN), id, 1), vec![delay]);
        }
    }
}
