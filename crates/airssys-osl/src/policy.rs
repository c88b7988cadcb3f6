//! Who may do what: subjects, the roles they have, and rules that allow or deny.
//!
//! A policy is data and its decisions are functions of it. A subject has its own rules and those of its roles. One rule that
//! denies is enough to deny; without one, one that allows is needed. Whoever is not in the policy may do nothing. What cannot
//! be read is refused whole when it is loaded, so no rule is ever skipped while a decision is made.
//!
//! The rules of each subject are sorted when the policy is loaded, so what others may do costs a decision nothing.

mod file;
mod in_use;
mod learned;
mod observing;
mod pattern;
mod replay;
mod rule;
mod watched;

use std::collections::HashMap;
use std::fmt;

use crate::access::{Access, Name, Subject};
use crate::document::Position;

pub(crate) use in_use::{Generation, InUse};
pub use learned::{LearnError, Learned, Learner};
pub(crate) use observing::Observing;
pub use observing::{Lenience, ObserveError, Observed};
pub(crate) use pattern::Behind;
pub(crate) use pattern::Word;
pub use pattern::{Pattern, PatternError};
pub use replay::{AnswerChange, GrantChange, Replay, Verdict};
pub use rule::RuleError;
pub(crate) use rule::{Ground, Verbs};
use rule::{Matter, Scope};
pub use watched::{PolicyFile, PolicyFileError, PolicyWatch, Reloaded};

/// Rules of one policy.
const RULES_MAX: usize = 100_000;
/// Roles and subjects of one policy, each.
const HOLDERS_MAX: usize = 10_000;
/// Patterns of one rule.
const PATTERNS_MAX: usize = 1024;

/// A whole policy, read and checked.
#[derive(Debug)]
pub struct Policy {
    rules: Box<[Rule]>,
    subjects: HashMap<Subject, Grants>,
    expectations: Box<[Expectation]>,
    /// Of the text it was read from.
    digest: blake3::Hash,
}

/// What one rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It permits what nothing denies.
    Allow,
    /// It denies, whatever permits.
    Deny,
}

/// One rule, as a decision names it.
#[derive(Debug)]
pub struct Rule {
    effect: Effect,
    holder: Holder,
    at: Position,
    scope: Scope,
}

/// Whose rule it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Role(Name),
    Subject(Subject),
}

/// The answer to one access, with the rule that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Permitted, by this rule.
    Allowed(RuleId),
    /// Denied, by this rule, or because none permits it.
    Denied(Option<RuleId>),
}

impl Decision {
    /// Whether it permits.
    pub fn is_allowed(self) -> bool {
        match self {
            Decision::Allowed(_) => true,
            Decision::Denied(_) => false,
        }
    }
}

/// One rule of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(u32);

/// What the file itself says must come out.
#[derive(Debug)]
struct Expectation {
    subject: Subject,
    access: Access,
    allowed: bool,
    at: Position,
}

/// An expectation that did not come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disappointment {
    /// Where it is written.
    pub at: Position,
    /// Who was to be allowed or denied.
    pub subject: Subject,
    /// What.
    pub access: Access,
    /// What came out.
    pub decision: Decision,
}

/// Rules of one subject, by what they are about.
#[derive(Debug, Default)]
struct Grants {
    files: HashMap<Name, Sorted>,
    others: [Sorted; rule::OTHERS],
}

#[derive(Debug, Default)]
struct Sorted {
    deny: Index,
    allow: Index,
}

/// Rules that can cover a path by the first part of it, so that most need not be looked at.
#[derive(Debug, Default)]
struct Index {
    by_first: HashMap<Box<str>, Vec<RuleId>>,
    /// Those that are about no path, or do not say how it begins.
    others: Vec<RuleId>,
}

impl Policy {
    /// A policy in which nobody may do anything.
    pub fn empty() -> Self {
        let digest = blake3::hash(b"");
        Self { rules: Box::default(), subjects: HashMap::new(), expectations: Box::default(), digest }
    }

    /// Decides about one access. Allocates nothing.
    pub fn decide(&self, subject: &Subject, access: &Access) -> Decision {
        let Some(rules) = self.subjects.get(subject).and_then(|grants| grants.about(access)) else {
            return Decision::Denied(None);
        };
        let first = |index: &Index| index.about(access).filter(|id| self.rule(*id).covers(access)).min();
        match first(&rules.deny) {
            Some(rule) => Decision::Denied(Some(rule)),
            None => first(&rules.allow).map_or(Decision::Denied(None), Decision::Allowed),
        }
    }

