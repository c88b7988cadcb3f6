//! An access is one of those that policies know, and stands where it belongs.

use airssys_osl::{FilePath, Host, Name, Operation, Port};

#[derive(Operation)]
#[operation(name = "misspelt")]
struct Misspelt {
    #[access(reed)]
    path: FilePath,
}

#[derive(Operation)]
#[operation(name = "portless")]
struct Portless {
    #[access(connect)]
    host: Host,
}

#[derive(Operation)]
#[operation(name = "elsewhere")]
struct Elsewhere {
    #[access(connect, port = prot)]
    host: Host,
    port: Port,
}

#[derive(Operation)]
#[operation(name = "misplaced")]
#[access(read)]
struct Misplaced {
    #[access(clock)]
    name: Name,
}

#[derive(Operation)]
#[operation(name = "empty")]
struct Empty {
    #[access()]
    name: Name,
}

fn main() {}
