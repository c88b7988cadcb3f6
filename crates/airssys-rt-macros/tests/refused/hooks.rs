//! Hooks are methods of the trait `Actor`, said to be hooks.

#![allow(unused_variables, reason = "the handlers do nothing")]

use airssys_rt::{Context, ExitReason, actor};

struct Unmarked;

#[actor]
impl Unmarked {
    #[tell]
    fn add(&mut self) {}

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }

    fn on_exit(exit: &airssys_rt::Exit) {}

    /// Allowed: it has too few parameters to be meant as a hook.
    fn stop(&mut self) {}

    /// Allowed: a hook would work on `&mut self`.
    fn state(&self) {}
}

struct Marked;

#[actor]
impl Marked {
    #[tell]
    fn add(&mut self) {}

    #[hook]
    async fn handle(&mut self, message: u64, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }

    #[hook]
    const LIMIT: u64 = 7;
}

struct Misspelt;

#[actor]
impl Misspelt {
    #[hook]
    async fn strat(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }
}

fn main() {}
