//! docs/security.md lists attacks by group and number, and says of each what stands against it; what holds has a test.
//!
//! A line of its tables is `| A1 | the attack | state | words |`. `holds` needs a test whose name begins with the row
//! (`a1_…`); `not applicable` and `not yet` need a reason in the words. A group has no gaps in its numbers, so that no attack
//! drops out of the list, and a test that is named after a row is one of a row that holds.

use super::Finding;
use super::tree::Tree;
use std::collections::BTreeMap;

const PAGE: &str = "docs/security.md";

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(PAGE) else {
        return vec![Finding::error(PAGE, "is missing", "list the attacks and what stands against each")];
    };
    let tests = tests(tree);
    let mut findings = Vec::new();
    let mut rows: BTreeMap<(char, u32), &str> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let Some(row) = Row::read(line) else { continue };
        let place = format!("{PAGE}:{}", index + 1);
        let problem = match row.state {
            "holds" if !tests.contains_key(&row.id) => Some("holds, and no test is named after it"),
            "holds" => None,
            "not applicable" | "not yet" if row.words.is_empty() => Some("has no reason for its state"),
            "not applicable" | "not yet" => None,
            _ => Some("has a state that is not `holds`, `not applicable` or `not yet`"),
        };
        let name = row.name();
        if let Some(problem) = problem {
            let remedy =
                format!("write a test `{}_…` of the real effect, or say what is true", name.to_lowercase());
            findings.push(Finding::error(place.clone(), format!("{name} {problem}"), remedy));
        }
        if rows.insert(row.id, row.state).is_some() {
            findings.push(Finding::error(place, format!("{name} stands twice"), "make one line of them"));
        }
    }
    for (group, number) in rows.keys() {
        if *number > 1 && !rows.contains_key(&(*group, number - 1)) {
            let problem = format!("{group}{} is left out", number - 1);
            findings.push(Finding::error(PAGE, problem, "say what stands against it, or why nothing has to"));
        }
    }
    for (id, place) in &tests {
        if rows.get(id).is_none_or(|state| *state != "holds") {
            let problem = format!("is named after {}{}, which {PAGE} does not say to hold", id.0, id.1);
            findings.push(Finding::error(place, problem, "correct the page, or the name"));
        }
    }
    findings
}

struct Row<'p> {
    id: (char, u32),
    state: &'p str,
    words: &'p str,
}

impl<'p> Row<'p> {
    fn read(line: &'p str) -> Option<Self> {
        let mut cells = line.trim().strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim);
        let name = cells.next()?;
        let group = name.chars().next().filter(char::is_ascii_uppercase)?;
        let id = (group, name[1..].parse().ok()?);
        let (_attack, state) = (cells.next()?, cells.next().unwrap_or_default());
        Some(Self { id, state, words: cells.next().unwrap_or_default() })
    }

    fn name(&self) -> String {
        format!("{}{}", self.id.0, self.id.1)
    }
}

/// The rows that functions of the crates are named after, each with one place.
fn tests(tree: &Tree) -> BTreeMap<(char, u32), String> {
    let mut tests = BTreeMap::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.starts_with("crates/") && path.ends_with(".rs"))
    {
        for (index, line) in text.lines().enumerate() {
            let Some((_, rest)) = line.trim_start().split_once("fn ").filter(|(before, _)| before.len() <= 6)
            else {
                continue;
            };
            let Some((row, _)) = rest.split_once('_') else { continue };
            let mut chars = row.chars();
            let Some(group) = chars.next().filter(char::is_ascii_lowercase) else { continue };
            if let Ok(number) = chars.as_str().parse() {
                tests
                    .entry((group.to_ascii_uppercase(), number))
                    .or_insert_with(|| format!("{path}:{}", index + 1));
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(page: &str, test: &str) -> Vec<String> {
        let tree = Tree::of(&[(PAGE, page), ("crates/a/tests/it/b.rs", test)]);
        findings(&tree).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn what_holds_has_a_test_and_what_does_not_has_a_reason() {
        let page = "| row | attack | state | |\n|---|---|---|---|\n| A1 | up | holds | |\n| A2 | down | not yet | no door |\n";
        assert_eq!(problems(page, "    async fn a1_up() {}\nfn about_a2() {}\n"), Vec::<String>::new());
        let page = "| A1 | up | holds | |\n| A2 | down | not applicable | |\n| A3 | in | fine | |";
        let expected = [
            "A1 holds, and no test is named after it",
            "A2 has no reason for its state",
            "A3 has a state that is not `holds`, `not applicable` or `not yet`",
        ];
        assert_eq!(problems(page, ""), expected);
    }

    #[test]
    fn no_row_is_left_out_and_no_test_is_of_a_row_that_does_not_hold() {
        let page = "| B1 | up | holds | |\n| B3 | down | not yet | no door |\n";
        let expected = ["B2 is left out", "is named after B3, which docs/security.md does not say to hold"];
        assert_eq!(problems(page, "fn b1_up() {}\nfn b3_down() {}\n"), expected);
    }
}
