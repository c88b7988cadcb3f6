//! What may stand in the brackets.

#![allow(unused_variables, reason = "the handlers do nothing")]

use airssys_rt::actor;

struct Unknown;

#[actor(visibility = pub)]
impl Unknown {
    #[tell]
    fn add(&mut self, n: u64) {}
}

struct Twice;

#[actor(message = One, message = Other)]
impl Twice {
    #[tell]
    fn add(&mut self, n: u64) {}
}

struct NoName;

#[actor("Name")]
impl NoName {
    #[tell]
    fn add(&mut self, n: u64) {}
}

fn main() {}
