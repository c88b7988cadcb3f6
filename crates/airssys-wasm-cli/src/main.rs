//! The `airssys` command.
fn main() {}
