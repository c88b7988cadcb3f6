//! What the expansion of `#[actor]` calls. Not for anyone else, and not stable.

use std::marker::PhantomData;

use crate::exit::ExitReason;
use crate::reply::ReplyTo;

/// What a handler may return that answers nobody.
#[diagnostic::on_unimplemented(
    message = "a handler that answers nobody cannot return `{Self}`",
    label = "return nothing, or `Result<(), E>` where `E: Into<ExitReason>`",
    note = "a handler whose return value is the answer is marked `#[ask]`"
)]
pub trait Outcome {
    /// An error ends the actor.
    fn outcome(self) -> Result<(), ExitReason>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), ExitReason> {
        Ok(())
    }
}

impl<E: Into<ExitReason>> Outcome for Result<(), E> {
    fn outcome(self) -> Result<(), ExitReason> {
        self.map_err(Into::into)
    }
}

/// Answers a request. Where the asker has given up waiting, the answer is of no use to anyone and was counted as late.
pub fn answer<R>(reply: ReplyTo<R>, answer: R) {
    drop(reply.send(answer));
}

/// Well formed if a message can carry a `T`. Where it is not, the compiler shows the parameter or the answer:
///
/// ```compile_fail
/// struct Counter(u64);
///
/// #[airssys_rt::actor]
/// impl Counter {
///     #[tell]
///     fn add(&mut self, n: std::rc::Rc<u64>) {}
/// }
/// ```
///
/// A handler may not stay on its thread either. `Counter` is not `Sync` here, and the handler keeps `&Counter` while it
/// waits; `&mut self` would do.
///
/// ```compile_fail
/// struct Counter(std::cell::Cell<u64>);
///
/// #[airssys_rt::actor]
/// impl Counter {
///     #[ask]
///     async fn total(&self) -> u64 { self.0.get() }
/// }
/// ```
pub struct Carried<T: Send + 'static>(PhantomData<T>);
