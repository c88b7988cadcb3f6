//! Records of an audit log, shown to people and given to programs.
//!
//! A line that is no record is told of and passed over: whoever looks for something after an accident wants what is left.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use airssys_node::airssys_osl::Root;
use airssys_node::airssys_osl::audit::{AccessLike, AuditError, Export, Query, Reader, Record};
use clap::Args;
use serde_json::{Value, json};

use super::{flaw, log_error};
use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// How often a log that is followed is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// Records in one answer.
const RECORDS_MAX: u64 = 100_000;
/// Broken lines that are told of one by one.
const BROKEN_MAX: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The folder of the log [default: that of the node at the socket].
    folder: Option<PathBuf>,
    /// How many records.
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=RECORDS_MAX))]
    lines: u64,
    /// Goes on with what is written, until it is interrupted. As JSON each record is an object of its own, without an envelope.
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// The folder of the log [default: that of the node at the socket].
    folder: Option<PathBuf>,
    /// Whose they are.
    #[arg(long)]
    subject: Option<String>,
    /// Their kind: intent, denial, denials, observed, outcome, policy, alarm or another.
    #[arg(long)]
    kind: Option<String>,
    /// The operation, such as `fs.read`.
    #[arg(long)]
    operation: Option<String>,
    /// A part of the rule that decided.
    #[arg(long)]
    rule: Option<String>,
    /// A part of an access, or with `*` and `?` what one is like as a whole.
    #[arg(long)]
    access: Option<String>,
    /// Not before: milliseconds since 1970, or like `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// From this number on.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Up to this number.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// At most so many, the oldest.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX))]
    limit: u64,
}

/// A log that is read, with what was broken in it.
pub(crate) struct Reading<'u> {
    ui: &'u Ui,
    reader: Reader,
    broken: Vec<Value>,
    broken_len: u64,
}

impl<'u> Reading<'u> {
    pub(crate) fn of(ui: &'u Ui, folder: &Path) -> Result<Self, CommandError> {
        Ok(Self::by(ui, Reader::new(Root::open(folder)?)))
    }

    fn by(ui: &'u Ui, reader: Reader) -> Self {
        Self { ui, reader, broken: Vec::new(), broken_len: 0 }
    }

    /// The next record; `None` if there is none now.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, CommandError> {
        while let Some(record) = self.reader.next() {
            match record {
                Ok(record) => return Ok(Some(record)),
                Err(AuditError::Broken(broken)) => self.tell(flaw(&broken)),
                Err(error) => return Err(log_error(error)),
            }
        }
        Ok(None)
    }

    /// Looks for a last line without an end, and returns what was broken.
    pub(crate) fn end(mut self) -> Result<(Vec<Value>, u64), CommandError> {
        if let Some(torn) = self.reader.torn().map_err(log_error)? {
            self.tell(flaw(&torn));
        }
        Ok((self.broken, self.broken_len))
    }

    fn tell(&mut self, flaw: Value) {
        self.broken_len += 1;
        if self.broken.len() < BROKEN_MAX {
            let (file, line) = (flaw["file"].as_str().unwrap_or_default(), &flaw["line"]);
            self.ui.note(&format!("warning: {file}, line {line} is no whole record"));
            self.broken.push(flaw);
        }
    }
}

