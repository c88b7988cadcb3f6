//! Patterns over parts: `*` within one part, `**` for any number of them, `?` for one character, `\` before a literal one.
//!
//! Matching goes part by part and never crosses a slash by accident. Its time is bounded by the length of the pattern times
//! that of the text, both of which are bounded when they are read.

use std::fmt;

use crate::access::Escaped;

/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// Most parts of a pattern.
const PARTS_MAX: usize = 64;

/// A pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    /// `**`: no part, or any number of them.
    Any,
    Literal(Box<str>),
    Glob(Box<[Token]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Token {
    Char(char),
    One,
    Many,
}

/// Whether `*`, `?` and `**` match names that begin with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    Matched,
    /// Only where the pattern has the dot itself.
    Named,
}

/// What follows the literal beginning of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It stands for one path.
    Nothing,
    /// `**` alone: the folder and all below.
    Everything,
    /// Anything else.
    Some,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It has no character.
    #[error("a pattern is not empty; the folder itself is `.`")]
    Empty,
    /// It is too long.
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes and {PARTS_MAX} parts")]
    TooLong,
    /// It begins at the root of the file system, or has `.`, `..` or nothing between slashes.
    #[error("a pattern is relative, and no part of it is empty, `.` or `..`")]
    Part,
    /// `**` beside other characters.
    #[error("`**` stands alone between slashes")]
    DoubleStar,
    /// A character that other languages of patterns know and this one does not.
    #[error(
        "{found:?} means nothing in a pattern; write one pattern for each alternative, or `\\{found}` for the character"
    )]
    Foreign {
        /// The character.
        found: char,
    },
    /// It ends within an escape.
    #[error("a pattern does not end with `\\`")]
    Escape,
}

impl Pattern {
    /// Reads a pattern. `.` alone is the root itself.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let parts: Vec<Part> = match text {
            "." => Vec::new(),
            _ => text.split('/').map(Part::parse).collect::<Result<_, _>>()?,
        };
        if parts.len() > PARTS_MAX {
            return Err(PatternError::TooLong);
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The same and everything below what it matches: who may not have a folder may not have what is in it.
    pub(super) fn with_everything_below(self) -> Self {
        if self.parts.last() == Some(&Part::Any) {
            return self;
        }
        let parts = self.parts.into_iter().chain([Part::Any]).collect();
        Self { parts, ..self }
    }

    /// The part that every text it matches begins with, if there is one.
    pub(super) fn first_part(&self) -> Option<&str> {
        match self.parts.first() {
            Some(Part::Literal(first)) => Some(first),
            Some(Part::Any | Part::Glob(_)) | None => None,
        }
    }

    /// The parts before the first that stands for more than itself, and what comes behind them.
    pub(crate) fn literal_beginning(&self) -> (Vec<&str>, Behind) {
        let beginning: Vec<&str> = self
            .parts
            .iter()
            .map_while(|part| if let Part::Literal(text) = part { Some(&**text) } else { None })
            .collect();
        let behind = match &self.parts[beginning.len()..] {
            [] => Behind::Nothing,
            rest if rest.iter().all(|part| *part == Part::Any) => Behind::Everything,
            _ => Behind::Some,
        };
        (beginning, behind)
    }

    /// Whether it matches a folder by `**` at its end, and so all that is below, but for hidden names.
    pub(crate) fn covers_all_below(&self, folder: &str) -> bool {
        self.parts.last() == Some(&Part::Any) && self.matches(folder, Hidden::Matched)
    }

    /// Whether it matches a folder or anything that could ever be below.
    pub(crate) fn reaches_into(&self, folder: &str) -> bool {
        self.states_at(folder) != 0
    }

    /// The names below a folder on which all that it matches below goes through, if there is more to come after each.
    pub(crate) fn ways_below(&self, folder: &str) -> Option<Vec<&str>> {
        let at = self.states_at(folder);
        let is_there = |index: &usize| at & 1 << index != 0;
        let way = |index: usize| match self.parts.get(index) {
            Some(Part::Literal(name)) if index + 1 < self.parts.len() => Some(&**name),
            Some(Part::Literal(_) | Part::Any | Part::Glob(_)) | None => None,
        };
        (0..=self.parts.len()).filter(is_there).map(way).collect()
    }

    /// A bit for each part that may be the next to match below a folder, and one for the end.
    fn states_at(&self, folder: &str) -> u128 {
        let past_any = |mut at: u128| {
            for (index, part) in self.parts.iter().enumerate() {
                if *part == Part::Any && at & 1 << index != 0 {
                    at |= 1 << (index + 1);
                }
            }
            at
        };
        let mut at = past_any(1);
        for text in folder.split('/').filter(|text| !text.is_empty()) {
            let step = |next: u128, (index, part): (usize, &Part)| match part {
                _ if at & 1 << index == 0 => next,
                Part::Any => next | 1 << index,
                part if part.matches(text, Hidden::Matched) => next | 1 << (index + 1),
                Part::Literal(_) | Part::Glob(_) => next,
            };
            at = past_any(self.parts.iter().enumerate().fold(0, step));
        }
        at
    }

    /// Whether it matches a text of parts between slashes; the empty text has no part.
    pub(super) fn matches(&self, text: &str, hidden: Hidden) -> bool {
        matches_parts(&self.parts, (!text.is_empty()).then_some(text), hidden)
    }

    /// Whether it matches whatever there is.
    pub(super) fn is_broad(&self) -> bool {
        !self.parts.is_empty()
            && self.parts.iter().all(|part| match part {
                Part::Any => true,
                Part::Glob(tokens) => is_free(tokens),
                Part::Literal(_) => false,
            })
    }
}

