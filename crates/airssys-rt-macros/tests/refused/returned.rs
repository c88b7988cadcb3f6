//! A handler that answers nobody returns nothing, or a reason to end the actor.

use airssys_rt::actor;

struct Returned;

#[actor]
impl Returned {
    #[tell]
    fn total(&self) -> u64 {
        0
    }
}

fn main() {}
