//! Patterns over components and topics: what a capability is about.
//!
//! Both are matched part by part, so `org/a` never covers `org/ab` and `alert` never covers `alerts`. `covers` answers
//! whether one pattern permits all that another does: a grant must be covered by a request, and a subscription by a grant.

use std::fmt;
use std::sync::Arc;

use super::name::ComponentName;

/// Which components: `name` or `namespace/name`; `*` stands for one whole part. Without a namespace the pattern is
/// about the asking component's own application. Every instance of a name is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetPattern {
    namespace: Option<Part>,
    name: Part,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPattern {
    /// Not a pattern over components.
    #[error("a target is `name`, `namespace/name` or either with `*` for a whole part")]
    Target,
    /// Not a pattern over topics.
    #[error(
        "a topic pattern is 1 to 16 words of a-z, A-Z, 0-9, `-` and `_`, joined by dots, at most 255 bytes; \
         `*` stands for one word and a final `#` for any rest"
    )]
    TopicPattern,
    /// Not a topic.
    #[error("a topic is 1 to 16 words of a-z, A-Z, 0-9, `-` and `_`, joined by dots, at most 255 bytes")]
    Topic,
}

impl TargetPattern {
    /// Checks a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(Part::of_name(namespace)?), name),
            None => (None, text),
        };
        Ok(TargetPattern { namespace, name: Part::of_name(name)? })
    }

    /// Whether the pattern, held by a component of application `own`, is about `namespace/name`.
    pub fn matches(&self, own: &str, namespace: &str, name: &str) -> bool {
        let in_namespace = match &self.namespace {
            None => own == namespace,
            Some(part) => part.matches(namespace),
        };
        in_namespace && self.name.matches(name)
    }

    /// Whether every component that `narrower` is about is one that this pattern is about, both held in `own`.
    pub fn covers(&self, own: &str, narrower: &TargetPattern) -> bool {
        let in_namespace = match (&self.namespace, &narrower.namespace) {
            (None, None) => true,
            (None, Some(theirs)) => theirs.is(own),
            (Some(ours), None) => ours.matches(own),
            (Some(ours), Some(theirs)) => ours.covers(theirs),
        };
        in_namespace && self.name.covers(&narrower.name)
    }

    /// The one name in application `own` that the pattern is about, if it is about one name there.
    pub fn exact_name(&self, own: &str) -> Option<&str> {
        let here = self.namespace.as_ref().is_none_or(|part| part.is(own));
        match &self.name {
            Part::Exactly(name) if here => Some(name),
            Part::Exactly(_) | Part::Any => None,
        }
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// Which topics: words joined by dots; `*` stands for one word and a final `#` for any number of further words,
/// none included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicPattern {
    words: Vec<Part>,
    /// Whether the pattern ends with `#`.
    any_rest: bool,
}

impl TopicPattern {
    /// Most words of a topic or a pattern.
    pub const WORDS_MAX: usize = 16;
    /// Longest topic or pattern in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let (fixed, any_rest) = match text.strip_suffix('#') {
            Some("") => return Ok(TopicPattern { words: Vec::new(), any_rest: true }),
            Some(fixed) => (fixed.strip_suffix('.').ok_or(InvalidPattern::TopicPattern)?, true),
            None => (text, false),
        };
        let part = |word: &str| match word {
            "*" => Some(Part::Any),
            word => is_word(word).then(|| Part::Exactly(word.into())),
        };
        let words: Option<Vec<Part>> = fixed.split('.').take(Self::WORDS_MAX + 1).map(part).collect();
        match words {
            Some(words) if words.len() <= Self::WORDS_MAX && text.len() <= Self::BYTES_MAX => {
                Ok(TopicPattern { words, any_rest })
            }
            Some(_) | None => Err(InvalidPattern::TopicPattern),
        }
    }

    /// Whether the pattern is about `topic`. A text that is no topic is matched by nothing.
    pub fn matches(&self, topic: &str) -> bool {
        // Walked beside the words, so that a publish allocates nothing.
        let mut rest = topic.split('.');
        let prefix = self.words.iter().all(|part| rest.next().is_some_and(|word| part.matches(word)));
        prefix && (self.any_rest || rest.next().is_none()) && is_topic(topic)
    }

    /// Whether every topic that `narrower` is about is one that this pattern is about.
    pub fn covers(&self, narrower: &TopicPattern) -> bool {
        let long_enough = self.words.len() <= narrower.words.len();
        let same_end = self.any_rest || (!narrower.any_rest && self.words.len() == narrower.words.len());
        let each = |(ours, theirs): (&Part, &Part)| ours.covers(theirs);
        long_enough && same_end && self.words.iter().zip(&narrower.words).all(each)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            let separator = if index == 0 { "" } else { "." };
            write!(f, "{separator}{word}")?;
        }
        match (self.any_rest, self.words.is_empty()) {
            (false, _) => Ok(()),
            (true, true) => f.write_str("#"),
            (true, false) => f.write_str(".#"),
        }
    }
}

/// A topic: words joined by dots, without wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks a topic.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        match is_topic(text) {
            true => Ok(Topic(text.into())),
            false => Err(InvalidPattern::Topic),
        }
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Any,
    Exactly(Arc<str>),
}

impl Part {
    fn of_name(text: &str) -> Result<Self, InvalidPattern> {
        match text {
            "*" => Ok(Part::Any),
            name => match ComponentName::parse(name) {
                Ok(name) => Ok(Part::Exactly(name.as_str().into())),
                Err(_) => Err(InvalidPattern::Target),
            },
        }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Part::Any => false,
            Part::Exactly(own) => **own == *text,
        }
    }

    fn matches(&self, text: &str) -> bool {
        matches!(self, Part::Any) || self.is(text)
    }

    fn covers(&self, narrower: &Part) -> bool {
        match narrower {
            Part::Any => matches!(self, Part::Any),
            Part::Exactly(text) => self.matches(text),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Any => f.write_str("*"),
            Part::Exactly(text) => f.write_str(text),
        }
    }
}

fn is_topic(text: &str) -> bool {
    text.len() <= TopicPattern::BYTES_MAX
        && text.split('.').all(is_word)
        && text.split('.').count() <= TopicPattern::WORDS_MAX
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