/// No character is given, and any number of them may come.
fn is_free(tokens: &[Token]) -> bool {
    tokens.contains(&Token::Many) && tokens.iter().all(|token| !matches!(token, Token::Char(_)))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.text).fmt(f)
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "**" => return Ok(Self::Any),
            "" | "." | ".." => return Err(PatternError::Part),
            _ => {}
        }
        let tokens = tokens(text)?;
        let literal: Option<String> = tokens
            .iter()
            .map(|token| match token {
                Token::Char(c) => Some(*c),
                Token::One | Token::Many => None,
            })
            .collect();
        Ok(match literal {
            // An escaped text cannot bring back what was refused.
            Some(text) if matches!(&*text, "." | "..") => return Err(PatternError::Part),
            Some(text) => Self::Literal(text.into()),
            None => Self::Glob(tokens.into()),
        })
    }

    fn matches(&self, part: &str, hidden: Hidden) -> bool {
        match self {
            Self::Any => hidden == Hidden::Matched || !part.starts_with('.'),
            Self::Literal(text) => **text == *part,
            Self::Glob(tokens) => {
                let names_the_dot = tokens.first() == Some(&Token::Char('.'));
                (hidden == Hidden::Matched || names_the_dot || !part.starts_with('.'))
                    && matches_tokens(tokens, part)
            }
        }
    }
}

/// `text` is what is left of the parts; `None` when none is.
fn matches_parts(mut pattern: &[Part], mut text: Option<&str>, hidden: Hidden) -> bool {
    // Where the latest `**` may take one part more: only the latest needs to be tried again.
    let mut again: Option<(&[Part], &str)> = None;
    loop {
        match pattern.split_first() {
            Some((Part::Any, rest)) => {
                if let Some(text) = text {
                    again = Some((pattern, text));
                }
                pattern = rest;
                continue;
            }
            Some((part, rest)) if let Some(left) = text => {
                let (first, behind) = split(left);
                if part.matches(first, hidden) {
                    (pattern, text) = (rest, behind);
                    continue;
                }
            }
            None if text.is_none() => return true,
            Some(_) | None => {}
        }
        let Some((at, left)) = again.take() else {
            return false;
        };
        let (taken, behind) = split(left);
        if !Part::Any.matches(taken, hidden) {
            return false;
        }
        (pattern, text) = (at, behind);
        if behind.is_none() {
            pattern = &at[1..];
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)))
}

/// A pattern of one word, in which a slash is a character like others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Word {
    text: Box<str>,
    tokens: Box<[Token]>,
}

impl Word {
    /// Reads a pattern. It may be empty, and then matches the empty word.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        Ok(Self { text: text.into(), tokens: tokens(text)?.into() })
    }

    /// Whether it matches a word that is no option of a program: what begins with `-` is matched only where the pattern does.
    pub(super) fn matches_argument(&self, word: &str) -> bool {
        (self.tokens.first() == Some(&Token::Char('-')) || !word.starts_with('-')) && self.matches(word)
    }

    pub(crate) fn matches(&self, word: &str) -> bool {
        matches_tokens(&self.tokens, word)
    }

    /// Whether it matches every word.
    pub(super) fn is_broad(&self) -> bool {
        is_free(&self.tokens)
    }

    /// Whether it stands for more than one word.
    pub(super) fn is_open(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::One | Token::Many))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.text).fmt(f)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, PatternError> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '\\' => Token::Char(chars.next().ok_or(PatternError::Escape)?),
            '*' if tokens.last() == Some(&Token::Many) => return Err(PatternError::DoubleStar),
            '*' => Token::Many,
            '?' => Token::One,
            '[' | ']' | '{' | '}' | '\0' => return Err(PatternError::Foreign { found: c }),
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// Greedy, with one place to go back to: the latest `*`.
fn matches_tokens(tokens: &[Token], text: &str) -> bool {
    let (mut at, mut left) = (0, text.chars());
    let mut again: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let mut next = left.clone();
        match (tokens.get(at), next.next()) {
            (Some(Token::Many), _) => {
                again = Some((at, left.clone()));
                at += 1;
                continue;
            }
            (Some(Token::One), Some(_)) => {
                (at, left) = (at + 1, next);
                continue;
            }
            (Some(Token::Char(wanted)), Some(found)) if *wanted == found => {
                (at, left) = (at + 1, next);
                continue;
            }
            (None, None) => return true,
            (Some(Token::One | Token::Char(_)) | None, _) => {}
        }
        let Some((many, mut skipped)) = again.take() else {
            return false;
        };
        if skipped.next().is_none() {
            return false;
        }
        (at, left) = (many, skipped);
    }
}
