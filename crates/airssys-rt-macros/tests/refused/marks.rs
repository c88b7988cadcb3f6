//! One mark per item, with the options it has.

#![allow(unused_variables, reason = "the handlers do nothing")]

use airssys_rt::actor;

struct Marks;

#[actor]
impl Marks {
    #[tell]
    #[ask]
    fn both(&mut self) {}

    #[tell(deferred)]
    fn later(&mut self) {}

    #[ask(from)]
    fn total(&self) -> u64 {
        0
    }

    #[ask = "deferred"]
    fn valued(&self) {}

    #[tell]
    const LIMIT: u64 = 7;

    #[tell(from)]
    fn two(&mut self, a: u8, b: u8) {}

    #[ask(deferred)]
    fn kept(&mut self, n: u64) {}

    #[ask]
    fn kept_unsaid(&mut self, reply: airssys_rt::ReplyTo<u64>) {}

    #[ask(deferred)]
    fn twice(&mut self, one: airssys_rt::ReplyTo<u64>, other: airssys_rt::ReplyTo<u64>) {}
}

fn main() {}
