//! Latencies in buckets that grow with the value, so that quantiles are exact to 1/32 at any size.
//!
//! A bucket is named by the position of the highest bit and the five bits below it, in microseconds. 64-bit values
//! need 1,920 buckets at most; the list is as long as the largest value seen needs.

use serde::{Deserialize, Serialize};

/// Bits of a value that a bucket keeps beside the highest.
const KEPT: u32 = 5;

/// How many requests took how long.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Latencies {
    pub(crate) fn add(&mut self, ms: f64) {
        // Saturates: a value too large for the clock is the largest there is.
        let bucket = bucket((ms * 1000.0).round() as u64);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    /// The latency that this part of the requests did not exceed; 0 where there were none.
    pub(crate) fn quantile_ms(&self, part: f64) -> f64 {
        let rank = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return middle(bucket) / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(micros: u64) -> usize {
    let exponent = micros.checked_ilog2().unwrap_or(0);
    let shift = exponent.saturating_sub(KEPT);
    // Below 2^(KEPT+1) each value has its own bucket; the ranges above follow each other without a gap.
    ((u64::from(shift) << KEPT) + (micros >> shift)) as usize
}

/// The middle of a bucket in microseconds.
fn middle(bucket: usize) -> f64 {
    let shift = (bucket >> KEPT).saturating_sub(1);
    let lowest = (bucket - (shift << KEPT)) as f64;
    let width = 2_f64.powi(shift as i32);
    lowest * width + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_own_middle() {
        for number in 0..1000 {
            assert_eq!(bucket(middle(number) as u64), number);
        }
    }

    #[test]
    fn buckets_follow_each_other() {
        for micros in 0..100_000 {
            assert!(bucket(micros + 1) - bucket(micros) <= 1, "{micros}");
        }
        assert!(bucket(u64::MAX) < 1920);
    }

    #[test]
    fn a_quantile_is_exact_to_one_part_in_32() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|ms| latencies.add(f64::from(ms)));
        for (part, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile_ms(part);
            assert!((found - exact).abs() <= exact / 32.0, "{part}: {found}");
        }
    }

    #[test]
    fn without_requests_a_quantile_is_zero() {
        assert_eq!(Latencies::default().quantile_ms(0.99), 0.0);
    }
}
