//! One record as a line, and the hash that ties it to the one before.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::access::{Access, Subject};
use crate::fields::Fields;

use super::clock::Run;
use super::{Outcome, Said, Seq, Value};

/// Longest record in bytes, its end of line included.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;
/// Longer texts of operations and errors are cut: they may come from whoever is watched.
const TEXT_CHARS_MAX: usize = 1024;

/// How what a denial says begins.
const DENIAL: &str = ",\"kind\":\"denial\"";

const HASH_KEY: &str = ",\"hash\":\"";
const HASH_CHARS: usize = 64;

/// The newest record of a log at some moment: its number and its hash. Shown and read as `seq:hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 for a log without records.
    pub seq: Seq,
    pub(super) hash: blake3::Hash,
}

impl Head {
    /// Before the first record.
    pub(super) fn none() -> Self {
        Self { seq: 0, hash: blake3::Hash::from_bytes([0; 32]) }
    }

    /// Reads what [`Head`] shows.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self { seq: seq.parse().ok()?, hash: blake3::Hash::from_hex(hash).ok()? })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash.to_hex())
    }
}

/// What a record says, rendered before it has its place in the log: what is said may come from anybody's code, which is not
/// to run while others wait.
#[derive(Debug, Clone)]
pub(super) struct Draft(String);

/// A record without its hash.
pub(super) struct Line(String);

impl Draft {
    pub(super) fn new(said: &Said<'_>) -> Self {
        let mut draft = Self::of(match said {
            Said::Intent { .. } => "intent",
            Said::Observed { .. } => "observed",
            Said::Denial { .. } => "denial",
            Said::Outcome { .. } => "outcome",
            Said::Notice { kind, .. } => kind,
        });
        match said {
            Said::Intent { subject, accesses, rules, operation, policy, fields } => {
                draft.text("subject", subject).text("operation", operation).accesses(accesses).fields(fields);
                draft.text("rule", rules).text("policy", policy);
            }
            Said::Observed { subject, accesses, denied, rule, operation, policy, fields }
            | Said::Denial { subject, accesses, denied, rule, operation, policy, fields } => {
                draft.text("subject", subject).text("operation", operation).accesses(accesses).fields(fields);
                draft.text("denied", denied).text("rule", rule).text("policy", policy);
            }
            Said::Outcome { of, outcome } => {
                draft.number("of", *of);
                match outcome {
                    Outcome::Done => draft.text("outcome", &"done"),
                    Outcome::Failed(error) => draft.text("outcome", &"failed").text("error", error),
                    Outcome::Unknown => draft.text("outcome", &"unknown"),
                };
            }
            Said::Notice { kind: _, fields } => fields.iter().for_each(|(key, value)| {
                match value {
                    Value::Text(text) => draft.text(key, text),
                    Value::Number(number) => draft.number(key, *number),
                };
            }),
        }
        draft
    }

    /// Records that were given up because the disk did not take them.
    pub(super) fn gap(lost: u64) -> Self {
        let mut draft = Self::of("gap");
        draft.number("lost", lost);
        draft
    }

    /// The end of the log, cut short by a crash, was removed.
    pub(super) fn cut(bytes: u64) -> Self {
        let mut draft = Self::of("cut");
        draft.number("bytes", bytes);
        draft
    }

    /// How many more denials there were that said what this one does, the latest of them that was written being `of`.
    pub(super) fn denials(denial: &Self, count: u64, of: Option<Seq>) -> Self {
        let mut draft = Self::of("denials");
        draft.number("count", count);
        if let Some(of) = of {
            draft.number("of", of);
        }
        draft.0.push_str(denial.0.strip_prefix(DENIAL).unwrap_or_default());
        draft
    }

    /// How many more denials of a subject there were, whatever each of them said.
    pub(super) fn various_denials(subject: &Subject, count: u64) -> Self {
        let mut draft = Self::of("denials");
        draft.number("count", count).text("subject", subject);
        draft
    }

    /// A signature of the record before.
    pub(super) fn checkpoint(every: u64, key: &str, signature: &str) -> Self {
        let mut draft = Self::of("checkpoint");
        draft.number("every", every).text("key", &key).text("signature", &signature);
        draft
    }

