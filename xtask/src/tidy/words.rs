//! Words that must not stand in a tracked file, each with what to write instead.
//!
//! The strings looked for are assembled here, so that this file does not find itself. Lock files that cargo and npm
//! write are exempt; there is no other exemption, and a new one needs a reason in [`EXEMPT`].

use super::Finding;
use super::source::Source;
use super::tree::Tree;

/// Ends of paths that are not read, each with the reason.
const EXEMPT: &[(&str, &str)] = &[
    ("Cargo.lock", "cargo writes the registry's name"),
    ("package-lock.json", "npm writes the registry's name"),
    ("LICENSE-APACHE", "a legal text"),
    ("LICENSE-MIT", "a legal text"),
];

struct Word {
    problem: &'static str,
    remedy: &'static str,
    /// Whether the line with this index breaks the rule.
    stands: fn(&Source<'_>, usize) -> bool,
}

const WORDS: &[Word] = &[
    Word {
        problem: "names a package registry's host",
        remedy: "say `the registry`; tools know their own host",
        stands: |source, index| REGISTRIES.iter().any(|host| source.line(index).contains(host)),
    },
    Word {
        problem: "names a path of one machine",
        remedy: "use a path from the root of the repository, or a temporary folder",
        stands: |source, index| names_a_machine_path(source.line(index)),
    },
    Word {
        problem: "holds a stub",
        remedy: "write it, or return an error that says what is missing",
        stands: |source, index| {
            source.is_rust() && STUBS.iter().any(|stub| source.line(index).contains(stub))
        },
    },
    Word {
        problem: "unwraps outside tests",
        remedy: "return an error, or `expect` with the invariant that makes it impossible",
        stands: |source, index| source.ships(index) && source.line(index).contains(concat!(".unwrap", "()")),
    },
    Word {
        problem: "throws away the result of an effect",
        remedy: "handle it, or count the loss in one named place",
        stands: |source, index| source.is_rust() && throws_away_an_effect(source, index),
    },
    Word {
        problem: "holds an emoji",
        remedy: "say it in words",
        stands: |source, index| source.line(index).chars().any(is_emoji),
    },
    Word {
        problem: "draws a ruler in a comment",
        remedy: "delete it; if the file needs sections, it needs to be two files",
        stands: |source, index| source.comment(index).is_some_and(is_ruler),
    },
    Word {
        problem: "switches a test or an example off",
        remedy: "make it run, or delete it (`compile_fail` and `text` are fine)",
        stands: |source, index| switches_off(source, index),
    },
    Word {
        problem: "marks unfinished work without an issue",
        remedy: "finish it, or write TODO(#123): with the number of an issue",
        stands: |source, index| marks_unfinished_work(source, index),
    },
    Word {
        problem: "names a phase or a task of some plan",
        remedy: "say what the code does and why; plans are not in the repository",
        stands: |source, index| names_a_plan(source.line(index)),
    },
];

const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("static", ".crates"),
    concat!("index", ".crates"),
    concat!("pypi", ".org"),
    concat!("registry", ".npmjs"),
    concat!("deb", ".debian.org"),
];

const STUBS: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !EXEMPT.iter().any(|(end, _)| path.ends_with(end))) {
        let source = Source::new(path, text);
        for index in 0..source.lines().len() {
            for word in WORDS.iter().filter(|word| (word.stands)(&source, index)) {
                findings.push(Finding::error(format!("{path}:{}", index + 1), word.problem, word.remedy));
            }
        }
    }
    findings
}

fn names_a_machine_path(line: &str) -> bool {
    let starts = [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/")];
    starts.iter().any(|start| {
        line.match_indices(start).any(|(at, _)| {
            // `$DIR/…` and `docs/…` go on from something else; only an absolute path names a machine.
            let continues = line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}>)$*".contains(c));
            let names_something =
                line[at + start.len()..].starts_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
            !continues && (names_something || !start.ends_with("home/"))
        })
    })
}

fn throws_away_an_effect(source: &Source<'_>, index: usize) -> bool {
    let Some((_, start)) = source.line(index).split_once(concat!("let _", " = ")) else { return false };
    let mut statement = start.to_owned();
    for line in &source.lines()[index + 1..] {
        if statement.contains(';') {
            break;
        }
        statement.push_str(line);
    }
    let statement = statement.split(';').next().unwrap_or_default();
    let effects = ["send", "tell", "publish", "append", "commit", "write"];
    let called = |(at, mark): (usize, &str)| {
        let before = &statement[..at];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |end| end + 1);
        let is_call = mark == "(" || statement[at..].starts_with("!(");
        is_call && before[start..].split('_').any(|part| effects.contains(&part))
    };
    statement.match_indices(['(', '!']).any(called)
}

fn is_emoji(c: char) -> bool {
    match c {
        // Check and cross are plain signs in a terminal.
        '\u{2713}' | '\u{2717}' => false,
        '\u{231a}' | '\u{231b}' | '\u{23e9}'..='\u{23f3}' | '\u{2600}'..='\u{27bf}' => true,
        '\u{2b50}' | '\u{2b55}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}' => true,
        _ => false,
    }
}

fn is_ruler(comment: &str) -> bool {
    const SIGNS: &str = "=-_~*#/\u{2500}\u{2501}\u{2550}";
    const LENGTH_MIN: usize = 4;
    let body = comment.trim();
    // A table row separates its head by dashes.
    if body.starts_with('|') {
        return false;
    }
    let run = |mut chars: &mut dyn Iterator<Item = char>| {
        let first = chars.next().filter(|&c| SIGNS.contains(c));
        first.is_some_and(|first| 1 + (&mut chars).take_while(|&c| c == first).count() >= LENGTH_MIN)
    };
    run(&mut body.chars()) || run(&mut body.chars().rev())
}

fn switches_off(source: &Source<'_>, index: usize) -> bool {
    let line = source.line(index);
    let is_ignored_test = source.is_rust() && line.trim_start().starts_with(concat!("#[", "ignore"));
    let text = if source.is_rust() { source.comment(index) } else { Some(line) };
    let fence = text.and_then(|text| text.trim_start().strip_prefix("```"));
    let reads_fences = source.is_rust() || source.is_markdown();
    let is_dead_example = fence.is_some_and(|tags| {
        tags.split(',').any(|tag| ["ignore", concat!("no", "_run")].contains(&tag.trim()))
    });
    is_ignored_test || reads_fences && is_dead_example
}

fn marks_unfinished_work(source: &Source<'_>, index: usize) -> bool {
    let line = source.line(index);
    let in_comment = source.comment(index).is_some() || line.contains("// ");
    let without_issue = |(at, mark): (usize, &str)| !line[at + mark.len()..].starts_with("(#");
    line.contains(concat!("FIX", "ME"))
        || in_comment && line.match_indices(concat!("TO", "DO")).any(without_issue)
}

fn names_a_plan(line: &str) -> bool {
    let line = line.to_lowercase();
    let number_after = |(at, word): (usize, &str)| {
        let is_whole_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        is_whole_word && line[at + word.len()..].starts_with(|c: char| c.is_ascii_digit())
    };
    line.match_indices(concat!("phase", " ")).any(number_after) || line.contains(concat!("task", " #"))
}

#[cfg(test)]
mod tests;
