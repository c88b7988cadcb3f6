//! Reading a whole log and finding the first record that is not as it was written.

use std::fmt;
use std::io::BufRead as _;
use std::path::PathBuf;

use crate::fs::{FsError, Root};

use super::chain::{Head, RECORD_BYTES_MAX, Read};
use super::sign::PublicKey;
use super::{AuditError, Seq};

/// Segments of one log.
const SEGMENTS_MAX: usize = 100_000;
/// How far the two clocks of a record may drift apart from one record to the next.
const CLOCK_STEP_MS: i128 = 1_000;
/// Ending of the segments' names, which are the number of their first record in 20 digits.
pub(super) const ENDING: &str = ".jsonl";

/// The first bad record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The segment it is in.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u64,
    /// Which record should be there.
    pub seq: Seq,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// It is not as it was written.
    Changed,
    /// It is another record: one before it is missing, was added or moved.
    OutOfPlace,
    /// It follows another record than the one before it.
    Unchained,
    /// It has no end.
    CutShort,
    /// The log ends before the record that was known to be there, or has another in its place.
    Missing,
    /// It is a checkpoint, and somebody else's or one of something else.
    Forged,
    /// No checkpoint follows it, though one should by now.
    Unsigned,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flaw = match self.flaw {
            Flaw::Changed => "is not as it was written",
            Flaw::OutOfPlace => "is missing here: records were removed, added or moved",
            Flaw::Unchained => "does not follow from the one before",
            Flaw::CutShort => "has no end",
            Flaw::Missing => "was written and is not here",
            Flaw::Forged => "is a checkpoint that the key did not make here",
            Flaw::Unsigned => "has no checkpoint after it, and should have",
        };
        write!(f, "record {} {flaw} ({:?}, line {})", self.seq, self.file, self.line)
    }
}

impl std::error::Error for Broken {}

/// A log that is whole, as far as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Its oldest record; more than 1 if old segments were removed.
    pub first: Seq,
    /// Its newest record.
    pub head: Head,
    /// The newest record that a checkpoint of the key vouches for, and with it all before; not the checkpoint itself, of which
    /// only the signature is the key's. None without a key.
    pub signed: Option<Seq>,
    /// How often the time of day went another way than the clock that only goes forward, by a second or more: somebody set it.
    pub clock_steps: u64,
}

/// Reads all segments of the log in a folder. With `known`, a head that was kept elsewhere, also what is missing at the end
/// or was written anew is found.
pub fn verify(folder: &Root, known: Option<Head>) -> Result<Sound, AuditError> {
    Reading::new(known, None).through(folder)
}

/// As [`verify`], and every checkpoint has to be this key's. Whoever rewrites what is before the newest checkpoint is found. What
/// is behind it, and a log cut off right behind an older one, shows only beside a head: keep the one that this returns.
pub fn verify_signed(folder: &Root, known: Option<Head>, key: &PublicKey) -> Result<Sound, AuditError> {
    Reading::new(known, Some(*key)).through(folder)
}

/// What is found out while a log is read.
struct Reading {
    known: Option<Head>,
    has_known: bool,
    key: Option<PublicKey>,
    /// The newest checkpoint, and how many records may come behind it.
    signed: Option<(Head, u64)>,
    /// The run that the latest record is of, and its time of day less the time since it began.
    clock: Option<(String, i128)>,
    clock_steps: u64,
}

impl Reading {
    fn new(known: Option<Head>, key: Option<PublicKey>) -> Self {
        let has_known = known.is_none_or(|known| known.seq == 0);
        Self { known, has_known, key, signed: None, clock: None, clock_steps: 0 }
    }

    fn through(mut self, folder: &Root) -> Result<Sound, AuditError> {
        let segments = segments(folder)?;
        let mut tail = Tail { head: Head::none(), first: 1 };
        for (index, segment) in segments.iter().enumerate() {
            segment.follows(folder, index == 0, &tail)?;
            let cut =
                read(folder, segment, index == 0, &mut tail, |before, record| self.meet(before, record))?;
            if let Some(cut) = cut {
                return Err(AuditError::Broken(cut.broken));
            }
        }
        let at_end = |seq, flaw| {
            let file = folder.path_of(segments.last().map_or("".as_ref(), |segment| segment.name.as_ref()));
            Err(AuditError::Broken(Broken { file, line: 0, seq, flaw }))
        };
        if let Some(known) = self.known.filter(|_| !self.has_known) {
            return at_end(known.seq, Flaw::Missing);
        }
        let unsigned = match (self.key, self.signed) {
            (None, _) => None,
            (Some(_), None) => Some(tail.first),
            (Some(_), Some((signed, every))) => {
                (tail.head.seq - signed.seq > every).then_some(signed.seq + every + 1)
            }
        };
        if let Some(seq) = unsigned {
            return at_end(seq, Flaw::Unsigned);
        }
        // Whoever holds no key can still write another checkpoint around the same signature.
        let signed = self.signed.map(|(head, _)| head.seq - 1);
        Ok(Sound { first: tail.first, head: tail.head, signed, clock_steps: self.clock_steps })
    }

