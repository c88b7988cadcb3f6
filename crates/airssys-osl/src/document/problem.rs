//! Mistakes in a file that a person wrote, as values: where, what, and what was probably meant.
//!
//! Text of the file appears in a message only through [`quoted`], so that it can neither move the cursor of a terminal
//! nor fill it. The number of problems of one error is bounded.

use std::fmt;

/// Further problems are counted, not described.
const PROBLEMS_MAX: usize = 50;

/// Longer foreign text is cut in a message.
const QUOTED_CHARS_MAX: usize = 60;

/// A place in a text, counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character within the line.
    pub column: u32,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub at: Position,
}

impl<T> Located<T> {
    /// The value read as something else, at the same place.
    pub fn map<U>(self, read: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: read(self.value), at: self.at }
    }
}

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Position,
    /// What is wrong, with the offending text escaped and cut.
    pub message: String,
    /// What would be right, where that can be guessed.
    pub help: Option<String>,
}

impl Problem {
    /// A problem without a suggestion.
    pub fn new(at: Position, message: impl Into<String>) -> Self {
        Problem { at, message: message.into(), help: None }
    }

    /// A problem about `found`, suggesting the nearest of `valid`.
    pub fn suggesting<'v>(
        at: Position,
        message: impl Into<String>,
        found: &str,
        valid: impl IntoIterator<Item = &'v str>,
    ) -> Self {
        let help = nearest(found, valid).map(|word| format!("did you mean `{word}`?"));
        Problem { at, message: message.into(), help }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.at.line, self.at.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Why a file was refused: all that was found wrong with it, in the order of the text.
///
/// Displays as one line per problem: `airssys.toml:12:3: unknown key …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    /// The file as its reader named it.
    pub file: String,
    /// At least one; the first of them if there were very many.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub unlisted: usize,
}

impl DocumentError {
    /// The error of `problems`, if there are any.
    pub fn of(file: &str, mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| problem.at);
        let unlisted = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        match problems.is_empty() {
            true => None,
            false => Some(DocumentError { file: file.to_owned(), problems, unlisted }),
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{problem}", self.file)?;
        }
        match self.unlisted {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more problems", self.file),
        }
    }
}

impl std::error::Error for DocumentError {}

/// Foreign text for a message: in backticks, control and invisible characters escaped, cut.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("`");
    for character in text.chars().take(QUOTED_CHARS_MAX) {
        match character {
            '\'' | '"' => quoted.push(character),
            other => quoted.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted.push('`');
    quoted
}

/// The word of `valid` that `found` was probably meant to be.
pub(super) fn nearest<'v>(found: &str, valid: impl IntoIterator<Item = &'v str>) -> Option<&'v str> {
    // The distance is quadratic in the lengths, and the file chooses one of them.
    if found.len() > QUOTED_CHARS_MAX {
        return None;
    }
    let found = found.to_lowercase().replace('_', "-");
    let distance = |word: &'v str| (strsim::damerau_levenshtein(&found, &word.replace('_', "-")), word);
    let (distance, word) = valid.into_iter().map(distance).min()?;
    let near = distance <= 1 + word.len() / 4 && distance < word.len();
    near.then_some(word)
}
