//! Where an actor is seen, its message is.

use airssys_rt::actor;

pub struct Public;

#[actor]
impl Public {
    #[tell]
    fn add(&mut self) {}
}

/// Allowed: handlers stay private, the message is public.
pub struct Said;

#[actor(pub)]
impl Said {
    #[tell]
    fn add(&mut self) {}
}

/// Allowed: a private actor may have a message that is seen farther.
struct Private;

#[actor]
impl Private {
    #[tell]
    pub fn add(&mut self) {}
}

fn main() {}
