//! What is recorded of a field, and how much it moves, is said in one way.

use airssys_osl::{Name, Operation};

#[derive(Operation)]
#[operation(name = "hidden")]
struct Hidden {
    #[access(own = "use")]
    name: Name,
    #[audit(hide)]
    text: String,
    #[bytes(body)]
    body: Vec<u8>,
}

#[derive(Operation)]
#[operation(name = "twice")]
#[audit]
struct Twice {
    #[access(own = "use")]
    #[audit]
    #[audit(redact)]
    name: Name,
}

fn main() {}