    /// What it says, for telling it from others.
    pub(super) fn body(&self) -> &str {
        &self.0
    }

    /// The record that comes after this one.
    pub(super) fn after(&self, head: &Head, run: &Run) -> Line {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let (run, mono) = (run.id(), run.elapsed_ms());
        let (seq, prev) = (head.seq + 1, head.hash.to_hex());
        // Room for the hash as well.
        let mut line = String::with_capacity(self.0.len() + 256);
        line.write_fmt(format_args!(
            "{{\"seq\":{seq},\"time_ms\":{time},\"run\":\"{run}\",\"mono_ms\":{mono},\"prev\":\"{prev}\""
        ))
        .expect("a string takes every text");
        line.push_str(&self.0);
        Line(line)
    }

    fn of(kind: &str) -> Self {
        Self(format!(",\"kind\":\"{kind}\""))
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes every text");
    }

    fn number(&mut self, key: &str, number: u64) -> &mut Self {
        self.push(format_args!(",\"{key}\":{number}"));
        self
    }

    fn text(&mut self, key: &str, text: &dyn fmt::Display) -> &mut Self {
        self.push(format_args!(",\"{key}\":"));
        self.string(text);
        self
    }

    fn accesses(&mut self, accesses: &[Access]) -> &mut Self {
        self.0.push_str(",\"accesses\":[");
        for (index, access) in accesses.iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            // In full, however long: what was permitted has to be seen. The bound on a record refuses what is too long.
            self.whole(&access.to_string());
        }
        self.0.push(']');
        self
    }

    /// What the operation says of itself; bounded where it is said.
    fn fields(&mut self, fields: &Fields<'_>) -> &mut Self {
        if let Some(len) = fields.batch_len() {
            self.push(format_args!(",\"batch_len\":{len}"));
        }
        if fields.said().is_empty() {
            return self;
        }
        for (index, (name, value)) in fields.said().iter().enumerate() {
            self.0.push_str(if index == 0 { ",\"fields\":{" } else { "," });
            self.whole(name);
            self.0.push(':');
            self.whole(value);
        }
        self.0.push('}');
        match fields.more() {
            0 => self,
            more => self.number("fields_more", more as u64),
        }
    }

    /// A text that may be cut.
    fn string(&mut self, text: &dyn fmt::Display) {
        let mut shown = text.to_string();
        if let Some((cut, _)) = shown.char_indices().nth(TEXT_CHARS_MAX) {
            shown.truncate(cut);
            shown.push('…');
        }
        self.whole(&shown);
    }

    /// A JSON string without anything in it that a terminal would act upon.
    fn whole(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                ' '..='~' => self.0.push(c),
                // What `escape_debug` would escape cannot be seen, or does something when it is shown.
                c if c.escape_debug().len() > 1 => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.push(format_args!("\\u{unit:04x}"));
                    }
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

impl Line {
    /// The whole line, and its hash.
    pub(super) fn seal(self) -> (String, blake3::Hash) {
        let mut line = self.0;
        let hash = blake3::hash(line.as_bytes());
        line.push_str(HASH_KEY);
        line.push_str(&hash.to_hex());
        line.push_str("\"}\n");
        (line, hash)
    }
}

/// A line that was read again, with what ties it to its neighbours.
pub(super) struct Read {
    pub(super) seq: Seq,
    pub(super) prev: blake3::Hash,
    pub(super) hash: blake3::Hash,
    /// All that it says.
    pub(super) fields: serde_json::Value,
}

impl Read {
    /// Reads a line without its end. `None` if it is no record, or not the one that was hashed.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let sealed = line.strip_suffix("\"}")?;
        let at = sealed.len().checked_sub(HASH_KEY.len() + HASH_CHARS)?;
        let (body, seal) = sealed.split_at_checked(at)?;
        let hash = blake3::Hash::from_hex(seal.strip_prefix(HASH_KEY)?).ok()?;
        if blake3::hash(body.as_bytes()) != hash {
            return None;
        }
        let fields: serde_json::Value = serde_json::from_str(&format!("{body}}}")).ok()?;
        let prev = blake3::Hash::from_hex(fields.get("prev")?.as_str()?).ok()?;
        Some(Self { seq: fields.get("seq")?.as_u64()?, prev, hash, fields })
    }
}
