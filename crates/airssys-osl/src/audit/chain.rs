//! One record as a line, and the hash that ties it to the one before.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::access::{Access, Subject};
use crate::fields::Fields;

use super::clock::Run;
use super::sign::Signer;
use super::{AuditError, Outcome, Said, Seq, Value};

/// Longest record in bytes, its end of line included.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;
/// Longer texts of operations and errors are cut: they may come from whoever is watched.
const TEXT_CHARS_MAX: usize = 1024;

/// How what a denial says begins, and what a checkpoint says. Nobody else says so: what comes first is ours.
const DENIAL: &str = ",\"kind\":\"denial\"";
const CHECKPOINT: &str = ",\"kind\":\"checkpoint\"";
/// Room for what most records say.
const DRAFT_BYTES: usize = 384;

const HASH_KEY: &str = ",\"hash\":\"";
const HASH_CHARS: usize = 64;
const SIGNATURE_CHARS: usize = 128;
/// How a line ends behind its hash.
const END: &str = "\"}\n";
/// Stands where a hash or a signature comes to lie.
const BLANK: &str = match str::from_utf8(&[b'0'; SIGNATURE_CHARS]) {
    Ok(blank) => blank,
    Err(_) => unreachable!(),
};

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

/// Lines that have their places in the log, and in which the hashes are still blank: whoever records is not to wait for
/// those of others, and they can only be made one after the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    each: Vec<Blanks>,
}

/// Where in the bytes a line has to be filled in.
#[derive(Debug)]
struct Blanks {
    prev: usize,
    end: usize,
    is_checkpoint: bool,
}

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

    /// A signature of the record before, blank until that has its hash.
    pub(super) fn checkpoint(every: u64, key: &str) -> Self {
        let mut draft = Self::of("checkpoint");
        draft.number("every", every).text("key", &key).text("signature", &BLANK);
        draft
    }

    /// What it says, for telling it from others.
    pub(super) fn body(&self) -> &str {
        &self.0
    }

    fn of(kind: &str) -> Self {
        let mut draft = Self(String::with_capacity(DRAFT_BYTES));
        draft.key("kind").push('"');
        draft.0.extend([kind, "\""]);
        draft
    }

    fn key(&mut self, key: &str) -> &mut String {
        self.0.extend([",\"", key, "\":"]);
        &mut self.0
    }

    fn number(&mut self, key: &str, number: u64) -> &mut Self {
        write!(self.key(key), "{number}").expect("a string takes every text");
        self
    }

    fn text(&mut self, key: &str, text: &dyn fmt::Display) -> &mut Self {
        quote(self.key(key), text, TEXT_CHARS_MAX);
        self
    }

    fn accesses(&mut self, accesses: &[Access]) -> &mut Self {
        self.0.push_str(",\"accesses\":[");
        for (index, access) in accesses.iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            // In full, however long: what was permitted has to be seen. The bound on a record refuses what is too long.
            quote(&mut self.0, access, usize::MAX);
        }
        self.0.push(']');
        self
    }

    /// What the operation says of itself; bounded where it is said.
    fn fields(&mut self, fields: &Fields<'_>) -> &mut Self {
        if let Some(len) = fields.batch_len() {
            self.number("batch_len", len as u64);
        }
        if fields.said().is_empty() {
            return self;
        }
        for (index, (name, value)) in fields.said().iter().enumerate() {
            self.0.push_str(if index == 0 { ",\"fields\":{" } else { "," });
            quote(&mut self.0, name, usize::MAX);
            self.0.push(':');
            quote(&mut self.0, value, usize::MAX);
        }
        self.0.push('}');
        match fields.more() {
            0 => self,
            more => self.number("fields_more", more as u64),
        }
    }
}

/// Adds a JSON string of at most so many characters, and a mark if there were more.
fn quote(into: &mut String, text: &dyn fmt::Display, chars_max: usize) {
    into.push('"');
    let mut quoted = Quoted { into, room: chars_max, is_cut: false };
    let is_cut = match write!(quoted, "{text}") {
        // It fails where it is cut; a text that fails by itself ends there.
        Ok(()) | Err(fmt::Error) => quoted.is_cut,
    };
    into.push_str(if is_cut { "…\"" } else { "\"" });
}

/// The inside of a JSON string, without anything in it that a terminal would act upon.
struct Quoted<'d> {
    into: &'d mut String,
    /// Characters that it still takes.
    room: usize,
    is_cut: bool,
}