    /// The rule that a decision of this policy names.
    ///
    /// # Panics
    ///
    /// With an id of another policy that has more rules.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0 as usize]
    }

    /// All rules that cover an access of a subject, those that deny first, each kind in the order written.
    pub fn explain(&self, subject: &Subject, access: &Access) -> Vec<RuleId> {
        let rules = self.subjects.get(subject).and_then(|grants| grants.about(access));
        let in_order = |index: &Index| {
            let mut ids: Vec<RuleId> =
                index.about(access).filter(|id| self.rule(*id).covers(access)).collect();
            ids.sort_unstable();
            ids
        };
        rules.map_or_else(Vec::new, |rules| [in_order(&rules.deny), in_order(&rules.allow)].concat())
    }

    /// Who may do this, sorted.
    pub fn who_can(&self, access: &Access) -> Vec<&Subject> {
        let may = |subject: &&Subject| self.decide(subject, access).is_allowed();
        let mut who: Vec<&Subject> = self.subjects.keys().filter(may).collect();
        who.sort_unstable();
        who
    }

    /// The rules that hold for a subject, its own and those of its roles, in the order written.
    pub fn grants(&self, subject: &Subject) -> Vec<RuleId> {
        let Some(grants) = self.subjects.get(subject) else {
            return Vec::new();
        };
        let sorted = grants.files.values().chain(&grants.others);
        let mut ids: Vec<RuleId> =
            sorted.flat_map(|rules| rules.deny.all().chain(rules.allow.all())).collect();
        ids.sort_unstable();
        ids
    }

    /// The subjects it knows, sorted.
    pub fn subjects(&self) -> Vec<&Subject> {
        let mut subjects: Vec<&Subject> = self.subjects.keys().collect();
        subjects.sort_unstable();
        subjects
    }

    /// What the file expects and does not get, in the order written.
    pub fn disappointments(&self) -> Vec<Disappointment> {
        let test = |expected: &Expectation| {
            let decision = self.decide(&expected.subject, &expected.access);
            let comes_true = decision.is_allowed() == expected.allowed;
            (!comes_true).then(|| Disappointment {
                at: expected.at,
                subject: expected.subject.clone(),
                access: expected.access.clone(),
                decision,
            })
        };
        self.expectations.iter().filter_map(test).collect()
    }

    /// How many rules it has.
    pub fn rules_len(&self) -> usize {
        self.rules.len()
    }

    /// The blake3 digest of the text it was read from, in hex; that of no text for the empty policy.
    pub fn digest(&self) -> String {
        self.digest.to_hex().to_string()
    }

    /// How many tests the file states.
    pub fn expectations_len(&self) -> usize {
        self.expectations.len()
    }
}

impl Grants {
    fn add(&mut self, id: RuleId, rule: &Rule) {
        let sorted = match rule.scope.matter() {
            Matter::Files(root) => self.files.entry(root.clone()).or_default(),
            Matter::Other(kind) => &mut self.others[kind],
        };
        let rules = match rule.effect {
            Effect::Allow => &mut sorted.allow,
            Effect::Deny => &mut sorted.deny,
        };
        match rule.scope.first_part() {
            Some(first) => rules.by_first.entry(first.into()).or_default().push(id),
            None => rules.others.push(id),
        }
    }

    fn about(&self, access: &Access) -> Option<&Sorted> {
        match Matter::of(access) {
            Matter::Files(root) => self.files.get(root),
            Matter::Other(kind) => Some(&self.others[kind]),
        }
    }
}

impl Index {
    /// Those that may cover an access, in no order.
    fn about(&self, access: &Access) -> impl Iterator<Item = RuleId> {
        let first =
            if let Access::File { path, .. } = access { path.path.as_str().split('/').next() } else { None };
        let by_first = first.and_then(|first| self.by_first.get(first)).into_iter().flatten();
        by_first.chain(&self.others).copied()
    }

    fn all(&self) -> impl Iterator<Item = RuleId> {
        self.by_first.values().flatten().chain(&self.others).copied()
    }
}

impl Rule {
    fn covers(&self, access: &Access) -> bool {
        self.scope.covers(access, self.effect)
    }

    /// What of it the system's own walls can know.
    pub(crate) fn ground(&self) -> Ground<'_> {
        self.scope.ground(self.effect)
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Where it is written.
    pub fn at(&self) -> Position {
        self.at
    }
}

impl fmt::Display for Rule {
    /// One line: what it does, about what, whose it is, and where it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        write!(f, "{effect} {} (", self.scope)?;
        match &self.holder {
            Holder::Role(name) => write!(f, "role {name}")?,
            Holder::Subject(subject) => write!(f, "subject {subject}")?,
        }
        write!(f, ", line {})", self.at.line)
    }
}
