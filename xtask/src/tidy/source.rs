//! A text file, seen as lines of which some are comments and some are tests.
//!
//! This is a reader of formatted code, not a parser: a test module ends at the line that closes its indentation, which
//! rustfmt guarantees, and a comment is a line that starts as one.

use super::tree::is_test_path;

/// One file, with what the rules ask about its lines.
pub(crate) struct Source<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    tests: Vec<bool>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let mut tests = vec![is_test_path(path); lines.len()];
        let mut index = 0;
        while index < lines.len() {
            let end = if is_test_attribute(lines[index]) { end_of_item(&lines, index) } else { index };
            if end > index {
                tests[index..=end].fill(true);
            }
            index = end + 1;
        }
        Self { path, lines, tests }
    }

    pub(crate) fn lines(&self) -> &[&'a str] {
        &self.lines
    }

    pub(crate) fn line(&self, index: usize) -> &'a str {
        self.lines[index]
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Whether the line is part of a test.
    pub(crate) fn is_test(&self, index: usize) -> bool {
        self.tests[index]
    }

    /// Whether the line is code of a crate's library or program, not of its tests.
    pub(crate) fn ships(&self, index: usize) -> bool {
        let is_crate = self.path.starts_with("crates/") && self.is_rust();
        is_crate && !self.is_test(index) && self.comment(index).is_none()
    }

    /// What the line says, if all of it is a comment.
    pub(crate) fn comment(&self, index: usize) -> Option<&'a str> {
        let line = self.line(index).trim_start();
        let (_, ending) = self.path.rsplit_once('.').unwrap_or_default();
        match ending {
            "rs" | "wit" | "js" | "mjs" | "ts" | "c" | "h" | "go" => {
                let text = line.strip_prefix("//").or_else(|| line.strip_prefix("/*"))?;
                Some(text.strip_prefix(['/', '!']).unwrap_or(text))
            }
            "wat" => line.strip_prefix(";;"),
            "md" | "json" | "html" | "css" | "wasm" => None,
            _ => line.strip_prefix('#').filter(|text| !text.starts_with('!')),
        }
    }
}

fn is_test_attribute(line: &str) -> bool {
    let Some(condition) = line.trim_start().strip_prefix("#[cfg(") else { return false };
    let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "test") && !condition.contains("not(test")
}

/// The last line of the item that an attribute at `start` belongs to.
fn end_of_item(lines: &[&str], start: usize) -> usize {
    let indentation = lines[start].len() - lines[start].trim_start().len();
    let closes = |line: &&str| {
        let Some(rest) = line.get(indentation..) else { return false };
        let is_at_our_depth = line[..indentation].trim().is_empty() && !rest.starts_with([' ', '#', '/']);
        is_at_our_depth && (rest.starts_with('}') || rest.ends_with('}') || rest.trim_end().ends_with(';'))
    };
    lines[start + 1..].iter().position(closes).map_or(start, |offset| start + 1 + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_module_ends_where_its_indentation_closes() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        let source = Source::new("crates/x/src/lib.rs", text);
        let tests: Vec<bool> = (0..7).map(|index| source.is_test(index)).collect();
        assert_eq!(tests, [false, true, true, true, true, true, false]);
    }

    #[test]
    fn a_test_module_in_its_own_file_takes_one_line() {
        let text = "#[cfg(test)]\nmod tests;\nfn c() {}\n";
        let source = Source::new("crates/x/src/lib.rs", text);
        assert!(source.is_test(1) && !source.is_test(2));
    }

    #[test]
    fn code_that_is_built_without_tests_is_not_a_test() {
        let source = Source::new("crates/x/src/lib.rs", "#[cfg(not(test))]\nfn a() {\n}\n");
        assert!(!source.is_test(1));
    }

    #[test]
    fn a_comment_depends_on_the_language() {
        assert_eq!(Source::new("a.rs", "    /// Text").comment(0), Some(" Text"));
        assert_eq!(Source::new("a.toml", "# Text").comment(0), Some(" Text"));
        assert_eq!(Source::new("a.md", "# Text").comment(0), None);
        assert_eq!(Source::new("a.rs", "let a = 1; // Text").comment(0), None);
    }
}
