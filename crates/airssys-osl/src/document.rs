//! Reading a TOML file that a person wrote: every value with its place, every mistake with the nearest right word.
//!
//! A [`Section`] knows which keys it was asked for, so the schema is the code that reads: what nobody asks for is an
//! unknown key. Problems are collected, not thrown, and [`read`] reports them together. A closed schema matters for
//! safety: a misspelt limit that is ignored is a limit that does not hold. Policies, manifests and application files are read so.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

mod problem;

use problem::nearest;
pub use problem::{DocumentError, Located, Position, Problem, quoted};

/// A file longer than this is refused unread: it is written by hand.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Reads `text` with `build`, which returns `None` only after a problem was noted.
///
/// A byte order mark and CRLF line ends are accepted. `file` names the text in errors.
pub fn read<T>(
    text: &str,
    file: &str,
    build: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Result<T, DocumentError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(text);
    let start = Position { line: 1, column: 1 };
    let refuse = |problem| DocumentError { file: file.to_owned(), problems: vec![problem], unlisted: 0 };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {TEXT_BYTES_MAX} are read", text.len());
        return Err(refuse(Problem::new(start, message)));
    }
    let table = DeTable::parse(text).map_err(|error| refuse(source.syntax(&error)))?;
    let mut root =
        Section { source: &source, table: table.get_ref(), at: start, title: Title::File, asked: Vec::new() };
    let built = build(&mut root);
    root.report_unknown();
    let problems = source.problems.into_inner();
    match (DocumentError::of(file, problems), built) {
        (Some(error), _) => Err(error),
        (None, Some(value)) => Ok(value),
        (None, None) => unreachable!("a reader that builds nothing has noted why"),
    }
}

/// One table of a file while it is read.
#[derive(Debug)]
pub struct Section<'s> {
    source: &'s Source<'s>,
    table: &'s DeTable<'s>,
    at: Position,
    title: Title,
    asked: Vec<&'static str>,
}

impl<'s> Section<'s> {
    /// Where the section begins.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Notes a problem.
    pub fn report(&self, problem: Problem) {
        self.source.problems.borrow_mut().push(problem);
    }

    /// Notes that `key` is missing, if it is. A key that looks misspelt is reported once, as that.
    pub fn require(&self, key: &'static str) {
        let misspelt = || self.keys().any(|(found, _)| nearest(found, [key]).is_some());
        if self.table.get(key).is_none() && !misspelt() {
            let message = match self.title {
                Title::File => format!("section [{key}] is missing"),
                Title::Section(_) => format!("key `{key}` is missing in {}", self.title),
            };
            self.report(Problem::new(self.at, message));
        }
    }

    /// Whether `key` is there, without asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Knows `key` without reading it: for what was reported otherwise.
    pub fn ask(&mut self, key: &'static str) {
        self.asked.push(key);
    }

