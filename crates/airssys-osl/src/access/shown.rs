//! Reading back what an access looks like in a record, where characters that cannot be seen are escaped.

use std::sync::Arc;

use crate::fields::REDACTED;

use super::{Access, FilePath, FileVerb, Name, RelPath, UnixVerb};

impl Access {
    /// The access that is shown as this text, as it stands in a record. `None` if none is: whoever wrote it had something else
    /// in mind, or something was taken out of it.
    pub fn of_record(text: &str) -> Option<Self> {
        let access = read(text)?;
        (access.to_string() == text).then_some(access)
    }
}

fn read(text: &str) -> Option<Access> {
    let (word, rest) = text.split_once(' ')?;
    let path = || {
        let (root, path) = rest.split_once(':')?;
        let path = RelPath::parse(&plain(path)?).ok()?;
        Some(FilePath { root: Name::parse(root).ok()?, path })
    };
    if let Some(verb) = FileVerb::of_word(word) {
        return Some(Access::File { verb, path: path()? });
    }
    if let Some(verb) = UnixVerb::of_word(word) {
        return Some(Access::Unix { verb, path: path()? });
    }
    if word != "run" {
        return Access::parse(text).ok();
    }
    // A quote within a word is escaped, so this is where the arguments begin.
    let (program, mut left) = match rest.find(" \"") {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let mut args = Vec::new();
    while !left.is_empty() {
        let quoted = left.strip_prefix(" \"")?;
        let mut is_escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        args.push(Arc::from(plain(&quoted[..end])?));
        left = &quoted[end + 1..];
    }
    // What was hidden cannot be told from what is shown, and is not what was wanted.
    let is_hidden = args.iter().any(|arg: &Arc<str>| arg.contains(REDACTED));
    (!is_hidden).then_some(())?;
    Some(Access::Run { program: plain(program)?.into(), args })
}

/// What was escaped to this.
fn plain(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::Access;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_record_shows_is_the_access_that_was_recorded(
            path in "([a'\"\\\\ \u{301}\n\u{202e}ä*?]{1,5}/){0,2}[a'\"\\\\ \u{301}\n\u{7f}]{1,5}",
            args in prop::collection::vec("[a \"'\\\\\n\u{301}\u{202e}-]{0,5}", 0..4),
        ) {
            for verb in ["read", "unix-connect", "unix-listen"] {
                let file = Access::parse(&format!("{verb} d:{path}")).expect("it is a path");
                prop_assert_eq!(Access::of_record(&file.to_string()), Some(file));
            }
            let args = args.into_iter().map(std::sync::Arc::from).collect();
            let run = Access::Run { program: "/bin/a \"b".into(), args };
            prop_assert_eq!(Access::of_record(&run.to_string()), Some(run));
        }
    }
}
