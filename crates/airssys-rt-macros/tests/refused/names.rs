//! Names of handlers are names of variants and of client methods.

#![allow(unused_variables, reason = "the handlers do nothing")]

use airssys_rt::actor;

struct Names;

#[actor]
impl Names {
    #[ask]
    fn id(&self) -> u64 {
        0
    }

    #[tell]
    fn add_1(&mut self) {}

    #[tell]
    fn add1(&mut self) {}

    #[tell]
    fn push(&mut self) {}

    #[ask]
    fn try_push(&mut self) -> bool {
        true
    }

    #[tell]
    fn self_(&mut self) {}

    #[tell]
    fn _2d(&mut self) {}
}

struct Mixed;

#[actor]
impl Mixed {
    #[tell]
    fn add(&mut self) {}

    #[ask]
    pub fn total(&self) {}
}

fn main() {}
