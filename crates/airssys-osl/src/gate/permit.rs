//! The proof that an operation was permitted, and the record's open end: what came of it.

use std::fmt;

use crate::audit::{AuditLog, Outcome, Said, Seq};
use crate::pipeline::{Ending, Passed};

/// What came of an operation that was permitted and given back.
pub(super) const WITHDRAWN: &str = "it was withdrawn before it began";

/// An operation that was allowed, once.
#[must_use = "nothing was done yet; dropped, the log says that nobody knows what came of it"]
pub struct Permit<O> {
    operation: O,
    ticket: Ticket,
}

/// The open end of a record: what came of the operation has to be said.
#[must_use = "what came of the operation is unknown until it is said"]
pub struct Ticket {
    log: AuditLog,
    of: Seq,
    is_said: bool,
    passed: Passed,
}

impl<O> Permit<O> {
    /// Only the gate has what this takes.
    pub(super) fn new(operation: O, ticket: Ticket) -> Self {
        Self { operation, ticket }
    }

    /// What is permitted.
    pub fn operation(&self) -> &O {
        &self.operation
    }

    /// Takes the operation out, to be performed now. What came of it goes to the ticket.
    pub fn begin(self) -> (O, Ticket) {
        (self.operation, self.ticket)
    }

    /// Performs the operation by `effect` and records what came of it. An effect that succeeded stays a success when its
    /// outcome cannot be recorded; the next record that is written says that one is missing.
    pub fn perform<T, E: fmt::Display>(self, effect: impl FnOnce(O) -> Result<T, E>) -> Result<T, E> {
        let (operation, ticket) = self.begin();
        let result = effect(operation);
        ticket.say(result.as_ref().err());
        result
    }

    /// Gives the operation back without performing it. The log says so.
    pub fn withdraw(self) -> O {
        let (operation, ticket) = self.begin();
        ticket.say(Some(&WITHDRAWN));
        operation
    }
}

impl<O> Permit<O> {
    /// [`Permit::perform`] for effects that take their time. Dropped on the way, the log says that nobody knows what came of it.
    pub async fn perform_from_task<T, E: fmt::Display>(
        self,
        effect: impl AsyncFnOnce(O) -> Result<T, E>,
    ) -> Result<T, E> {
        let (operation, ticket) = self.begin();
        let result = effect(operation).await;
        ticket.say_from_task(result.as_ref().err().map(E::to_string)).await;
        result
    }
}

impl Ticket {
    pub(super) fn new(log: AuditLog, of: Seq, passed: Passed) -> Self {
        Self { log, of, is_said: false, passed }
    }

    /// The number of the record.
    pub fn seq(&self) -> Seq {
        self.of
    }

    /// It was done, or failed for this reason.
    pub fn say<E: fmt::Display>(mut self, error: Option<&E>) {
        let Some(error) = error else {
            self.is_said = true;
            return self.end(Outcome::Done, Ending::Done);
        };
        // Anybody's code, which may panic: then nothing was said, and the end is unknown.
        let shown = self.passed.masked(error);
        self.is_said = true;
        self.end(Outcome::Failed(&shown), Ending::Failed);
    }

    /// It failed for this reason after a part of it was done, so a quota does not get back what was counted.
    pub(crate) fn say_in_part<E: fmt::Display>(mut self, error: &E) {
        // Anybody's code, which may panic: then nothing was said, and the end is unknown.
        let shown = self.passed.masked(error);
        self.is_said = true;
        self.record(Outcome::Failed(&shown));
        self.passed.end_in_part(self.of);
    }

    /// [`Ticket::say`] for tasks that must not block.
    pub async fn say_from_task(self, error: Option<String>) {
        if self.log.is_prompt() {
            return self.say(error.as_ref());
        }
        let said = tokio::task::spawn_blocking(move || self.say(error.as_ref())).await;
        said.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }

    fn end(&mut self, outcome: Outcome<'_>, ending: Ending) {
        self.record(outcome);
        self.passed.end(self.of, ending);
    }

    fn record(&self, outcome: Outcome<'_>) {
        if let Err(error) = self.log.record(Said::Outcome { of: self.of, outcome }) {
            self.log.lose();
            tracing::error!(of = self.of, %error, "the outcome of an operation is not in the audit log");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_said {
            self.end(Outcome::Unknown, Ending::Unknown);
        }
    }
}

impl<O> fmt::Debug for Permit<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("seq", &self.ticket.of).finish_non_exhaustive()
    }
}