    /// The text of `key`.
    pub fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let (at, value) = self.value(key)?;
        self.text_of(key, at, value)
    }

    /// The text of `key`, read by `parse`.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        let text = self.text(key)?;
        self.parse(key, text, &parse)
    }

    /// The texts of the list `key`, read by `parse`; at most `len_max`.
    pub fn parsed_list<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        len_max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Located<T>>> {
        let items = self.list(key, len_max)?;
        let read = |(at, value)| self.parse(key, self.text_of(key, at, value)?, &parse);
        all(items.into_iter().map(read))
    }

    /// The list `key` of texts or whole numbers, each as it is written; numbers are handed over in decimal.
    pub fn words_or_numbers<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        len_max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Located<T>>> {
        let items = self.list(key, len_max)?;
        let read = |(at, value): (Position, &DeValue<'s>)| {
            let text = match whole_number(value) {
                Some(number) => Located { value: number.to_string(), at },
                None => self.text_of(key, at, value)?,
            };
            self.parse(key, text, &parse)
        };
        all(items.into_iter().map(read))
    }

    /// The whole number of `key`, within `range`.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Located<u64>> {
        let (at, value) = self.value(key)?;
        match value {
            DeValue::Integer(_) => {
                self.within(key, at, whole_number(value), range, |number| number.to_string())
            }
            other => self.wrong_type(key, at, other, "a whole number"),
        }
    }

    /// The number of bytes of `key`, within `range`: a whole number, or a text like `"16MiB"`.
    pub fn bytes(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Located<u64>> {
        let (at, value) = self.value(key)?;
        let number = match value {
            DeValue::Integer(_) => whole_number(value),
            DeValue::String(text) => match bytes_of(text) {
                Some(number) => Some(i128::from(number)),
                None => {
                    let message = format!("`{key}` is {}, which is not a size", quoted(text));
                    let help = Some("write a whole number of bytes, or one with KiB, MiB or GiB".to_owned());
                    self.report(Problem { at, message, help });
                    return None;
                }
            },
            other => return self.wrong_type(key, at, other, "a size such as \"16MiB\""),
        };
        self.within(key, at, number, range, bytes_text)
    }

    /// The truth of `key`.
    pub fn boolean(&mut self, key: &'static str) -> Option<Located<bool>> {
        let (at, value) = self.value(key)?;
        match value {
            DeValue::Boolean(value) => Some(Located { value: *value, at }),
            other => self.wrong_type(key, at, other, "true or false"),
        }
    }

    /// The word of `key`, one of `words`.
    pub fn one_of<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.word(key, &text, words)
    }

    /// The word of `key`, one of `words`, or a number within `range`.
    pub fn word_or_integer<T: Clone>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        range: RangeInclusive<u64>,
        number: impl FnOnce(u64) -> T,
    ) -> Option<T> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Integer(_)) => Some(number(self.integer(key, range)?.value)),
            Some(_) => self.one_of(key, words),
            None => {
                self.asked.push(key);
                None
            }
        }
    }

    /// What `read` makes of the table `key`; its unknown keys are reported after it.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'s>) -> T) -> Option<T> {
        let (at, value) = self.value(key)?;
        match value {
            DeValue::Table(table) => Some(self.enter(key, "[", "]", at, table, read)),
            other => self.wrong_type(key, at, other, "a table"),
        }
    }

    /// What `read` makes of each table of the list `key`, written as `[[key]]`; at most `len_max`.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        len_max: usize,
        mut read: impl FnMut(&mut Section<'s>) -> T,
    ) -> Vec<T> {
        let Some((at, value)) = self.value(key) else { return Vec::new() };
        let DeValue::Array(_) = value else {
            let message = format!("`{key}` is {}, but there may be several", kind(value));
            self.report(Problem { at, message, help: Some(format!("write `[[{key}]]`")) });
            return Vec::new();
        };
        let items = self.items(key, at, value, len_max).unwrap_or_default();
        let mut built = Vec::with_capacity(items.len());
        for (at, value) in items {
            match value {
                DeValue::Table(table) => built.push(self.enter(key, "[[", "]]", at, table, &mut read)),
                other => {
                    self.wrong_type::<()>(key, at, other, "a table");
                }
            }
        }
        built
    }

    /// All keys of a section that chooses its own, with texts, whole numbers and truths as text; at most `len_max`.
    pub fn free_entries(&mut self, len_max: usize) -> Vec<(Located<String>, Located<String>)> {
        let mut entries = Vec::new();
        self.title.let_anything_pass();
        if self.table.len() > len_max {
            let message =
                format!("{} has {} entries; at most {len_max} are read", self.title, self.table.len());
            self.report(Problem::new(self.at, message));
            return entries;
        }
        for (key, value) in self.table {
            let name =
                Located { value: key.get_ref().to_string(), at: self.source.position(key.span().start) };
            let at = self.source.position(value.span().start);
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Boolean(truth) => truth.to_string(),
                integer @ DeValue::Integer(written) => match whole_number(integer) {
                    Some(number) => number.to_string(),
                    None => written.as_str().to_owned(),
                },
                other
                @ (DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
                    let expected = "a text, a whole number, true or false";
                    let message = format!("{} is {}, not {expected}", quoted(&name.value), kind(other));
                    self.report(Problem::new(at, message));
                    continue;
                }
            };
            entries.push((name, Located { value: text, at }));
        }
        entries.sort_by_key(|(key, _)| key.at);
        entries
    }

    fn value(&mut self, key: &'static str) -> Option<(Position, &'s DeValue<'s>)> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        Some((self.source.position(value.span().start), value.get_ref()))
    }

    fn list(&mut self, key: &'static str, len_max: usize) -> Option<Vec<(Position, &'s DeValue<'s>)>> {
        let (at, value) = self.value(key)?;
        self.items(key, at, value, len_max)
    }

    fn items(
        &self,
        key: &str,
        at: Position,
        value: &'s DeValue<'s>,
        len_max: usize,
    ) -> Option<Vec<(Position, &'s DeValue<'s>)>> {
        let DeValue::Array(array) = value else { return self.wrong_type(key, at, value, "a list") };
        if array.len() > len_max {
            let message = format!("`{key}` has {} entries; at most {len_max} are read", array.len());
            self.report(Problem::new(at, message));
            return None;
        }
        let place =
            |item: &'s Spanned<DeValue<'s>>| (self.source.position(item.span().start), item.get_ref());
        Some(array.iter().map(place).collect())
    }

    fn enter<T>(
        &self,
        key: &str,
        open: &str,
        close: &str,
        at: Position,
        table: &'s DeTable<'s>,
        read: impl FnOnce(&mut Section<'s>) -> T,
    ) -> T {
        let title = match &self.title {
            Title::File => format!("{open}{key}{close}"),
            Title::Section(outer) => format!("`{key}` of {}", outer.name),
        };
        let title = Title::Section(Named { name: title, closed: true });
        let mut section = Section { source: self.source, table, at, title, asked: Vec::new() };
        let built = read(&mut section);
        section.report_unknown();
        built
    }

    fn keys(&self) -> impl Iterator<Item = (&str, usize)> {
        self.table.keys().map(|key| (key.get_ref().as_ref(), key.span().start))
    }

    fn report_unknown(&self) {
        if let Title::Section(Named { closed: false, .. }) = self.title {
            return;
        }
        for (key, offset) in self.keys().filter(|(key, _)| !self.asked.contains(key)) {
            let message = match self.title {
                Title::File => format!("unknown section {}", quoted(key)),
                Title::Section(_) => format!("unknown key {} in {}", quoted(key), self.title),
            };
            let at = self.source.position(offset);
            self.report(Problem::suggesting(at, message, key, self.asked.iter().copied()));
        }
    }

    fn text_of(&self, key: &str, at: Position, value: &DeValue<'_>) -> Option<Located<String>> {
        match value {
            DeValue::String(text) => Some(Located { value: text.to_string(), at }),
            other => self.wrong_type(key, at, other, "a text"),
        }
    }

    fn parse<T, E: fmt::Display>(
        &self,
        key: &str,
        text: Located<String>,
        parse: &impl Fn(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        match parse(&text.value) {
            Ok(value) => Some(Located { value, at: text.at }),
            Err(error) => {
                let message = format!("`{key}` is {}: {error}", quoted(&text.value));
                self.report(Problem::new(text.at, message));
                None
            }
        }
    }

    fn word<T: Clone>(&self, key: &str, text: &Located<String>, words: &[(&str, T)]) -> Option<T> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(value.clone());
        }
        let valid = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let message = format!("`{key}` is {}, which is none of {valid}", quoted(&text.value));
        self.report(Problem::suggesting(text.at, message, &text.value, words.iter().map(|(word, _)| *word)));
        None
    }

    fn within(
        &self,
        key: &str,
        at: Position,
        number: Option<i128>,
        range: RangeInclusive<u64>,
        show: impl Fn(u64) -> String,
    ) -> Option<Located<u64>> {
        match number.and_then(|number| u64::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(value) => Some(Located { value, at }),
            None => {
                let found = number.map_or("too large to read".to_owned(), |number| number.to_string());
                let (least, most) = (show(*range.start()), show(*range.end()));
                let message = format!("`{key}` is {found}, not within {least} to {most}");
                self.report(Problem::new(at, message));
                None
            }
        }
    }

    fn wrong_type<T>(&self, key: &str, at: Position, found: &DeValue<'_>, expected: &str) -> Option<T> {
        self.report(Problem::new(at, format!("`{key}` is {}, not {expected}", kind(found))));
        None
    }
}

