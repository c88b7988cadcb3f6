//! How long messages waited: a histogram of samples, exact to a quarter, fixed in size.

use std::time::Duration;

/// Waits below this many nanoseconds share the first bucket.
const FIRST_OCTAVE: u32 = 7;
/// 2^7 ns to 2^35 ns, half a minute; what is longer shares the last bucket.
const OCTAVES: u32 = 28;
const BUCKETS_PER_OCTAVE: u32 = 4;
const BUCKETS_LEN: usize = (OCTAVES * BUCKETS_PER_OCTAVE) as usize;

/// Waits of sampled messages since the mailbox was made. Each is at most a quarter above the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many messages were sampled.
    pub samples: u64,
    /// Half of them waited no longer.
    pub p50: Duration,
    /// 99 of 100 waited no longer.
    pub p99: Duration,
    /// The longest wait, exact.
    pub max: Duration,
}

pub(crate) struct Histogram {
    counts: [u32; BUCKETS_LEN],
    samples: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: [0; BUCKETS_LEN], samples: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, nanos: i64) {
        let nanos = u64::try_from(nanos).unwrap_or(0);
        let count = &mut self.counts[bucket(nanos)];
        *count = count.saturating_add(1);
        self.samples += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn latency(&self) -> Latency {
        Latency {
            samples: self.samples,
            p50: self.quantile(1, 2),
            p99: self.quantile(99, 100),
            max: Duration::from_nanos(self.max),
        }
    }

    fn quantile(&self, numerator: u64, denominator: u64) -> Duration {
        let rank = (self.samples * numerator).div_ceil(denominator);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && seen > 0 {
                return Duration::from_nanos(upper_bound(index).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }
}

fn bucket(nanos: u64) -> usize {
    let octave = 63 - nanos.max(1).leading_zeros();
    if octave < FIRST_OCTAVE {
        return 0;
    }
    // The two bits under the leading one.
    let quarter = (nanos >> (octave - 2)) & 3;
    let index = u64::from((octave - FIRST_OCTAVE) * BUCKETS_PER_OCTAVE) + quarter;
    usize::try_from(index).map_or(BUCKETS_LEN - 1, |index| index.min(BUCKETS_LEN - 1))
}

fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    let per_octave = u64::from(BUCKETS_PER_OCTAVE);
    let base = 1u64 << (u64::from(FIRST_OCTAVE) + index / per_octave);
    base + base / per_octave * (index % per_octave + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_quarter_above_the_truth_and_never_below() {
        for waits in [vec![1_i64], vec![500; 100], (1..=10_000).collect(), vec![i64::MAX, 3]] {
            let mut histogram = Histogram::new();
            waits.iter().for_each(|wait| histogram.record(*wait));
            let mut sorted = waits.clone();
            sorted.sort_unstable();
            let exact = |numerator: usize, denominator: usize| {
                sorted[(sorted.len() * numerator).div_ceil(denominator) - 1]
            };
            let latency = histogram.latency();
            for (found, exact) in [(latency.p50, exact(1, 2)), (latency.p99, exact(99, 100))] {
                let found = i64::try_from(found.as_nanos()).unwrap();
                assert!(found >= exact.min(1 << 34), "{found} is below {exact}");
                assert!(
                    found <= exact.saturating_add(exact / 4) || found < 160,
                    "{found} is far above {exact}"
                );
            }
            assert_eq!(latency.samples, waits.len() as u64);
        }
        assert_eq!(Histogram::new().latency(), Latency::default());
    }
}
