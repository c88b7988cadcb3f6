//! What a block must be.

#![allow(unused_variables, reason = "the handlers do nothing")]

use airssys_rt::actor;

#[actor]
struct NoBlock;

struct WithTrait;

#[actor]
impl airssys_rt::Actor for WithTrait {
    #[tell]
    fn add(&mut self, n: u64) {}
}

struct Generic<T>(T);

#[actor]
impl<T: Send> Generic<T> {
    #[tell]
    fn add(&mut self, n: T) {}
}

trait Unnamed {}

struct Unmarked;

#[actor]
impl Unmarked {
    fn add(&mut self) {}
}

#[actor]
impl dyn Unnamed {
    #[tell]
    fn add(&mut self, n: u64) {}
}

fn main() {}
