//! Panics of actors: contained, and kept for the exit reason instead of going to stderr.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::exit::PanicReport;

thread_local! {
    static IN_ACTOR: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// Makes panics of actors reports instead of text on stderr. Other threads and other code keep the hook they had.
pub(crate) fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| if IN_ACTOR.get() { remember(info) } else { previous(info) }));
    });
}

fn remember(info: &PanicHookInfo<'_>) {
    let report = PanicReport {
        message: message_of(info.payload()),
        location: info.location().map(ToString::to_string),
    };
    LAST_PANIC.set(Some(report));
}

pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else {
        payload.downcast_ref::<String>().cloned().unwrap_or_default()
    }
}

/// Runs something of an actor's; its panic is a report and not text on stderr.
pub(crate) fn contain<T>(poll: impl FnOnce() -> T) -> Result<T, PanicReport> {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_ACTOR.set(self.0);
        }
    }
    let leave = Leave(IN_ACTOR.replace(true));
    let outcome = panic::catch_unwind(AssertUnwindSafe(poll));
    drop(leave);
    outcome.map_err(|payload| {
        let message = message_of(payload.as_ref());
        // A panic that is raised again does not come to the hook, which may have seen another since.
        let last = LAST_PANIC.take().filter(|report| report.message == message);
        last.unwrap_or(PanicReport { message, location: None })
    })
}
