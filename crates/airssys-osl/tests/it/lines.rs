//! Lines of an input, whatever the input looks like.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use airssys_osl::{Line, Lines, Root};

use crate::process::Other;

fn lines(text: &[u8], line_bytes_max: usize) -> (Lines, tempfile::TempDir) {
    let holder = tempfile::tempdir().unwrap();
    fs::write(holder.path().join("log"), text).unwrap();
    let root = Root::open(holder.path()).unwrap();
    (root.open_lines(Path::new("log"), line_bytes_max).unwrap(), holder)
}

fn check(text: &str, line_bytes_max: usize, expected: &[Result<&str, u64>]) {
    let (mut lines, _holder) = lines(text.as_bytes(), line_bytes_max);
    let mut found = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        found.push(match line {
            Line::Whole(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            Line::TooLong { bytes } => Err(bytes),
        });
    }
    let expected: Vec<Result<String, u64>> = expected.iter().map(|line| line.map(str::to_owned)).collect();
    assert_eq!(found, expected, "{text:?}");
    assert_eq!(lines.bytes_read(), text.len() as u64);
    assert_eq!(lines.bytes_total(), Some(text.len() as u64));
    assert_eq!(lines.next_line().unwrap(), None, "the end stays the end");
}

#[test]
fn every_line_is_given_once_without_its_end() {
    check("", 10, &[]);
    check("a", 10, &[Ok("a")]);
    check("a\n", 10, &[Ok("a")]);
    check("\n", 10, &[Ok("")]);
    check("a\n\nb", 10, &[Ok("a"), Ok(""), Ok("b")]);
    check("a\r\nb\r\n", 10, &[Ok("a"), Ok("b")]);
    check("a\rb\r\r\n", 10, &[Ok("a\rb\r")]);
    check("a\r", 10, &[Ok("a\r")]);
}

#[test]
fn a_line_at_the_bound_is_given_and_one_past_it_is_skipped_and_measured() {
    check("1234\n12345\n1\n", 4, &[Ok("1234"), Err(5), Ok("1")]);
    check("1234\r\n12345\r\n1\r\n", 4, &[Ok("1234"), Err(5), Ok("1")]);
    check("1\n12345", 4, &[Ok("1"), Err(5)]);
    check("1234\r", 4, &[Err(5)]);
    check("\nx\n", 0, &[Ok(""), Err(1)]);
}

#[test]
fn a_line_that_spans_many_reads_is_whole() {
    let long = "0123456789".repeat(20_000);
    check(
        &format!("{long}\nshort\n{long}\r\n{long}"),
        200_000,
        &[Ok(&long), Ok("short"), Ok(&long), Ok(&long)],
    );
    check(&format!("{long}\nshort\n"), 199_999, &[Err(200_000), Ok("short")]);
}

#[test]
fn a_carriage_return_at_the_end_of_a_read_belongs_to_its_line_end() {
    for len in 65_530..65_542 {
        let line = "x".repeat(len);
        check(&format!("{line}\r\nnext\n"), len, &[Ok(&line), Ok("next")]);
        check(&format!("{line}\r\nnext\n"), len - 1, &[Err(len as u64), Ok("next")]);
    }
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let (mut lines, _holder) = lines(b"\xff\0\x1b[2J\n", 10);
    assert_eq!(lines.next_line().unwrap(), Some(Line::Whole(b"\xff\0\x1b[2J".to_vec())));
}

#[test]
fn a_line_larger_than_memory_is_skipped() {
    let holder = tempfile::tempdir().unwrap();
    let path = holder.path().join("log");
    let mut file = fs::File::create(&path).unwrap();
    let long: u64 = 64 << 20;
    file.seek(SeekFrom::Start(long)).unwrap();
    file.write_all(b"\nshort\n").unwrap();
    // The other process may take 16 MiB more than it has at its start.
    let mut other = Other::start("long-line", &path, None);
    assert!(other.says(&format!("skipped {long};")));
    assert!(other.says("whole 5;"));
}
