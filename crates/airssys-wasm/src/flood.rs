//! A bound on what one component can write into logs: so many lines a second, and a count of those that were held back.
//!
//! The first lines of a second pass, so the first refusal of a kind is always seen. Counters elsewhere stay exact.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one component that pass in a second.
const LINES_PER_SECOND: u32 = 100;

#[derive(Default)]
pub(crate) struct Flood {
    window: Mutex<Option<Window>>,
}

struct Window {
    began: Instant,
    passed: u32,
    held_back: u64,
}

/// Whether a line passes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It does.
    Free,
    /// It does, and so many before it did not.
    After(u64),
    /// It does not.
    HeldBack,
}

impl Flood {
    pub(crate) fn pass(&self, now: Instant) -> Passage {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *window {
            Some(window) if now.duration_since(window.began) < Duration::from_secs(1) => {
                if window.passed < LINES_PER_SECOND {
                    window.passed += 1;
                    return Passage::Free;
                }
                window.held_back += 1;
                Passage::HeldBack
            }
            other => {
                let held_back = other.as_ref().map_or(0, |window| window.held_back);
                *other = Some(Window { began: now, passed: 1, held_back: 0 });
                if held_back == 0 { Passage::Free } else { Passage::After(held_back) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Flood, LINES_PER_SECOND, Passage};

    #[test]
    fn so_many_lines_pass_in_a_second_and_the_rest_are_counted() {
        let flood = Flood::default();
        let start = Instant::now();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(flood.pass(start), Passage::Free);
        }
        for _ in 0..7 {
            assert_eq!(flood.pass(start + Duration::from_millis(999)), Passage::HeldBack);
        }
        let next = start + Duration::from_secs(1);
        assert_eq!(flood.pass(next), Passage::After(7));
        assert_eq!(flood.pass(next), Passage::Free);
    }
}