impl Tail {
    pub(crate) fn run(self, ui: &Ui, of_node: impl FnOnce() -> PathBuf) -> Result<ExitCode, CommandError> {
        let reader =
            Reader::last(Root::open(&self.folder.unwrap_or_else(of_node))?, self.lines).map_err(log_error)?;
        let mut reading = Reading::by(ui, reader);
        if !self.follow {
            return answer(ui, reading, u64::MAX, &Query::default());
        }
        loop {
            while let Some(record) = reading.next()? {
                let line = if ui.is_json() { record.line().to_owned() } else { shown(record.fields()) };
                if !ui.line(&line)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Search {
    pub(crate) fn run(self, ui: &Ui, of_node: impl FnOnce() -> PathBuf) -> Result<ExitCode, CommandError> {
        let usage = |error: &dyn std::error::Error| CommandError::of(Kind::Usage, "read the access", error);
        let access =
            self.access.as_deref().map(AccessLike::parse).transpose().map_err(|error| usage(&error))?;
        let time = |text: Option<&str>, otherwise| match text {
            Some(text) => time_ms(text).ok_or_else(|| {
                CommandError::new(Kind::Usage, format!("`{text}` is no time"))
                    .hint("write milliseconds since 1970, or a time like 2026-01-31T12:00:00Z")
            }),
            None => Ok(otherwise),
        };
        let query = Query {
            subject: self.subject,
            kind: self.kind,
            operation: self.operation,
            rule: self.rule,
            time_ms: Some(time(self.since.as_deref(), 0)?..=time(self.until.as_deref(), u64::MAX)?),
            seq: Some(self.from.unwrap_or(0)..=self.to.unwrap_or(u64::MAX)),
            access,
        };
        let folder = self.folder.unwrap_or_else(of_node);
        answer(ui, Reading::of(ui, &folder)?, self.limit, &query)
    }
}

/// All events of a log. What is broken is told of, and makes the exit code say that something is missing.
pub(super) fn export(ui: &Ui, folder: &Path) -> Result<ExitCode, CommandError> {
    let mut reading = Reading::of(ui, folder)?;
    let mut export = Export::default();
    while let Some(record) = reading.next()? {
        for event in export.events(&record) {
            if !ui.line(&event.to_string())? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    let (_, broken_len) = reading.end()?;
    match broken_len {
        0 => Ok(ExitCode::SUCCESS),
        lines => Err(CommandError::new(Kind::Invalid, format!("{lines} lines of the log are no records"))
            .hint("`airssys audit verify` says what is wrong")),
    }
}

fn answer(ui: &Ui, mut reading: Reading<'_>, limit: u64, query: &Query) -> Result<ExitCode, CommandError> {
    let (mut records, mut is_all) = (Vec::new(), true);
    while let Some(record) = reading.next()? {
        if query.matches(&record) {
            if records.len() as u64 >= limit {
                is_all = false;
                break;
            }
            records.push(record.fields().clone());
        }
    }
    let (broken, broken_len) = reading.end()?;
    let data = json!({ "records": records, "all": is_all, "broken": broken, "broken_len": broken_len });
    ui.done(data, |data| {
        let mut lines: Vec<String> = data["records"].as_array().into_iter().flatten().map(shown).collect();
        if !is_all {
            lines.push("more were found; --limit shows more, --from goes on".to_owned());
        }
        lines.join("\n")
    })
}

/// A record as one line for people.
fn shown(record: &Value) -> String {
    let mut line = format!(
        "{} {} {}",
        record["seq"],
        utc(record["time_ms"].as_u64().unwrap_or_default()),
        bare(&record["kind"])
    );
    let fields = record.as_object().into_iter().flatten();
    const SHOWN: [&str; 8] = ["seq", "time_ms", "mono_ms", "run", "prev", "hash", "kind", "signature"];
    for (key, value) in fields.filter(|(key, _)| !SHOWN.contains(&key.as_str())) {
        line.push_str(&format!(" {key}={value}"));
    }
    line
}

fn bare(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A time as people read it, in UTC.
fn utc(time_ms: u64) -> String {
    let (days, left) = (time_ms / 86_400_000, time_ms % 86_400_000);
    let (mut year, mut day) = (1970, days);
    while day >= days_of(year) {
        day -= days_of(year);
        year += 1;
    }
    let mut month = 0;
    while day >= MONTHS[month] + u64::from(month == 1 && days_of(year) == 366) {
        day -= MONTHS[month] + u64::from(month == 1 && days_of(year) == 366);
        month += 1;
    }
    let (seconds, ms) = (left / 1000, left % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", month + 1, day + 1)
}

const MONTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn days_of(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    365 + u64::from(is_leap)
}

/// Milliseconds since 1970, from a number of them or a time in UTC.
fn time_ms(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = text.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let is_possible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    is_possible.then_some(())?;
    let years: u64 = (1970..year).map(days_of).sum();
    let month = usize::try_from(month).ok()?;
    let months = MONTHS[..month - 1].iter().sum::<u64>() + u64::from(month > 2 && days_of(year) == 366);
    let days = years + months + day - 1;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::{time_ms, utc};

    #[test]
    fn times_are_read_as_they_are_shown() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_000, "2000-02-28T23:59:59.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
        ] {
            assert_eq!(utc(ms), text);
            assert_eq!(time_ms(&text.replace(".000", "")), Some(ms));
        }
        assert_eq!(time_ms("17"), Some(17));
        for bad in
            ["", "x", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T24:00:00Z", "1969-01-01T00:00:00Z"]
        {
            assert_eq!(time_ms(bad), None, "{bad}");
        }
    }
}
