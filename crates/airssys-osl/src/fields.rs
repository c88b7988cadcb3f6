//! What a record says of an operation beside its accesses: a few named texts, of which some are not to be read.
//!
//! Whoever writes an operation names its fields and marks those that are secret; a [`Redaction`](crate::Redaction) of the
//! program hides more. Hidden is only what is said beside the accesses, and arguments of a program: what somebody wanted to
//! reach is always shown.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::access::Access;
use crate::gate::Operation;
use crate::pipeline::Redactions;

/// What stands where something is not to be read.
pub(crate) const REDACTED: &str = "<redacted>";

/// Fields of one operation; what is beyond is counted.
const FIELDS_MAX: usize = 16;
/// Characters of one field: it may come from whoever is watched.
const FIELD_CHARS_MAX: usize = 1024;
/// Characters of one field that are looked through for secrets.
const MASKED_CHARS_MAX: usize = 16 * 1024;

/// Takes the fields of an operation, for its record: 16 of them, of 1,024 characters each. Of a name that is said twice the
/// first value counts.
#[derive(Debug)]
pub struct Fields<'r> {
    redactions: Redactions<'r>,
    said: Vec<(&'static str, String)>,
    more: usize,
    batch_len: Option<usize>,
}

impl<'r> Fields<'r> {
    /// What is said of something that is no operation.
    pub(crate) fn none(redactions: Redactions<'r>) -> Self {
        Self { redactions, said: Vec::new(), more: 0, batch_len: None }
    }

    /// What an operation says of itself.
    pub(crate) fn of(operation: &impl Operation, redactions: Redactions<'r>) -> Self {
        let mut fields = Self::none(redactions);
        operation.fields(&mut fields);
        fields
    }

    /// A field that everybody who reads the log may see.
    pub fn show(&mut self, name: &'static str, value: &dyn fmt::Display) {
        if self.redactions.hide(name) {
            return self.redacted(name);
        }
        let is_masked = !self.redactions.is_empty();
        let room = if is_masked { MASKED_CHARS_MAX } else { FIELD_CHARS_MAX };
        let mut cut = Cut { text: String::new(), room };
        let mut is_cut = write!(cut, "{value}").is_err();
        let mut shown = cut.text;
        if is_masked {
            if is_cut {
                // What shows that the last word is a secret may lie behind its end.
                shown.truncate(shown.rfind(char::is_whitespace).unwrap_or(0));
            }
            shown = self.redactions.mask(&shown).into_owned();
        }
        if let Some((end, _)) = shown.char_indices().nth(FIELD_CHARS_MAX) {
            shown.truncate(end);
            is_cut = true;
        }
        if is_cut {
            shown.push('…');
        }
        self.push(name, shown);
    }

    /// A field that the operation has and nobody is to read.
    pub fn redacted(&mut self, name: &'static str) {
        self.push(name, REDACTED.to_owned());
    }

    fn push(&mut self, name: &'static str, value: String) {
        if self.said.iter().any(|(known, _)| *known == name) {
            return;
        }
        match self.said.len() < FIELDS_MAX {
            true => self.said.push((name, value)),
            false => self.more += 1,
        }
    }

    /// The fields in the order they were said.
    pub(crate) fn said(&self) -> &[(&'static str, String)] {
        &self.said
    }

    /// The operation is one of so many that are decided together.
    pub(crate) fn batch(&mut self, len: Option<usize>) {
        self.batch_len = len;
    }

    pub(crate) fn batch_len(&self) -> Option<usize> {
        self.batch_len
    }

    /// How many more there are.
    pub(crate) fn more(&self) -> usize {
        self.more
    }
}

/// A text that ends where its room does, so that what is shown costs no more than what is kept.
struct Cut {
    text: String,
    room: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match text.char_indices().nth(self.room) {
            Some((end, _)) => {
                self.text.push_str(&text[..end]);
                self.room = 0;
                Err(fmt::Error)
            }
            None => {
                self.text.push_str(text);
                self.room -= text.chars().count();
                Ok(())
            }
        }
    }
}

/// The accesses as a record shows them: secret arguments are hidden, everything else is as it is.
pub(crate) fn shown<'a>(
    operation: &impl Operation,
    accesses: &'a [Access],
    redactions: Redactions<'_>,
) -> Cow<'a, [Access]> {
    let mut shown = Cow::Borrowed(accesses);
    for (index, access) in accesses.iter().enumerate() {
        let Access::Run { args, .. } = access else { continue };
        let mut before = None;
        for (place, arg) in args.iter().enumerate() {
            let hidden = match operation.is_secret(access, place) {
                true => Some(Cow::Borrowed(REDACTED)),
                false => redactions.argument(before, arg),
            };
            if let Some(hidden) = hidden
                && let Access::Run { args, .. } = &mut shown.to_mut()[index]
            {
                args[place] = hidden.into();
            }
            before = Some(&**arg);
        }
    }
    shown
}
