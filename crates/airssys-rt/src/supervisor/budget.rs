//! How many restarts are too many: a window that slides over the monotonic clock.
//!
//! Both ends of the period count. What is remembered is bounded by the intensity, and by [`BINS_MAX`] whatever that is:
//! a larger intensity is counted in bins, so a charge may count for a thousandth of the period longer than it should.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Charges that are remembered one by one; the user chooses `intensity`, so it cannot be the bound of our memory.
const BINS_MAX: u32 = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Budget {
    intensity: u32,
    period: Duration,
    /// How much time the charges of one bin may span; zero while each has its own.
    width: Duration,
    bins: VecDeque<Bin>,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Bin {
    first: Instant,
    count: u32,
}

impl Budget {
    pub(crate) fn new(intensity: u32, period: Duration) -> Self {
        let width = if intensity > BINS_MAX { period / BINS_MAX } else { Duration::ZERO };
        Self { intensity, period, width, bins: VecDeque::new(), count: 0 }
    }

    /// Charges one restart. False, and nothing is charged, if it is more than `intensity` within `period`; a restart exactly
    /// a period old counts.
    pub(crate) fn charge(&mut self, at: Instant) -> bool {
        while let Some(bin) = self.bins.front()
            && at.duration_since(bin.first) > self.period.saturating_add(self.width)
        {
            self.count -= bin.count;
            self.bins.pop_front();
        }
        if self.count >= self.intensity {
            return false;
        }
        self.count += 1;
        match self.bins.back_mut() {
            Some(bin) if at.duration_since(bin.first) <= self.width => bin.count += 1,
            Some(_) | None => self.bins.push_back(Bin { first: at, count: 1 }),
        }
        true
    }

    /// Forgets all charges.
    pub(crate) fn reset(&mut self) {
        self.bins.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn the_budget_agrees_with_counting_all_restarts_in_the_period(
            intensity in 0..6u32, period_ms in 0..50u64, steps in prop::collection::vec(0..20u64, 1..60),
        ) {
            let period = Duration::from_millis(period_ms);
            let mut budget = Budget::new(intensity, period);
            let mut charged = Vec::new();
            let mut now = Instant::now();
            for step in steps {
                now += Duration::from_millis(step);
                let within = charged.iter().filter(|at| now.duration_since(**at) <= period).count();
                let fits = within < intensity as usize;
                prop_assert_eq!(budget.charge(now), fits);
                if fits {
                    charged.push(now);
                }
                prop_assert!(budget.bins.len() <= intensity as usize);
            }
        }
    }

    #[test]
    fn what_a_budget_remembers_is_bounded_whatever_the_intensity() {
        let mut budget = Budget::new(u32::MAX, Duration::from_secs(3600));
        let start = Instant::now();
        for n in 0..20_000 {
            assert!(budget.charge(start + Duration::from_millis(n * 200)));
            assert!(budget.bins.len() <= BINS_MAX as usize + 2);
        }
    }

    #[test]
    fn a_large_intensity_forgives_no_earlier_than_a_small_one() {
        let period = Duration::from_secs(10);
        let mut budget = Budget::new(BINS_MAX + 1, period);
        let start = Instant::now();
        for _ in 0..=BINS_MAX {
            assert!(budget.charge(start));
        }
        assert!(!budget.charge(start + period));
        assert!(budget.charge(start + period + period / BINS_MAX + Duration::from_nanos(1)));
    }
}
