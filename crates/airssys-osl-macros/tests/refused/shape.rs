//! An operation is a struct with named fields that owns what it holds.

use airssys_osl::{Name, Operation};

#[derive(Operation)]
#[operation(name = "one")]
enum Choice {
    One,
}

#[derive(Operation)]
#[operation(name = "pair")]
struct Pair(Name, Name);

#[derive(Operation)]
#[operation(name = "borrowed")]
struct Borrowed<'n> {
    #[access(own = "use")]
    name: Name,
    #[audit]
    text: &'n str,
}

#[derive(Operation)]
#[operation(name = "silent")]
struct Silent {
    #[audit]
    text: String,
}

fn main() {}
