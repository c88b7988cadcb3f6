//! Secrets that a program knows by the names they have: values of fields, options of programs, parameters and credentials
//! in addresses. The records show that they are there and not what they are.

use std::borrow::Cow;

use super::Layer;
use crate::fields::REDACTED;

/// Names whose values nobody is to read in the records of a gate.
///
/// A field of that name is hidden; of an argument or a longer text `--name=value`, `name: value` and `?name=value`, and the
/// argument after `--name`. Names are compared without regard to case. What stands before `@` in an address is hidden by any
/// redaction. What an access names is shown whatever it is called, arguments excepted.
#[derive(Debug, Clone)]
pub struct Redaction {
    names: Vec<String>,
}

impl Redaction {
    /// Hides what has one of these names.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names.into_iter().filter(|name| !name.is_empty());
        Self { names: names.map(str::to_ascii_lowercase).collect() }
    }

    fn hides(&self, name: &str) -> bool {
        self.names.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
    }

    /// The text with what is to be hidden replaced; `None` if there is nothing.
    fn mask(&self, text: &str) -> Option<String> {
        let mut masked = mask_credentials(text);
        for name in &self.names {
            let shown = masked.as_deref().unwrap_or(text);
            if let Some(hidden) = mask_named(shown, name) {
                masked = Some(hidden);
            }
        }
        masked
    }
}

/// All redactions among the layers of a gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redactions<'l>(pub(super) &'l [Layer]);

impl<'l> Redactions<'l> {
    fn all(self) -> impl Iterator<Item = &'l Redaction> {
        self.0.iter().filter_map(|layer| match layer {
            Layer::Redact(redaction) => Some(redaction),
            Layer::Log | Layer::Limit(_) | Layer::Quota(_) | Layer::Custom(_) => None,
        })
    }

    pub(crate) fn hide(self, name: &str) -> bool {
        self.all().any(|redaction| redaction.hides(name))
    }

    pub(crate) fn mask(self, text: &str) -> Cow<'_, str> {
        self.all().fold(Cow::Borrowed(text), |shown, redaction| match redaction.mask(&shown) {
            Some(masked) => Cow::Owned(masked),
            None => shown,
        })
    }

    /// What is shown instead of an argument that comes after `before`, if not itself.
    pub(crate) fn argument<'a>(self, before: Option<&str>, argument: &'a str) -> Option<Cow<'a, str>> {
        let option = before.and_then(|before| before.strip_prefix('-'));
        if option.is_some_and(|option| self.hide(option.trim_start_matches('-'))) {
            return Some(Cow::Borrowed(REDACTED));
        }
        // All of the value of an option, with the spaces in it: where it ends is where the argument does.
        let (name, sign) = match argument.find(['=', ':']) {
            Some(at) => (&argument[..at], Some(at)),
            None => (argument, None),
        };
        if let Some(at) = sign.filter(|at| argument[*at..].starts_with('='))
            && self.hide(name.trim_start_matches('-'))
        {
            return Some(Cow::Owned(format!("{}{REDACTED}", &argument[..=at])));
        }
        let mut shown = None;
        for redaction in self.all() {
            let text = shown.as_deref().unwrap_or(argument);
            if let Some(masked) = redaction.mask(text) {
                shown = Some(masked);
            }
        }
        shown.map(Cow::Owned)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.all().next().is_none()
    }
}

/// Hides what stands between `://` and the last `@` before the path begins.
fn mask_credentials(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut rest = text;
    let mut is_masked = false;
    while let Some((scheme, after)) = rest.split_once("://") {
        let end = after.find(|c: char| matches!(c, '/' | '?' | '#' | '"') || c.is_whitespace());
        let (authority, tail) = after.split_at(end.unwrap_or(after.len()));
        shown.push_str(scheme);
        shown.push_str("://");
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                is_masked = true;
                shown.extend([REDACTED, "@", host]);
            }
            None => shown.push_str(authority),
        }
        rest = tail;
    }
    shown.push_str(rest);
    is_masked.then_some(shown)
}

/// Hides the values that follow a name and `=` or `:`.
fn mask_named(text: &str, name: &str) -> Option<String> {
    // Of the same length, as only ASCII changes.
    let lower = text.to_ascii_lowercase();
    let mut shown = String::new();
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = lower[from..].find(name) {
        let (begin, end) = (from + found, from + found + name.len());
        from = end;
        let is_whole = !lower[..begin].chars().next_back().is_some_and(char::is_alphanumeric);
        // `"name": "value"` as well; the backslash is of a quote within quotes.
        let behind = text[end..].trim_start_matches(['\\', '"', '\'']).trim_start_matches([' ', '\t']);
        let sign = text.len() - behind.len();
        if !is_whole || !behind.starts_with(['=', ':']) {
            continue;
        }
        let is_header = behind.starts_with(':');
        let value = behind[1..].trim_start_matches([' ', '\t']);
        let spaces = behind.len() - 1 - value.len();
        // What is far behind an `=` is the next word.
        let (value, spaces) = match is_header || spaces == 0 || value.starts_with(['\\', '"', '\'']) {
            true => (value, spaces),
            false => (&behind[1..], 0),
        };
        // To the end of the quotes; of a header, of the line; to the next parameter, or the next word.
        let len = quoted_len(value).unwrap_or_else(|| {
            let ends = |c: char| match is_header {
                true => matches!(c, '\r' | '\n'),
                false => c == '&' || c.is_whitespace(),
            };
            value.find(ends).unwrap_or(value.len())
        });
        shown.push_str(&text[copied..=sign]);
        shown.push_str(if is_header { " " } else { "" });
        shown.push_str(REDACTED);
        copied = sign + 1 + spaces + len;
        from = copied;
    }
    (copied > 0).then(|| {
        shown.push_str(&text[copied..]);
        shown
    })
}

/// The length of a text in quotes at the beginning, with them: up to the same quote, with as many backslashes before it. All
/// that there is, if it does not come. `None` if no quote is there.
fn quoted_len(text: &str) -> Option<usize> {
    let slashes = text.bytes().take_while(|byte| *byte == b'\\').count();
    let quote = *text.as_bytes().get(slashes).filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate().skip(slashes + 1) {
        match byte {
            b'\\' => before += 1,
            byte if byte == quote && before == slashes => return Some(at + 1),
            _ => before = 0,
        }
    }
    Some(text.len())
}