/// How a section is called in messages.
#[derive(Debug)]
enum Title {
    File,
    Section(Named),
}

#[derive(Debug)]
struct Named {
    name: String,
    closed: bool,
}

impl Title {
    fn let_anything_pass(&mut self) {
        match self {
            Title::File => {}
            Title::Section(named) => named.closed = false,
        }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Title::File => f.write_str("the file"),
            Title::Section(named) => f.write_str(&named.name),
        }
    }
}

/// The text, indexed so that a place costs a binary search however long the lines are.
#[derive(Debug)]
struct Source<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    /// Offsets of the bytes that begin no character.
    continuations: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Source<'t> {
    fn new(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(offset, _)| offset + 1);
        let continuation = |(offset, byte): (usize, u8)| (byte & 0xc0 == 0x80).then_some(offset);
        Source {
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            continuations: text.bytes().enumerate().filter_map(continuation).collect(),
            problems: RefCell::default(),
        }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = |offset| self.continuations.partition_point(|other| *other < offset);
        let column = offset - start - (before(offset) - before(start)) + 1;
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Position { line: count(line), column: count(column) }
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or_default();
        let at = self.position(span.start);
        // The parser's own words are fixed texts; the file's are quoted by us.
        match self.text.get(span).map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => Problem::new(at, format!("{} at {}", error.message(), quoted(text))),
            None => Problem::new(at, error.message()),
        }
    }
}

/// All of them, or none; the problems of each are noted before that is known.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    items.collect::<Vec<_>>().into_iter().collect()
}

fn whole_number(value: &DeValue<'_>) -> Option<i128> {
    let DeValue::Integer(integer) = value else { return None };
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A number of bytes in the largest unit that shows it exactly.
pub fn bytes_text(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}B"),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
