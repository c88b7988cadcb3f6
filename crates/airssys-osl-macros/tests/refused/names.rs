//! An operation has a name, and what it does has one.

use airssys_osl::{Name, Operation};

#[derive(Operation)]
struct Nameless {
    #[access(own = "use")]
    name: Name,
}

#[derive(Operation)]
#[operation("mail.send")]
struct WithoutWord {
    #[access(own = "use")]
    name: Name,
}

#[derive(Operation)]
#[operation(name = "a b")]
struct Spaced {
    #[access(own = "../up")]
    name: Name,
}

#[derive(Operation)]
#[operation(name = "a", name = "b")]
struct Twice {
    #[access(own = "use")]
    name: Name,
}

fn main() {}
