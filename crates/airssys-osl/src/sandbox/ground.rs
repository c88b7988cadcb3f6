//! What a policy says of files, asked by folder: is all that could ever be below one allowed, or some of it, or nothing.
//!
//! The answers err on one side: a folder is called whole only if no name in it can be denied.

use std::collections::HashMap;

use crate::access::{Access, FilePath, FileVerb, Name, RelPath, Subject};
use crate::policy::{Effect, Ground, Pattern, Policy, Rule};

use super::{ConfinementError, Whose};

/// Rules that a wall is built from, counted for each subject that has them.
const RULES_MAX: usize = 10_000;

/// One rule about files.
pub(super) struct FileRule<'p> {
    pub(super) rule: &'p Rule,
    pub(super) pattern: &'p Pattern,
    pub(super) hidden: bool,
    verbs: crate::policy::Verbs,
}

/// The rules of some subjects, by subject.
pub(super) struct Grounds<'p> {
    policy: &'p Policy,
    subjects: Vec<&'p Subject>,
    files: HashMap<&'p Name, Vec<Vec<FileRule<'p>>>>,
    /// All that are not about files, by subject.
    pub(super) others: Vec<Vec<&'p Rule>>,
}

/// How much of a folder some verb is allowed for.
pub(super) enum Extent<'g, 'p> {
    /// All there is and could be.
    Whole,
    /// All but what this rule denies.
    AllBut(&'g FileRule<'p>),
    /// All but hidden names, by this rule.
    AllShown(&'g FileRule<'p>),
    /// Some, by this rule.
    Some(&'g FileRule<'p>),
    Nothing,
}

impl<'p> Grounds<'p> {
    pub(super) fn of(policy: &'p Policy, whose: Whose<'p>) -> Result<Self, ConfinementError> {
        let subjects = match whose {
            Whose::Subject(subject) => vec![subject],
            Whose::Everyone => policy.subjects(),
        };
        let mut grounds = Self {
            policy,
            subjects: Vec::new(),
            files: HashMap::new(),
            others: Vec::with_capacity(subjects.len()),
        };
        let mut rules_len = 0;
        for subject in &subjects {
            let ids = policy.grants(subject);
            rules_len += ids.len();
            if rules_len > RULES_MAX {
                return Err(ConfinementError::TooManyRules { limit: RULES_MAX });
            }
            let (mut by_root, mut others) = (HashMap::<_, Vec<_>>::new(), Vec::new());
            for rule in ids.into_iter().map(|id| policy.rule(id)) {
                match rule.ground() {
                    Ground::Files { root, pattern, verbs, hidden } => {
                        by_root.entry(root).or_default().push(FileRule { rule, pattern, hidden, verbs });
                    }
                    Ground::Net { .. } | Ground::Run { .. } => others.push(rule),
                    Ground::Own => {}
                }
            }
            by_root.into_iter().for_each(|(root, rules)| grounds.files.entry(root).or_default().push(rules));
            grounds.others.push(others);
        }
        grounds.subjects = subjects;
        Ok(grounds)
    }

    /// What allows something in a root.
    pub(super) fn allows(&self, root: &Name) -> impl Iterator<Item = &FileRule<'p>> {
        let sets = self.files.get(root).into_iter().flatten();
        sets.flatten().filter(|rule| rule.rule.effect() == Effect::Allow)
    }

    /// How much of a folder a verb is allowed for, and how many rules there are like the one it names, that one included.
    pub(super) fn extent(&self, root: &Name, verb: FileVerb, folder: &RelPath) -> (Extent<'_, 'p>, usize) {
        let (mut some, mut but, mut shown) = (None, None, None);
        let (mut some_len, mut but_len, mut shown_len) = (0, 0, 0);
        for rules in self.files.get(root).into_iter().flatten() {
            let about = |effect| {
                let reaches = move |rule: &&FileRule<'p>| {
                    rule.rule.effect() == effect
                        && rule.has(verb)
                        && rule.pattern.reaches_into(folder.as_str())
                };
                rules.iter().filter(reaches)
            };
            let covering = |rule: &&FileRule<'p>| rule.pattern.covers_all_below(folder.as_str());
            let denies = about(Effect::Deny).count();
            let is_covered = about(Effect::Allow).any(|rule| covering(&rule));
            if denies == 0 && about(Effect::Allow).any(|rule| covering(&rule) && rule.hidden) {
                return (Extent::Whole, 1);
            }
            if !is_covered {
                some_len += about(Effect::Allow).count();
                some = some.or_else(|| about(Effect::Allow).next());
            } else if denies > 0 {
                but_len += denies;
                but = but.or_else(|| about(Effect::Deny).next());
            } else {
                shown_len += 1;
                shown = shown.or_else(|| about(Effect::Allow).find(covering));
            }
        }
        match (but, shown, some) {
            (Some(rule), _, _) => (Extent::AllBut(rule), but_len),
            (None, Some(rule), _) => (Extent::AllShown(rule), shown_len),
            (None, None, Some(rule)) => (Extent::Some(rule), some_len),
            (None, None, None) => (Extent::Nothing, 0),
        }
    }

    /// The names below a folder on which all that is allowed below it goes through, if there are only some.
    pub(super) fn ways_below(&self, root: &Name, verb: FileVerb, folder: &RelPath) -> Option<Vec<&str>> {
        let reaches = |rule: &&FileRule<'p>| rule.has(verb) && rule.pattern.reaches_into(folder.as_str());
        let ways = self.allows(root).filter(reaches).map(|rule| rule.pattern.ways_below(folder.as_str()));
        ways.collect::<Option<Vec<_>>>().map(|ways| ways.concat())
    }

    pub(super) fn is_whole(&self, root: &Name, verb: FileVerb, folder: &RelPath) -> bool {
        matches!(self.extent(root, verb, folder).0, Extent::Whole)
    }

    /// Whether somebody may do this.
    pub(super) fn decide(&self, verb: FileVerb, root: &Name, path: &RelPath) -> bool {
        let access = Access::File { verb, path: FilePath { root: root.clone(), path: path.clone() } };
        self.subjects.iter().any(|subject| self.policy.decide(subject, &access).is_allowed())
    }
}

impl FileRule<'_> {
    pub(super) fn has(&self, verb: FileVerb) -> bool {
        self.verbs.has(verb)
    }
}