impl fmt::Write for Quoted<'_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        loop {
            let room = self.room.min(text.len());
            let plain = text.bytes().take(room).position(|byte| !is_plain(byte)).unwrap_or(room);
            let (run, rest) = text.split_at(plain);
            self.into.push_str(run);
            self.room -= plain;
            let Some(c) = rest.chars().next() else { return Ok(()) };
            if self.room == 0 {
                self.is_cut = true;
                return Err(fmt::Error);
            }
            self.room -= 1;
            escape(self.into, c)?;
            text = &rest[c.len_utf8()..];
        }
    }
}

/// A character that stands for itself, and is a byte.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn escape(into: &mut String, c: char) -> fmt::Result {
    match c {
        '"' | '\\' => into.extend(['\\', c]),
        // What `escape_debug` would escape cannot be seen, or does something when it is shown.
        c if c.escape_debug().len() > 1 => {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(into, "\\u{unit:04x}")?;
            }
        }
        c => into.push(c),
    }
    Ok(())
}

impl Lines {
    /// Adds the record of this number, with the bytes that it has; refused if they are too many.
    pub(super) fn push(&mut self, seq: Seq, draft: &Draft, run: &Run) -> Result<(), AuditError> {
        let begin = self.bytes.len();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // The full width is slow to show.
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        let (id, mono) = (run.id(), run.elapsed_ms());
        write!(
            self.bytes,
            "{{\"seq\":{seq},\"time_ms\":{time},\"run\":\"{id}\",\"mono_ms\":{mono},\"prev\":\""
        )
        .expect("memory takes every text");
        let prev = self.bytes.len();
        let blank = &BLANK[..HASH_CHARS];
        for part in [blank, "\"", &draft.0, HASH_KEY, blank, END] {
            self.bytes.extend_from_slice(part.as_bytes());
        }
        let (end, len) = (self.bytes.len(), self.bytes.len() - begin);
        if len > RECORD_BYTES_MAX {
            self.bytes.truncate(begin);
            return Err(AuditError::TooLarge { len, max: RECORD_BYTES_MAX });
        }
        self.each.push(Blanks { prev, end, is_checkpoint: draft.0.starts_with(CHECKPOINT) });
        Ok(())
    }

    /// Fills in what is blank, the first record coming after `head`, and returns the last one.
    pub(super) fn seal(&mut self, mut head: Head, signer: Option<&Signer>) -> Head {
        let mut begin = 0;
        for blanks in self.each.drain(..) {
            self.bytes[blanks.prev..][..HASH_CHARS].copy_from_slice(head.hash.to_hex().as_bytes());
            let hash_at = blanks.end - END.len() - HASH_CHARS;
            let body_end = hash_at - HASH_KEY.len();
            if let Some(signer) = signer.filter(|_| blanks.is_checkpoint) {
                let signature = signer.sign(&head);
                // A quote comes behind it.
                let at = body_end - 1 - SIGNATURE_CHARS;
                self.bytes[at..][..SIGNATURE_CHARS].copy_from_slice(signature.as_bytes());
            }
            let hash = blake3::hash(&self.bytes[begin..body_end]);
            self.bytes[hash_at..][..HASH_CHARS].copy_from_slice(hash.to_hex().as_bytes());
            head = Head { seq: head.seq + 1, hash };
            begin = blanks.end;
        }
        head
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.each.clear();
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
        let hash = blake3::hash(body.as_bytes());
        // As text: a digit in upper case stands for the same, and was not written so.
        if *seal.strip_prefix(HASH_KEY)? != *hash.to_hex() {
            return None;
        }
        let fields: serde_json::Value = serde_json::from_str(&format!("{body}}}")).ok()?;
        let prev = blake3::Hash::from_hex(fields.get("prev")?.as_str()?).ok()?;
        Some(Self { seq: fields.get("seq")?.as_u64()?, prev, hash, fields })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::quote;
    use proptest::prelude::*;

    /// A text that is said piece by piece, as most are.
    struct Pieces<'p>(&'p [String]);

    impl fmt::Display for Pieces<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|piece| f.write_str(piece))
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_back_as_it_was_said_up_to_its_bound(
            parts in prop::collection::vec("[ a~'\"\\\\\n\u{7f}\u{301}\u{202e}ä𝕊]{0,6}", 0..4),
            chars_max in 0usize..24,
        ) {
            let text = parts.concat();
            let mut line = String::new();
            quote(&mut line, &Pieces(&parts), chars_max);
            let mut said: String = text.chars().take(chars_max).collect();
            if text.chars().count() > chars_max {
                said.push('…');
            }
            prop_assert_eq!(serde_json::from_str::<String>(&line).expect("it is a JSON string"), said);
            let is_shown = |c: char| matches!(c, ' '..='~') || c.escape_debug().len() == 1;
            prop_assert!(line.chars().all(is_shown), "{line:?}");
        }
    }
}
