//! The gate: decides about an operation, records that, and only then hands out the permit to perform it.
//!
//! A [`Permit`] is the proof that an operation was allowed and that the log knows. Nothing else makes one, it cannot be
//! copied, and what performs an operation takes it by value. Every access of an operation is decided; one that is denied
//! denies the operation. When the log cannot be written nothing is permitted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, Subject};
use crate::audit::{AuditError, AuditLog, Outcome, Said, Seq, Value};
use crate::policy::{Decision, InUse, Lenience, ObserveError, Observed, Observing, Policy, RuleId};

/// Accesses of one operation.
const ACCESSES_MAX: usize = 1024;

/// Something that is done to the system, or by a user's own means, with all accesses that it makes.
///
/// Whoever writes one sees to it that the accesses are those of the very thing that [`Permit`] gives back to be performed.
pub trait Operation {
    /// What it is called in records, such as `fs.read`.
    fn name(&self) -> &'static str;
    /// Every access it makes, 1 to 1,024. One without any, or with more, is denied.
    fn accesses(&self) -> &[Access];
}

/// Who may do what, and the log of it. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    policy: InUse,
    observing: Observing,
    log: AuditLog,
}

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
}

/// An operation that was not allowed, given back.
#[derive(thiserror::Error)]
#[error("{} is not allowed{}", .access, Because(.why))]
pub struct Denied<O> {
    /// What was not done.
    pub operation: O,
    /// The access that was denied; the first, if several were.
    pub access: Denial,
    /// Why.
    #[source]
    pub why: Refusal,
}

/// What was denied of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// This access.
    Access(Access),
    /// All of it: it makes no access that could be allowed, or too many.
    Number(usize),
}

/// Why an operation was denied. For whoever runs the system: the subject learns that it is denied and no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule denies it.
    #[error("{rule}")]
    Rule {
        /// The rule, as the policy shows it.
        rule: String,
    },
    /// No rule allows it.
    #[error("no rule allows it")]
    NoRule,
    /// The log cannot be written, so nothing is done.
    #[error(transparent)]
    Log(#[from] AuditError),
}

struct Because<'r>(&'r Refusal);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::Rule { .. } | Refusal::NoRule => Ok(()),
            Refusal::Log(_) => f.write_str(" while the audit log cannot be written"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::Access(access) => write!(f, "`{access}`"),
            Denial::Number(len) => write!(f, "an operation with {len} accesses"),
        }
    }
}

