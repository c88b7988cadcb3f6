//! Reading a log record by record, from its beginning or near its end, also while it is written.
//!
//! A reader needs no more memory than one record. It says where a line is no record and goes on behind it; whether the records
//! that it yields are all, and in their places, is for [`verify`](super::verify()) to say.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

use crate::access::Access;
use crate::fs::Root;

use super::chain::{RECORD_BYTES_MAX, Read};
use super::verify::{Broken, Flaw, Segment, segments};
use super::{AuditError, Seq};

/// One record, as it was written.
#[derive(Debug, Clone)]
pub struct Record {
    seq: Seq,
    fields: Value,
    line: String,
}

impl Record {
    /// Its number.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The time of day when it was written, in milliseconds since 1970. Clocks are set; numbers only go up.
    pub fn time_ms(&self) -> u64 {
        self.number("time_ms").unwrap_or_default()
    }

    /// What kind it is: `intent`, `denial`, `observed`, `outcome`, `denials`, `policy`, `alarm` or another.
    pub fn kind(&self) -> &str {
        self.text("kind").unwrap_or_default()
    }

    /// The text of one of its fields.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields[field].as_str()
    }

    /// The number of one of its fields.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields[field].as_u64()
    }

    /// The accesses of its operation, as they are shown; [`Access::of_record`] reads them.
    pub fn accesses(&self) -> impl Iterator<Item = &str> {
        self.fields["accesses"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// How many denials it stands for: one, or as many as were counted.
    pub fn denials(&self) -> u64 {
        match self.kind() {
            "denial" => 1,
            "denials" => self.number("count").unwrap_or_default(),
            _ => 0,
        }
    }

    /// The access that it says was denied.
    pub fn denied(&self) -> Option<Access> {
        Access::of_record(self.text("denied")?.strip_prefix('`')?.strip_suffix('`')?)
    }

    /// The whole line, without its end.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// All fields.
    pub fn fields(&self) -> &Value {
        &self.fields
    }
}

/// Yields the records of a log. After `None` it can be asked again, and yields what was written since; what becomes of the
/// segments meanwhile does not disturb it.
#[derive(Debug)]
pub struct Reader {
    folder: Root,
    open: Option<Open>,
    /// The segment that was read last begins here.
    first: Seq,
    /// Lines to leave out.
    skip: u64,
}

#[derive(Debug)]
struct Open {
    file: BufReader<cap_std::fs::File>,
    path: PathBuf,
    /// Number of the line that comes next, and where it begins.
    line: u64,
    at: u64,
    /// Within a line that is too long for a record, which was said.
    is_skipping: bool,
    /// There is a later one, so this one gets no longer.
    is_complete: bool,
}

impl Reader {
    /// From the oldest record.
    pub fn new(folder: Root) -> Self {
        Self { folder, open: None, first: 0, skip: 0 }
    }

    /// From the newest records, `len` of them.
    pub fn last(folder: Root, len: u64) -> Result<Self, AuditError> {
        let (mut lines, mut first) = (0, 0);
        let segments = segments(&folder)?;
        for (index, segment) in segments.iter().enumerate().rev() {
            first = match index {
                0 => 0,
                index => segments[index - 1].first,
            };
            lines += lines_of(&folder, segment)?;
            if lines >= len {
                break;
            }
        }
        Ok(Self { folder, open: None, first, skip: lines.saturating_sub(len) })
    }

    fn next_segment(&self) -> Result<Option<Segment>, AuditError> {
        Ok(segments(&self.folder)?.into_iter().find(|segment| segment.first > self.first))
    }

    /// Opens the segment after the one that was read.
    fn advance(&mut self) -> Result<bool, AuditError> {
        let Some(next) = self.next_segment()? else {
            return Ok(false);
        };
        let file = BufReader::new(self.folder.open_regular(next.name.as_ref())?);
        let path = self.folder.path_of(next.name.as_ref());
        self.open = Some(Open { file, path, line: 1, at: 0, is_skipping: false, is_complete: false });
        self.first = next.first;
        Ok(true)
    }

    /// `Ok(None)` if there is nothing more to read now.
    fn step(&mut self) -> Result<Option<Record>, AuditError> {
        let mut bytes = Vec::new();
        loop {
            let Some(open) = &mut self.open else {
                if !self.advance()? {
                    return Ok(None);
                }
                continue;
            };
            bytes.clear();
            let fail = |source| AuditError::Folder(crate::fs::FsError::of("read", open.path.clone(), source));
            let len = open
                .file
                .by_ref()
                .take(RECORD_BYTES_MAX as u64)
                .read_until(b'\n', &mut bytes)
                .map_err(fail)?;
            let broken = |flaw| Broken { file: open.path.clone(), line: open.line, seq: 0, flaw };
            if bytes.last() == Some(&b'\n') {
                let (was_skipping, broken) = (std::mem::take(&mut open.is_skipping), broken(Flaw::Changed));
                open.line += 1;
                open.at += len as u64;
                bytes.pop();
                if was_skipping {
                    continue;
                }
                if self.skip > 0 {
                    self.skip -= 1;
                    continue;
                }
                let line = String::from_utf8(std::mem::take(&mut bytes)).ok();
                let record = line.and_then(|line| Some((Read::parse(&line)?, line)));
                let (read, line) = record.ok_or(AuditError::Broken(broken))?;
                return Ok(Some(Record { seq: read.seq, fields: read.fields, line }));
            }
            if len >= RECORD_BYTES_MAX {
                open.at += len as u64;
                if !std::mem::replace(&mut open.is_skipping, true) {
                    return Err(AuditError::Broken(broken(Flaw::Changed)));
                }
                continue;
            }
            // The end, for now. A line without an end is being written, or was cut short and will be removed.
            let (at, torn) = (open.at, (len > 0).then(|| broken(Flaw::CutShort)));
            open.file.seek(SeekFrom::Start(at)).map_err(fail)?;
            let was_complete = open.is_complete;
            let is_complete = self.next_segment()?.is_some();
            if let Some(open) = &mut self.open {
                open.is_complete = is_complete;
            }
            match (was_complete, is_complete) {
                (true, true) => {}
                // It may have got longer between the look at its end and the look for a later one.
                (false, true) => continue,
                (_, false) => return Ok(None),
            }
            self.advance()?;
            if let Some(torn) = torn {
                return Err(AuditError::Broken(torn));
            }
        }
    }

    /// The line at the end that has none, when all else was read: being written, or cut short by a crash.
    pub fn torn(&mut self) -> Result<Option<Broken>, AuditError> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let fail = |source| AuditError::Folder(crate::fs::FsError::of("read", open.path.clone(), source));
        let is_torn = !open.file.fill_buf().map_err(fail)?.is_empty();
        open.file.seek(SeekFrom::Start(open.at)).map_err(fail)?;
        let torn = || Broken { file: open.path.clone(), line: open.line, seq: 0, flaw: Flaw::CutShort };
        Ok(is_torn.then(torn))
    }
}

impl Iterator for Reader {
    type Item = Result<Record, AuditError>;

    /// A line that is no record is an error of the kind [`AuditError::Broken`], and more may come.
    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn lines_of(folder: &Root, segment: &Segment) -> Result<u64, AuditError> {
    let mut file = BufReader::new(folder.open_regular(segment.name.as_ref())?);
    let mut lines = 0;
    loop {
        let buffer = file.fill_buf().map_err(|source| folder.fail("read", segment.name.as_ref(), source))?;
        if buffer.is_empty() {
            return Ok(lines);
        }
        lines += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        let len = buffer.len();
        file.consume(len);
    }
}
