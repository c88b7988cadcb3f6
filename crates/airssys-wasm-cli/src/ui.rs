//! The one place that prints: results to standard output, everything else to standard error.
//!
//! As JSON a command writes exactly one object to standard output, an envelope around data or an error. Text that came
//! from guests or files cannot steer the terminal: control characters are shown, not sent. Lines appear above a
//! progress bar while there is one.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::error::{CommandError, Kind};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// The printer. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Ui {
    format: Format,
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl Ui {
    pub(crate) fn new(format: Format) -> Self {
        Ui { format, bar: Arc::default() }
    }

    /// Whether a person watches standard error, so that a bar and colours make sense.
    pub(crate) fn draws(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// The result of a command that did what it was asked.
    pub(crate) fn done(
        &self,
        data: Value,
        text: impl FnOnce(&Value) -> String,
    ) -> Result<ExitCode, CommandError> {
        match self.format {
            Format::Text => {
                let text = text(&data);
                let text =
                    if io::stdout().is_terminal() { clean(&text) } else { Cow::Borrowed(text.as_str()) };
                print(text.trim_end_matches('\n'))?;
            }
            Format::Json => print(&json!({ "ok": true, "data": data }).to_string())?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// One line of a result that has no bound or no end, as it is. False if nobody reads any more.
    pub(crate) fn line(&self, text: &str) -> Result<bool, CommandError> {
        let text = if io::stdout().is_terminal() { clean(text) } else { Cow::Borrowed(text) };
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CommandError::of(Kind::Failed, "write to standard output", &error)),
        }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        match self.format {
            Format::Text => false,
            Format::Json => true,
        }
    }

    /// The failure of a command, and the exit code that says so.
    pub(crate) fn fail(&self, error: &CommandError) -> ExitCode {
        self.end_progress();
        match self.format {
            Format::Text => {
                self.note(&format!("error: {}", error.message));
                error.causes.iter().for_each(|cause| self.note(&format!("cause: {cause}")));
                error.hint.iter().for_each(|hint| self.note(&format!("hint: {hint}")));
            }
            Format::Json => {
                let mut envelope = Map::new();
                envelope.insert("ok".into(), false.into());
                envelope.insert("error".into(), json!(error));
                if let Some(data) = &error.data {
                    envelope.insert("data".into(), data.clone());
                }
                if let Err(error) = print(&Value::Object(envelope).to_string()) {
                    self.note(&format!("error: {}", error.message));
                    return Kind::Failed.into();
                }
            }
        }
        error.kind.into()
    }

    /// What a command found out before it fails, for people; as JSON it stands beside the error.
    pub(crate) fn lists(&self, text: &str) {
        match self.format {
            Format::Text => self.note(text),
            Format::Json => {}
        }
    }

    /// What clap has to say: help or a version to standard output, a usage error to standard error.
    pub(crate) fn clap(error: &clap::Error) -> ExitCode {
        match error.print() {
            Ok(()) => u8::try_from(error.exit_code()).unwrap_or(Kind::Usage.exit_code()).into(),
            // Nobody reads it any more, as with `airssys help | head`.
            Err(_) => ExitCode::SUCCESS,
        }
    }

    /// A line on standard error.
    pub(crate) fn note(&self, text: &str) {
        self.above_bar(|stderr| writeln!(stderr, "{}", clean(text)));
    }

    /// A line on standard error about something that went wrong and does not end the command.
    pub(crate) fn warn(&self, error: &CommandError) {
        self.note(&format!("warning: {}", error.message));
        error.causes.iter().for_each(|cause| self.note(&format!("cause: {cause}")));
    }

    /// A writer for the log, which is text of this program and comes escaped.
    pub(crate) fn log_writer(&self) -> LogWriter {
        LogWriter { ui: self.clone() }
    }

    /// Shows a progress bar at `position` of `total` bytes, or a spinner where the size is not known. Nothing off a
    /// terminal.
    pub(crate) fn progress(&self, position: u64, total: Option<u64>, message: String) {
        if self.draws() {
            let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
            let bar = bar.get_or_insert_with(|| new_bar(total));
            bar.set_position(position);
            bar.set_message(message);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end_progress(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn above_bar(&self, write: impl FnOnce(&mut io::StderrLock<'_>) -> io::Result<()>) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || write(&mut io::stderr().lock());
        let written = match &*bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        // Where standard error is closed there is nobody to tell.
        drop(written);
    }
}

fn new_bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{spinner} {bar:24} {percent:>3}%  {msg}",
        None => "{spinner} {elapsed}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Writes whole lines of the log past the bar.
pub(crate) struct LogWriter {
    ui: Ui,
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ui.above_bar(|stderr| stderr.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line on standard output. Whoever closed it early, as `head` does, has read enough.
fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::of(Kind::Failed, "write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Text in which nothing steers a terminal; line ends and tabs stay.
fn clean(text: &str) -> Cow<'_, str> {
    let stays = |character: char| matches!(character, '\n' | '\t') || !steers(character);
    match text.chars().all(stays) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(escape(text, stays)),
    }
}

/// Foreign text as part of one line, at most `chars_max` characters of it.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let mut cut: String = text.chars().take(chars_max).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    escape(cut.trim_end(), |character| !steers(character))
}

fn escape(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match stays(character) {
            true => escaped.push(character),
            false => escaped.extend(character.escape_default()),
        }
    }
    escaped
}

/// Control characters, and those that reorder what is shown.
fn steers(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A table without lines; columns of numbers are aligned to the right.
pub(crate) fn table(headers: &[String], rows: &[Vec<Value>]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(headers.iter().map(|header| one_line(header, CELL_CHARS_MAX)));
    for row in rows {
        table.add_row(row.iter().map(cell));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let number =
            |row: &Vec<Value>| row.get(index).is_none_or(|value| value.is_number() || value.is_null());
        column.set_padding((0, 2));
        if rows.iter().all(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The objects of a list as a table with their keys as columns. None if they are not all objects.
pub(crate) fn table_of_objects(list: &[Value]) -> Option<String> {
    let objects = list.iter().map(Value::as_object).collect::<Option<Vec<_>>>()?;
    let mut headers: Vec<String> = Vec::new();
    for key in objects.iter().flat_map(|object| object.keys()) {
        if headers.len() < COLUMNS_MAX && !headers.contains(key) {
            headers.push(key.clone());
        }
    }
    // What names the row comes first; objects have their keys in the order of the alphabet.
    headers.sort_by_key(|key| !objects.iter().any(|object| object.get(key).is_some_and(Value::is_string)));
    let row = |object: &&Map<String, Value>| {
        headers.iter().map(|key| object.get(key).cloned().unwrap_or(Value::Null)).collect()
    };
    let rows: Vec<Vec<Value>> = objects.iter().map(row).collect();
    (!headers.is_empty()).then(|| table(&headers, &rows))
}

/// A report's author chooses its keys and values.
const COLUMNS_MAX: usize = 16;
const CELL_CHARS_MAX: usize = 60;

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => one_line(text, CELL_CHARS_MAX),
        other => one_line(&other.to_string(), CELL_CHARS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_guest_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n\tc\u{202e}"), "a\\u{1b}[2Jb\n\tc\\u{202e}");
        assert_eq!(clean("plain ✓ text"), "plain ✓ text");
        assert_eq!(one_line("fine\nerror: forged", 100), "fine\\nerror: forged");
        assert_eq!(one_line("abcdef", 3), "abc…");
        assert_eq!(one_line("abc\n", 10), "abc");
    }

    #[test]
    fn a_list_of_objects_becomes_a_table_and_another_list_does_not() {
        let rows = [json!({"route": "/a", "count": 10}), json!({"route": "/long", "count": 7, "errors": 1})];
        let text = table_of_objects(&rows).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["route", "count", "errors"]);
        assert!(lines[2].starts_with("/long") && lines[2].ends_with("  1"), "{text}");
        assert_eq!(table_of_objects(&[json!(1)]), None);
        assert_eq!(table_of_objects(&[]), None);
    }
}
