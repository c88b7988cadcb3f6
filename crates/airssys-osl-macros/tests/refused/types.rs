//! A field of the wrong type is told which is the right one.

use airssys_osl::{FilePath, Operation};

#[derive(Operation)]
#[operation(name = "text")]
struct Text {
    #[access(read)]
    path: String,
}

struct Mute;

#[derive(Operation)]
#[operation(name = "mute")]
struct Shown {
    #[access(read)]
    path: FilePath,
    #[audit]
    mute: Mute,
}

fn main() {}
