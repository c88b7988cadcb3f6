//! What another policy would have decided about what is on record, and what it grants otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{Access, Subject};
use crate::audit::{Record, Seq};
use crate::gate::ACCESSES_MAX;

use super::{Decision, Effect, Policy};

/// Different changes that are listed.
const CHANGES_MAX: usize = 10_000;

/// Holds a candidate against a log.
#[derive(Debug)]
pub struct Replay<'p> {
    policy: &'p Policy,
    changes: BTreeMap<(String, String, bool), AnswerChange>,
    compared: u64,
    unlisted: u64,
    unknown: u64,
}

/// Operations that the candidate decides otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerChange {
    /// Whose.
    pub subject: String,
    /// The access that makes the difference.
    pub access: String,
    /// What was decided, as the first record says.
    pub was: Verdict,
    /// What would be.
    pub now: Verdict,
    /// How many.
    pub count: u64,
    /// The first record of one.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// A decision, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it permits.
    pub allowed: bool,
    /// The rule; none if no rule allows it.
    pub rule: Option<String>,
}

/// A rule that a subject has by one policy and not by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantChange {
    /// Whose.
    pub subject: Subject,
    /// What the rule does.
    pub effect: Effect,
    /// What it is about.
    pub about: String,
    /// It is there now and was not before, or the other way around.
    pub appears: bool,
}

impl GrantChange {
    /// Whether the subject may do more by it, as far as no other rule does the same.
    pub fn widens(&self) -> bool {
        self.appears == (self.effect == Effect::Allow)
    }
}

impl<'p> Replay<'p> {
    /// Of this candidate.
    pub fn new(policy: &'p Policy) -> Self {
        Self { policy, changes: BTreeMap::new(), compared: 0, unlisted: 0, unknown: 0 }
    }

    /// Decides anew what a record is about. An operation that was only observed counts as denied.
    pub fn add(&mut self, record: &Record) {
        let (was_allowed, count) = match record.kind() {
            "intent" => (true, 1),
            "observed" => (false, 1),
            "denial" | "denials" => (false, record.denials()),
            _ => return,
        };
        let accesses: Option<Vec<Access>> = record.accesses().map(Access::of_record).collect();
        let subject = record.text("subject").and_then(|subject| Subject::parse(subject).ok());
        // What is denied for another reason than a policy's is denied by every policy.
        let is_decided = was_allowed
            || record.kind() == "observed"
            || record.text("rule").is_some_and(|rule| rule == NO_RULE || rule.starts_with(DENIES));
        let accesses = accesses.filter(|accesses| is_decided && (1..=ACCESSES_MAX).contains(&accesses.len()));
        let (Some(subject), Some(accesses)) = (subject, accesses) else {
            self.unknown += count;
            return;
        };
        self.compared += count;
        let decided = accesses.iter().map(|access| (access, self.policy.decide(&subject, access)));
        let mut allowing = None;
        let mut denying = None;
        for (access, decision) in decided {
            match decision {
                Decision::Allowed(rule) => {
                    // The access that was denied before is the one to tell of.
                    if allowing.is_none() || record.denied().as_ref() == Some(access) {
                        allowing = Some((access, Some(rule)));
                    }
                }
                Decision::Denied(rule) => {
                    denying = Some((access, rule));
                    break;
                }
            }
        }
        let is_allowed = denying.is_none();
        let Some((access, rule)) = denying.or(allowing).filter(|_| is_allowed != was_allowed) else {
            return;
        };
        let key = (subject.as_str().to_owned(), access.to_string(), was_allowed);
        if self.changes.len() >= CHANGES_MAX && !self.changes.contains_key(&key) {
            self.unlisted += count;
            return;
        }
        let old_rule = record.text("rule").filter(|rule| *rule != NO_RULE).map(str::to_owned);
        let rule = rule.map(|rule| self.policy.rule(rule).to_string());
        let change = self.changes.entry(key).or_insert_with_key(|(subject, access, _)| AnswerChange {
            subject: subject.clone(),
            access: access.clone(),
            was: Verdict { allowed: was_allowed, rule: old_rule },
            now: Verdict { allowed: is_allowed, rule },
            count: 0,
            first: record.seq(),
            last: record.seq(),
        });
        change.count += count;
        change.last = record.seq();
    }

    /// What would change, sorted by subject and access.
    pub fn changes(&self) -> impl Iterator<Item = &AnswerChange> {
        self.changes.values()
    }

    /// How many operations were decided anew.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// How many changed ones are not listed, because there are too many different ones.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// How many operations were not decided anew: the log does not say enough about them, as something of it is hidden or too
    /// long, or it was no policy that denied them, but a layer or a bound.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }
}

/// What a record says where no rule decided.
const NO_RULE: &str = "no rule allows it";
/// How a rule that denies is shown.
const DENIES: &str = "deny ";

impl Policy {
    /// Which rules the subjects have by the other policy and not by this one, and the other way around, sorted. Rules are
    /// compared by what they say: one that is only written otherwise, or that others cover, shows as well, so what is listed
    /// may make no difference, and what makes a difference is listed.
    pub fn grant_changes(&self, other: &Self) -> Vec<GrantChange> {
        let subjects: BTreeSet<&Subject> = self.subjects.keys().chain(other.subjects.keys()).collect();
        let said = |policy: &Self, subject: &Subject| -> BTreeSet<(String, bool)> {
            let rules = policy.grants(subject).into_iter().map(|id| policy.rule(id));
            rules.map(|rule| (rule.scope.to_string(), rule.effect == Effect::Allow)).collect()
        };
        let mut changes = Vec::new();
        for subject in subjects {
            let (old, new) = (said(self, subject), said(other, subject));
            for (about, allows) in old.symmetric_difference(&new) {
                changes.push(GrantChange {
                    subject: subject.clone(),
                    effect: if *allows { Effect::Allow } else { Effect::Deny },
                    about: about.clone(),
                    appears: new.contains(&(about.clone(), *allows)),
                });
            }
        }
        changes
    }
}
