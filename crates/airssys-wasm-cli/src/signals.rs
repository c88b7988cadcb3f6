//! Being asked to stop: by Ctrl-C, by SIGTERM, over the control socket, or by the application's own end.
//!
//! The first request wins and starts the ordered stop. A second Ctrl-C ends the process at once.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{CommandError, Kind};

/// Who asked first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or `airssys stop`.
    Asked,
    /// The application ended by itself, for this reason.
    Ended(String),
}

/// The request to stop. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Stop {
    reason: Arc<OnceLock<Reason>>,
    asked: watch::Sender<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Stop { reason: Arc::default(), asked: watch::Sender::new(false) }
    }

    pub(crate) fn ask(&self, reason: Reason) {
        // Later reasons follow from the first one.
        if self.reason.set(reason).is_ok() {
            self.asked.send_replace(true);
        }
    }

    pub(crate) fn reason(&self) -> Option<&Reason> {
        self.reason.get()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.asked.subscribe()
    }

    /// Ready once somebody has asked.
    pub(crate) async fn asked(&self) {
        let told = self.subscribe().wait_for(|asked| *asked).await.is_ok();
        debug_assert!(told, "the sender lives as long as self");
    }

    /// Listens to the signals from now on. `first` is told of the first Ctrl-C.
    ///
    /// On a thread with a runtime of its own: guests that loop may hold every worker of the other one, and then most
    /// of all Ctrl-C has to work.
    pub(crate) fn on_signals(&self, first: impl Fn() + Send + 'static) -> Result<(), CommandError> {
        let fail = |error: std::io::Error| CommandError::of(Kind::Failed, "listen to signals", &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            let interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
            (interrupt, signal(SignalKind::terminate()).map_err(fail)?)
        };
        let stop = self.clone();
        let listen = async move {
            let mut interrupts = 0;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {
                        interrupts += 1;
                        if interrupts > 1 {
                            end_at_once();
                        }
                        first();
                        stop.ask(Reason::Interrupt);
                    }
                    _ = terminate.recv() => stop.ask(Reason::Asked),
                }
            }
        };
        let thread = std::thread::Builder::new().name("airssys-signals".into());
        thread.spawn(move || runtime.block_on(listen)).map_err(fail)?;
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the user asked twice: whatever keeps the ordered stop is skipped"
)]
fn end_at_once() -> ! {
    std::process::exit(i32::from(Kind::Interrupted.exit_code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let stop = Stop::new();
        assert_eq!(stop.reason(), None);
        stop.ask(Reason::Asked);
        stop.ask(Reason::Interrupt);
        assert_eq!(stop.reason(), Some(&Reason::Asked));
        assert!(*stop.subscribe().borrow());
    }
}
