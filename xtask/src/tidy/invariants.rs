//! docs/architecture.md states invariants; each names the checks that hold it, and each check is named by one.
//!
//! A line that starts with `**Architecture Invariant:**` ends with a tag such as `[tidy: import-directions]`, which may
//! list several checks with commas. An invariant that nobody checks is a wish; a check that no invariant names is a
//! rule that no newcomer can find.

use super::Finding;
use super::tree::Tree;

const PAGE: &str = "docs/architecture.md";
const MARK: &str = "**Architecture Invariant:**";

pub(crate) fn findings(tree: &Tree, checks: &[&str]) -> Vec<Finding> {
    let Some(text) = tree.text(PAGE) else {
        return vec![Finding::error(PAGE, "is missing", "write the code map and its invariants there")];
    };
    let mut findings = Vec::new();
    let mut named = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(MARK)) {
        let place = format!("{PAGE}:{}", index + 1);
        let Some(tags) = tags(line) else {
            findings.push(Finding::error(
                place,
                "is an invariant that names no check",
                "end the line with [tidy: NAME], or write it as a plain sentence",
            ));
            continue;
        };
        for tag in tags {
            if checks.contains(&tag) {
                named.push(tag);
            } else {
                let remedy = format!("the checks are {}", checks.join(", "));
                findings.push(Finding::error(
                    place.clone(),
                    format!("names `{tag}`, which is no check"),
                    remedy,
                ));
            }
        }
    }
    for check in checks.iter().filter(|check| !named.contains(check)) {
        findings.push(Finding::error(
            PAGE,
            format!("no invariant names the check `{check}`"),
            format!(
                "state what `{check}` holds in a line that starts with {MARK} and ends with [tidy: {check}]"
            ),
        ));
    }
    findings
}

fn tags(line: &str) -> Option<Vec<&str>> {
    let (_, tag) = line.trim_end().strip_suffix(']')?.rsplit_once("[tidy:")?;
    Some(tag.split(',').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(page: &str, checks: &[&str]) -> Vec<String> {
        findings(&Tree::of(&[(PAGE, page)]), checks).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn a_page_that_names_every_check_passes() {
        let page = format!(
            "# Map\n{MARK} imports go down. [tidy: imports]\n\n{MARK} small, one copy. [tidy: sizes, one-wit]\n"
        );
        assert_eq!(problems(&page, &["imports", "sizes", "one-wit"]), Vec::<String>::new());
    }

    #[test]
    fn a_wish_a_wrong_name_and_an_unnamed_check_are_found() {
        let page = format!("{MARK} imports go down.\n{MARK} files are small. [tidy: size]\n");
        let expected = [
            "is an invariant that names no check",
            "names `size`, which is no check",
            "no invariant names the check `sizes`",
        ];
        assert_eq!(problems(&page, &["sizes"]), expected);
    }

    #[test]
    fn a_missing_page_is_found() {
        assert_eq!(findings(&Tree::of(&[]), &[]).len(), 1);
    }
}
