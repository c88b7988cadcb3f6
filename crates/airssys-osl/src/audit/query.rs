//! Which records are asked for.

use std::ops::RangeInclusive;

use crate::policy::{PatternError, Word};

use super::{Record, Seq};

/// What a record has to say to be found. The default finds all.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Whose it is. What came of an operation is a record of its own and has no subject.
    pub subject: Option<String>,
    /// Its kind.
    pub kind: Option<String>,
    /// The operation.
    pub operation: Option<String>,
    /// A part of the rule that decided.
    pub rule: Option<String>,
    /// When it was written, in milliseconds since 1970.
    pub time_ms: Option<RangeInclusive<u64>>,
    /// Its number.
    pub seq: Option<RangeInclusive<Seq>>,
    /// An access like this.
    pub access: Option<AccessLike>,
}

/// Why something cannot be searched for.
#[derive(Debug, thiserror::Error)]
#[error("search for an access")]
pub struct QueryError(#[from] PatternError);

/// What an access looks like.
#[derive(Debug, Clone)]
pub struct AccessLike(Wanted);

#[derive(Debug, Clone)]
enum Wanted {
    Part(Box<str>),
    Whole(Word),
}

impl Query {
    /// Whether it is one of those.
    pub fn matches(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, field| {
            wanted.as_deref().is_none_or(|wanted| record.text(field) == Some(wanted))
        };
        is(&self.subject, "subject")
            && is(&self.kind, "kind")
            && is(&self.operation, "operation")
            && self
                .rule
                .as_deref()
                .is_none_or(|part| record.text("rule").is_some_and(|rule| rule.contains(part)))
            && self.time_ms.as_ref().is_none_or(|range| range.contains(&record.time_ms()))
            && self.seq.as_ref().is_none_or(|range| range.contains(&record.seq()))
            && self.access.as_ref().is_none_or(|wanted| record.accesses().any(|access| wanted.fits(access)))
    }
}

impl AccessLike {
    /// One that contains the text, or, if `*` or `?` is in it, one that is like it as a whole.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        Ok(Self(match text.contains(['*', '?']) {
            true => Wanted::Whole(Word::parse(text)?),
            false => Wanted::Part(text.into()),
        }))
    }

    fn fits(&self, access: &str) -> bool {
        match &self.0 {
            Wanted::Part(part) => access.contains(&**part),
            Wanted::Whole(word) => word.matches(access),
        }
    }
}
