//! A derived message is made from the type that one variant carries.

use airssys_rt::Message;

#[derive(Message)]
struct NoEnum(u64);

#[derive(Message)]
enum Twice {
    One(u64),
    Other(u64),
}

#[derive(Message)]
enum Generic<T> {
    One(T),
}

#[derive(Message)]
enum Nothing {
    Named { n: u64 },
    Pair(u8, u8),
    End,
}

#[derive(Message)]
enum Misspelt {
    #[message(skipped)]
    One(u64),
}

fn main() {}
