//! Denials that come in a storm: the first are written in full, the others are counted, and the count is written.
//!
//! Nothing is dropped: every denial is either a record or part of a count, and each count becomes a record. The tables are
//! bounded; what has no place in them is written in full.

use std::collections::HashMap;
use std::time::Duration;

use crate::access::Subject;

use super::Seq;
use super::chain::Draft;

/// How long denials are counted before the count is written.
const WINDOW: Duration = Duration::from_secs(10);
/// Denials that say the same and are written in full in that time.
const SAME_MAX: u64 = 100;
/// Denials of one subject that say something new and are written in full in that time.
const NEW_MAX: u64 = 1_000;
/// Denials that are told apart, and subjects that are.
const KINDS_MAX: usize = 1_024;
/// A denial that says more is not told apart from others.
const BODY_BYTES_MAX: usize = 4_096;

/// Denials of the last moments.
#[derive(Debug, Default)]
pub(super) struct Storms {
    same: HashMap<blake3::Hash, Same>,
    subjects: HashMap<Subject, Various>,
    /// When something in the tables ends; nothing does before.
    ends: Option<Duration>,
}

#[derive(Debug)]
struct Same {
    draft: Draft,
    ends: Duration,
    seen: u64,
    /// The latest that was written.
    of: Seq,
    counted: u64,
}

#[derive(Debug)]
struct Various {
    ends: Duration,
    new: u64,
    counted: u64,
}

/// What becomes of a denial.
pub(super) enum Fate {
    /// It is to be written.
    Written,
    /// It was counted; this record says the same.
    Counted(Seq),
}

impl Storms {
    /// Decides about one denial, which is the record after `newest` if it is written.
    pub(super) fn meet(&mut self, subject: &Subject, draft: &Draft, newest: Seq, now: Duration) -> Fate {
        let key = blake3::hash(draft.body().as_bytes());
        if let Some(same) = self.same.get_mut(&key) {
            same.seen += 1;
            if same.seen <= SAME_MAX {
                same.of = newest + 1;
                return Fate::Written;
            }
            same.counted += 1;
            return Fate::Counted(same.of);
        }
        let ends = now + WINDOW;
        if !self.subjects.contains_key(subject) {
            if self.subjects.len() >= KINDS_MAX {
                return Fate::Written;
            }
            self.subjects.insert(subject.clone(), Various { ends, new: 0, counted: 0 });
        }
        let various = self.subjects.get_mut(subject).expect("it was put there if it was missing");
        various.new += 1;
        if various.new > NEW_MAX {
            various.counted += 1;
            return Fate::Counted(newest);
        }
        if self.same.len() < KINDS_MAX && draft.body().len() <= BODY_BYTES_MAX {
            let same = Same { draft: draft.clone(), ends, seen: 1, of: newest + 1, counted: 0 };
            self.same.insert(key, same);
        }
        self.ends = Some(self.ends.map_or(ends, |known| known.min(ends)));
        Fate::Written
    }

    /// How long until there is something to do.
    pub(super) fn due_in(&self, now: Duration) -> Option<Duration> {
        self.ends.map(|ends| ends.saturating_sub(now))
    }

    /// The records of the counts, with how many denials each stands for: of those whose time is over, which are forgotten, or
    /// without a time of all, which go on being storms.
    pub(super) fn finish(&mut self, upto: Option<Duration>) -> Vec<(Draft, u64)> {
        if let (Some(upto), Some(ends)) = (upto, self.ends)
            && upto < ends
        {
            return Vec::new();
        }
        let is_over = |ends: Duration| upto.is_some_and(|upto| ends <= upto);
        let is_told = |ends: Duration| upto.is_none() || is_over(ends);
        let mut same: Vec<(Seq, Draft, u64)> = Vec::new();
        for one in self.same.values_mut().filter(|one| one.counted > 0 && is_told(one.ends)) {
            let count = std::mem::take(&mut one.counted);
            same.push((one.of, Draft::denials(&one.draft, count, (one.of > 0).then_some(one.of)), count));
        }
        // In an order that does not depend on where they lie in memory.
        same.sort_unstable_by(|one, other| (one.0, one.1.body()).cmp(&(other.0, other.1.body())));
        let mut various: Vec<(&Subject, u64)> = Vec::new();
        for (subject, one) in &mut self.subjects {
            if one.counted > 0 && is_told(one.ends) {
                various.push((subject, std::mem::take(&mut one.counted)));
            }
        }
        various.sort_unstable();
        let various =
            various.into_iter().map(|(subject, count)| (Draft::various_denials(subject, count), count));
        let told = same.into_iter().map(|(_, draft, count)| (draft, count)).chain(various).collect();
        self.same.retain(|_, one| !is_over(one.ends));
        self.subjects.retain(|_, one| !is_over(one.ends));
        let left = self.same.values().map(|one| one.ends);
        self.ends = left.chain(self.subjects.values().map(|one| one.ends)).min();
        told
    }

    /// Records after `written` are not on the disk and their numbers are given to others.
    pub(super) fn forget_after(&mut self, written: Seq) {
        self.same.values_mut().filter(|same| same.of > written).for_each(|same| same.of = 0);
    }
}