impl<O> fmt::Debug for Denied<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied").field("access", &self.access).field("why", &self.why).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that decides by this policy and writes to this log.
    pub fn new(policy: Policy, log: AuditLog) -> Self {
        Self(Arc::new(Inner { policy: InUse::new(policy), observing: Observing::default(), log }))
    }

    /// Decides by this policy from now on, and returns its generation. Permits that were handed out stay good. It is used also
    /// when the log does not take the record of it: what is taken away is away, and without a log nothing is permitted anyway.
    pub fn replace_policy(&self, policy: Policy) -> u64 {
        let (rules, digest) = (policy.rules_len() as u64, policy.digest());
        let current = self.0.policy.replace(policy);
        let fields: [(&'static str, Value<'_>); 3] = [
            ("policy", Value::Text(&current.label)),
            ("digest", Value::Text(&digest)),
            ("rules", Value::Number(rules)),
        ];
        self.tell("policy", &fields);
        current.generation
    }

    /// The policy it decides by.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.policy.load().policy.clone()
    }

    /// The number of the policy it decides by: 1 for the first of this gate, one more for each after it. Records show it with
    /// the beginning of the policy's digest.
    pub fn generation(&self) -> u64 {
        self.0.policy.load().generation
    }

    /// Permits for a while what the policy would deny this subject, and records each such operation as `observed` with the
    /// rule. Only who holds the gate can switch this on: no policy, no variable and no default does. It ends by itself, with
    /// [`Gate::enforce`], and with the gate. What stays denied: all that the log does not take, operations without accesses or
    /// with too many, and what a rule denies unless `lenience` says otherwise. Observing anew begins anew.
    pub fn observe(&self, subject: &Subject, lenience: Lenience, time: Duration) -> Result<(), ObserveError> {
        self.0.observing.check(subject, time)?;
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let fields: [(&'static str, Value<'_>); 3] = [
            ("subject", Value::Text(subject)),
            ("lenience", Value::Text(&lenience)),
            ("for_ms", Value::Number(time_ms)),
        ];
        self.0.log.record(Said::Notice { kind: "observe", fields: &fields })?;
        self.0.observing.begin(subject, lenience, time)
    }

    /// Ends observing; true if this subject was being observed.
    pub fn enforce(&self, subject: &Subject) -> bool {
        let was_observed = self.0.observing.end(subject);
        if was_observed {
            self.tell("enforce", &[("subject", Value::Text(subject))]);
        }
        was_observed
    }

    /// Who is being observed now, sorted, for a banner that nobody overlooks.
    pub fn observed(&self) -> Vec<Observed> {
        self.0.observing.now()
    }

    /// How many operations were permitted only because their subject was being observed.
    pub fn observed_len(&self) -> u64 {
        self.0.observing.permitted()
    }

    /// Records what happened to the gate itself and cannot be undone; if that fails, the next record says that one is missing.
    pub(crate) fn tell(&self, kind: &'static str, fields: &[(&'static str, Value<'_>)]) {
        if let Err(error) = self.0.log.record(Said::Notice { kind, fields }) {
            self.0.log.lose();
            tracing::error!(kind, %error, "what happened to the gate is not in the audit log");
        }
    }

    /// Its log.
    pub fn log(&self) -> &AuditLog {
        &self.0.log
    }

    /// Decides about an operation and records the decision. Waits for the log as the log's durability says, so call it where
    /// blocking is allowed unless that is asynchronous.
    pub fn admit<O: Operation>(&self, subject: &Subject, operation: O) -> Result<Permit<O>, Denied<O>> {
        let current = self.0.policy.load();
        let policy: &Policy = &current.policy;
        let (accesses, name) = (operation.accesses(), operation.name());
        let mut rules = Rules { policy, ids: [None; 4], more: 0 };
        let mut observed = None;
        let is_askable = (1..=ACCESSES_MAX).contains(&accesses.len());
        let mut refused = (!is_askable).then_some((Denial::Number(accesses.len()), None));
        for access in accesses.iter().take(ACCESSES_MAX) {
            match policy.decide(subject, access) {
                Decision::Allowed(rule) => rules.push(rule),
                Decision::Denied(rule) if self.0.observing.permits(subject, rule) => {
                    observed.get_or_insert((access, rule));
                }
                Decision::Denied(rule) => {
                    refused = Some((Denial::Access(access.clone()), rule));
                    break;
                }
            }
        }
        let why = |rule: Option<RuleId>| match rule {
            Some(rule) => Refusal::Rule { rule: policy.rule(rule).to_string() },
            None => Refusal::NoRule,
        };
        let Some((access, rule)) = refused else {
            let recorded = match observed {
                None => {
                    let policy = &*current.label;
                    self.0.log.record(Said::Intent {
                        subject,
                        accesses,
                        rules: &rules,
                        operation: name,
                        policy,
                    })
                }
                Some((access, rule)) => {
                    let (denied, rule, policy) =
                        (&Denial::Access(access.clone()), &why(rule), &*current.label);
                    self.0.log.record(Said::Observed {
                        subject,
                        accesses,
                        denied,
                        rule,
                        operation: name,
                        policy,
                    })
                }
            };
            return match recorded {
                Ok(of) => {
                    if observed.is_some() {
                        self.0.observing.count(subject);
                    }
                    let ticket = Ticket { log: self.0.log.clone(), of, is_said: false };
                    Ok(Permit { operation, ticket })
                }
                Err(error) => {
                    let access = Denial::Access(accesses[0].clone());
                    Err(Denied { operation, access, why: Refusal::Log(error) })
                }
            };
        };
        let why = why(rule);
        let deny = |accesses| {
            let policy = &*current.label;
            Said::Denial { subject, accesses, denied: &access, rule: &why, operation: name, policy }
        };
        let told = match self.0.log.record(deny(accesses)) {
            // Too much to say in full; that it was denied is said all the same.
            Err(AuditError::TooLarge { .. }) => self.0.log.record(deny(&[])),
            told => told,
        };
        let why = told.map_or_else(Refusal::Log, |_| why);
        Err(Denied { operation, access, why })
    }
}

impl Gate {
    /// [`Gate::admit`] for tasks that must not block: what waits for the disk does so on a thread for that. Dropped before it
    /// is done, nothing is permitted; the decision may be on record, with an unknown outcome.
    pub async fn admit_from_task<O: Operation + Send + 'static>(
        &self,
        subject: &Subject,
        operation: O,
    ) -> Result<Permit<O>, Denied<O>> {
        if self.0.log.is_prompt() {
            return self.admit(subject, operation);
        }
        let (gate, subject) = (self.clone(), subject.clone());
        let admitted = tokio::task::spawn_blocking(move || gate.admit(&subject, operation)).await;
        admitted.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// The rules that allowed an operation, each once, and four of them at most in a record.
struct Rules<'p> {
    policy: &'p Policy,
    ids: [Option<RuleId>; 4],
    more: u32,
}

impl Rules<'_> {
    fn push(&mut self, rule: RuleId) {
        match self.ids.iter_mut().find(|place| place.is_none_or(|known| known == rule)) {
            Some(place) => *place = Some(rule),
            None => self.more += 1,
        }
    }
}

impl fmt::Display for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.ids.iter().flatten().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "; " }, self.policy.rule(*rule))?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl<O> Permit<O> {
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
    /// The number of the record.
    pub fn seq(&self) -> Seq {
        self.of
    }

    /// It was done, or failed for this reason.
    pub fn say<E: fmt::Display>(mut self, error: Option<&E>) {
        self.is_said = true;
        self.record(error.map_or(Outcome::Done, |error| Outcome::Failed(error)));
    }

    /// [`Ticket::say`] for tasks that must not block.
    pub async fn say_from_task(self, error: Option<String>) {
        if self.log.is_prompt() {
            return self.say(error.as_ref());
        }
        let said = tokio::task::spawn_blocking(move || self.say(error.as_ref())).await;
        said.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
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
            self.record(Outcome::Unknown);
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Permit<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("seq", &self.ticket.of).finish_non_exhaustive()
    }
}
