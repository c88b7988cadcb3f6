//! A message owns what it carries, by name.

#![allow(unused_variables, reason = "the handlers do nothing")]

use std::borrow::Cow;

use airssys_rt::actor;

struct Parameters;

#[actor]
impl Parameters {
    #[tell]
    fn borrowed(&mut self, text: &str) {}

    #[tell]
    fn elided(&mut self, text: Cow<'_, str>) {}

    #[tell]
    fn nested(&mut self, texts: Vec<Option<&'_ str>>) {}

    #[tell]
    fn unnamed_type(&mut self, text: impl Into<String> + Send) {}

    #[tell]
    fn pattern(&mut self, (a, b): (u8, u8)) {}

    #[tell]
    fn conditional(&mut self, #[cfg(test)] n: u64) {}

    #[ask]
    fn borrowed_answer(&self) -> &str {
        ""
    }

    #[ask]
    fn unnamed_answer(&self) -> impl Iterator<Item = u8> {
        [].into_iter()
    }

    #[tell]
    fn generic<T: Send>(&mut self, n: T) {}

    #[tell]
    fn lifetime<'a>(&'a mut self, text: &'a str) {}

    #[tell]
    fn by_value(self) {}

    #[tell]
    fn detached(n: u64) {}

    #[tell]
    unsafe fn dangerous(&mut self) {}

    /// Allowed: nothing here borrows from a sender.
    #[tell]
    fn allowed(&mut self, text: &'static str, f: fn(&str) -> &str, g: Box<dyn Fn(&u8) -> u8 + Send>) {}
}

fn main() {}
