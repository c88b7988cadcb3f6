//! The checks and chores of this repository.
fn main() {}