    fn meet(&mut self, before: Option<&Head>, record: &Read) -> Option<Flaw> {
        let head = Head { seq: record.seq, hash: record.hash };
        self.has_known |= self.known == Some(head);
        self.watch_clock(&record.fields);
        if record.fields["kind"] != "checkpoint" {
            return None;
        }
        let key = self.key.as_ref()?;
        let before = before.copied().unwrap_or(Head { seq: record.seq - 1, hash: record.prev });
        match key.checks(&before, &record.fields) {
            Some(every) => {
                self.signed = Some((head, every));
                None
            }
            None => Some(Flaw::Forged),
        }
    }

    fn watch_clock(&mut self, fields: &serde_json::Value) {
        let number = |key: &str| fields[key].as_u64().map(i128::from);
        let (Some(run), Some(time), Some(mono)) =
            (fields["run"].as_str(), number("time_ms"), number("mono_ms"))
        else {
            return;
        };
        let apart = time - mono;
        match &mut self.clock {
            Some((known, was_apart)) if known == run => {
                self.clock_steps += u64::from((apart - *was_apart).abs() >= CLOCK_STEP_MS);
                *was_apart = apart;
            }
            _ => self.clock = Some((run.to_owned(), apart)),
        }
    }
}

/// One file of a log.
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) first: Seq,
}

impl Segment {
    pub(super) fn beginning_with(first: Seq) -> Self {
        Self { name: format!("{first:020}{ENDING}"), first }
    }

    /// It begins where the one before ends. The first may begin anywhere.
    pub(super) fn follows(&self, folder: &Root, is_first: bool, tail: &Tail) -> Result<(), AuditError> {
        let expected = tail.head.seq + 1;
        if is_first || self.first == expected {
            return Ok(());
        }
        let file = folder.path_of(self.name.as_ref());
        Err(AuditError::Broken(Broken { file, line: 1, seq: expected, flaw: Flaw::OutOfPlace }))
    }
}

/// Where a log ends while it is read.
pub(super) struct Tail {
    pub(super) head: Head,
    pub(super) first: Seq,
}

/// A last line without an end, as a crash leaves it.
pub(super) struct Cut {
    pub(super) broken: Broken,
    /// Length of the segment without it.
    pub(super) sound_bytes: u64,
    pub(super) cut_bytes: u64,
}

/// The segments in order.
pub(super) fn segments(folder: &Root) -> Result<Vec<Segment>, FsError> {
    let names = folder.list(".".as_ref(), SEGMENTS_MAX)?;
    let of = |name: &std::ffi::OsString| {
        let name = name.to_str()?;
        let first = name.strip_suffix(ENDING).filter(|digits| digits.len() == 20)?.parse().ok()?;
        // No log is that long, so one past the newest record is always a number.
        (1..1 << 62).contains(&first).then_some(())?;
        Some(Segment { name: name.to_owned(), first })
    };
    Ok(names.iter().filter_map(of).collect())
}

/// Reads one segment on from `tail`. The first one read may begin anywhere.
pub(super) fn read(
    folder: &Root,
    segment: &Segment,
    is_first: bool,
    tail: &mut Tail,
    mut each: impl FnMut(Option<&Head>, &Read) -> Option<Flaw>,
) -> Result<Option<Cut>, AuditError> {
    let path = folder.path_of(segment.name.as_ref());
    let fail = |source| folder.fail("read", segment.name.as_ref(), source);
    let mut file = std::io::BufReader::new(folder.open_regular(segment.name.as_ref())?);
    if is_first {
        tail.first = segment.first;
        tail.head.seq = segment.first.saturating_sub(1);
    }
    let (mut bytes, mut line, mut begins_anywhere) = (0, 0, is_first && segment.first > 1);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let len = std::io::Read::take(&mut file, RECORD_BYTES_MAX as u64)
            .read_until(b'\n', &mut buffer)
            .map_err(fail)?;
        if len == 0 {
            return Ok(None);
        }
        line += 1;
        let expected = tail.head.seq + 1;
        let broken = |flaw| Broken { file: path.clone(), line, seq: expected, flaw };
        let Some(text) = buffer.strip_suffix(b"\n") else {
            return match unended(&mut file).map_err(fail)? {
                Some(more) => Ok(Some(Cut {
                    broken: broken(Flaw::CutShort),
                    sound_bytes: bytes,
                    cut_bytes: len as u64 + more,
                })),
                None => Err(AuditError::Broken(broken(Flaw::Changed))),
            };
        };
        let record = std::str::from_utf8(text).ok().and_then(Read::parse);
        let record = record.ok_or_else(|| AuditError::Broken(broken(Flaw::Changed)))?;
        if record.seq != expected {
            return Err(AuditError::Broken(broken(Flaw::OutOfPlace)));
        }
        if record.prev != tail.head.hash && !begins_anywhere {
            return Err(AuditError::Broken(broken(Flaw::Unchained)));
        }
        let before = (!begins_anywhere).then_some(&tail.head);
        if let Some(flaw) = each(before, &record) {
            return Err(AuditError::Broken(broken(flaw)));
        }
        begins_anywhere = false;
        tail.head = Head { seq: record.seq, hash: record.hash };
        bytes += len as u64;
    }
}

/// How many bytes are left, if no line ends among them: a machine that lost its power may leave many.
fn unended(file: &mut impl std::io::BufRead) -> std::io::Result<Option<u64>> {
    let mut left = 0;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(Some(left));
        }
        if buffer.contains(&b'\n') {
            return Ok(None);
        }
        let len = buffer.len();
        left += len as u64;
        file.consume(len);
    }
}
