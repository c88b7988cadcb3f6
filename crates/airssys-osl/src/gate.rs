//! The gate: decides about an operation, records that, and only then hands out the permit to perform it.
//!
//! A [`Permit`] is the proof that an operation was allowed and that the log knows. Nothing else makes one, it cannot be
//! copied, and what performs an operation takes it by value. Every access of an operation is decided; one that is denied
//! denies the operation. When the log cannot be written nothing is permitted.

mod denied;
mod permit;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, Subject};
use crate::audit::{AuditError, AuditLog, Said, Seq, Value};
use crate::fields::{Fields, shown};
use crate::pipeline::{self, Layer, Passed};
use crate::policy::{
    Decision, Generation, InUse, Lenience, ObserveError, Observed, Observing, Policy, RuleId,
};

pub use denied::{Denial, Denied, Refusal};
use permit::WITHDRAWN;
pub use permit::{Permit, Ticket};

/// Accesses of one operation.
pub(crate) const ACCESSES_MAX: usize = 1024;
/// Operations of one batch.
const BATCH_MAX: usize = 1024;
/// Characters of a refused text that a record keeps; whoever is watched chooses how many there are.
const TEXT_CHARS_MAX: usize = 256;

/// Something that is done to the system, or by a user's own means, with all accesses that it makes.
///
/// Whoever writes one sees to it that the accesses are those of the very thing that [`Permit`] gives back to be performed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no operation that a gate can decide about",
    note = "a struct with `#[derive(Operation)]` is made one by `Prepared::of(..)`"
)]
pub trait Operation: Send {
    /// What it is called in records, such as `fs.read`.
    fn name(&self) -> &'static str;
    /// Every access it makes, 1 to 1,024. One without any, or with more, is denied.
    fn accesses(&self) -> &[Access];

    /// What a record says of it beside its accesses. Nothing, unless it is said.
    fn fields(&self, _fields: &mut Fields<'_>) {}

    /// Whether one argument of a program that it starts is not to be read in records. What is decided about is the argument
    /// itself, and everything else of the access is shown.
    fn is_secret(&self, _access: &Access, _argument: usize) -> bool {
        false
    }

    /// The most bytes it moves, for quotas.
    fn bytes_max(&self) -> u64 {
        0
    }

    /// The operation itself, if layers may change it before it is decided. What it gives out must keep the accesses true.
    fn as_any_mut(&mut self) -> Option<&mut dyn Any> {
        None
    }
}

/// Who may do what, and the log of it. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>, Option<Arc<[Layer]>>);

struct Inner {
    policy: InUse,
    observing: Observing,
    log: AuditLog,
}

impl Gate {
    /// A gate that decides by this policy and writes to this log.
    pub fn new(policy: Policy, log: AuditLog) -> Self {
        let inner = Inner { policy: InUse::new(policy), observing: Observing::default(), log };
        Self(Arc::new(inner), None)
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
    pub fn admit<O: Operation>(&self, subject: &Subject, mut operation: O) -> Result<Permit<O>, Denied<O>> {
        match pipeline::pass(self.1.as_ref(), subject, &mut operation) {
            Ok(passed) => self.decide(subject, operation, passed),
            Err(refusal) => Err(self.refuse(subject, operation, refusal.into())),
        }
    }

    /// Decides about an operation in its last form, and records that.
    fn decide<O: Operation>(
        &self,
        subject: &Subject,
        operation: O,
        passed: Passed,
    ) -> Result<Permit<O>, Denied<O>> {
        let current = self.0.policy.load();
        // Asked for once, so that what is decided is what is recorded.
        let accesses = operation.accesses();
        let (access, why) = match self.judge(&current, subject, accesses) {
            Ok(allowed) => match self.record_intent(subject, &operation, accesses, &passed, &allowed) {
                Ok(of) => {
                    let ticket = Ticket::new(self.0.log.clone(), of, passed);
                    return Ok(Permit::new(operation, ticket));
                }
                Err(error) => (self.denial(&operation, accesses, 0), Refusal::Log(error)),
            },
            Err((index, rule)) => {
                let denied = Refused { policy: &current.label, index, why: refusal(&current.policy, rule) };
                self.record_denial(subject, &operation, accesses, denied, None)
            }
        };
        Err(Denied { operation, access, why })
    }

    fn record_intent(
        &self,
        subject: &Subject,
        operation: &impl Operation,
        accesses: &[Access],
        passed: &Passed,
        allowed: &Allowed<'_>,
    ) -> Result<Seq, AuditError> {
        let policy = &*allowed.by.label;
        let fields = &Fields::of(operation, passed.redactions());
        let Some((index, rule)) = allowed.observed else {
            let accesses = &*shown(operation, accesses, passed.redactions());
            let (operation, rules) = (operation.name(), &allowed.rules);
            return self.0.log.record(Said::Intent { subject, accesses, rules, operation, policy, fields });
        };
        let denied = &self.denial(operation, accesses, index);
        let rule = &refusal(&allowed.by.policy, rule);
        let accesses = &*shown(operation, accesses, passed.redactions());
        let operation = operation.name();
        let said = Said::Observed { subject, accesses, denied, rule, operation, policy, fields };
        let seq = self.0.log.record(said)?;
        self.0.observing.count(subject);
        Ok(seq)
    }

    /// Records that an operation is denied: what is denied, and why, which is the log if that cannot be written.
    fn record_denial(
        &self,
        subject: &Subject,
        operation: &impl Operation,
        accesses: &[Access],
        Refused { policy, index, why }: Refused<'_>,
        batch_len: Option<usize>,
    ) -> (Denial, Refusal) {
        let redactions = pipeline::redactions(self.1.as_ref());
        let access = self.denial(operation, accesses, index);
        // One more than may be shows that there are too many.
        let accesses = shown(operation, &accesses[..accesses.len().min(ACCESSES_MAX + 1)], redactions);
        let mut fields = Fields::of(operation, redactions);
        fields.batch(batch_len);
        let (denied, fields, operation) = (&access, &fields, operation.name());
        let deny =
            |accesses| Said::Denial { subject, accesses, denied, rule: &why, operation, policy, fields };
        let told = match self.0.log.record(deny(&accesses)) {
            // Too much to say in full; that it was denied is said all the same.
            Err(AuditError::TooLarge { .. }) => self.0.log.record(deny(&[])),
            told => told,
        };
        let why = told.map_or_else(Refusal::Log, |_| why);
        (access, why)
    }

    /// What was denied, as it may be shown: the access at this place, or all if there are none or too many.
    fn denial(&self, operation: &impl Operation, accesses: &[Access], index: usize) -> Denial {
        match accesses.get(index) {
            Some(access) if accesses.len() <= ACCESSES_MAX => {
                let access = std::slice::from_ref(access);
                Denial::Access(shown(operation, access, pipeline::redactions(self.1.as_ref()))[0].clone())
            }
            Some(_) | None => Denial::Number(accesses.len()),
        }
    }
}

/// Why an operation may be done.
struct Allowed<'p> {
    by: &'p Generation,
    rules: Rules<'p>,
    /// The place of the first access that is permitted only because its subject is being observed, and the rule against it.
    observed: Option<(usize, Option<RuleId>)>,
}

/// Why an operation may not be done: because of the access at this place.
struct Refused<'p> {
    policy: &'p str,
    index: usize,
    why: Refusal,
}

impl Gate {
    /// What allows all accesses of an operation, or the place of the first that is denied and the rule.
    fn judge<'p>(
        &self,
        by: &'p Generation,
        subject: &Subject,
        accesses: &[Access],
    ) -> Result<Allowed<'p>, (usize, Option<RuleId>)> {
        if !(1..=ACCESSES_MAX).contains(&accesses.len()) {
            return Err((0, None));
        }
        let rules = Rules { policy: &by.policy, ids: [None; 4], more: 0 };
        let mut allowed = Allowed { by, rules, observed: None };
        for (index, access) in accesses.iter().enumerate() {
            match by.policy.decide(subject, access) {
                Decision::Allowed(rule) => allowed.rules.push(rule),
                Decision::Denied(rule) if self.0.observing.permits(subject, rule) => {
                    allowed.observed.get_or_insert((index, rule));
                }
                Decision::Denied(rule) => return Err((index, rule)),
            }
        }
        Ok(allowed)
    }
}

fn refusal(policy: &Policy, rule: Option<RuleId>) -> Refusal {
    match rule {
        Some(rule) => Refusal::Rule { rule: policy.rule(rule).to_string() },
        None => Refusal::NoRule,
    }
}

impl Gate {
    /// The same gate, with these layers before it, the first outermost. Layers that it has already come after them. What was
    /// cloned before has none of these.
    pub fn with_layers(&self, layers: impl IntoIterator<Item = Layer>) -> Self {
        let present = self.1.iter().flat_map(|layers| layers.iter()).cloned();
        Self(self.0.clone(), Some(layers.into_iter().chain(present).collect()))
    }

    /// Records a denial that is not the policy's.
    fn refuse<O: Operation>(&self, subject: &Subject, operation: O, why: Refusal) -> Denied<O> {
        let policy = &*self.0.policy.load().label;
        let refused = Refused { policy, index: 0, why };
        let (access, why) = self.record_denial(subject, &operation, operation.accesses(), refused, None);
        Denied { operation, access, why }
    }

    /// Records that a text was refused for this reason: it names nothing that a policy could decide about. The record has no
    /// accesses, and the text escaped and cut. Nothing is done either way, so a log that does not take it is only told of.
    pub(crate) fn refuse_text(
        &self,
        subject: &Subject,
        operation: &'static str,
        text: &str,
        why: &dyn fmt::Display,
    ) {
        let policy = &*self.0.policy.load().label;
        let redactions = pipeline::redactions(self.1.as_ref());
        let shown: String = text.chars().take(TEXT_CHARS_MAX).flat_map(char::escape_debug).collect();
        let more = if text.chars().nth(TEXT_CHARS_MAX).is_some() { "…" } else { "" };
        let denied = &format_args!("the text `{}{more}`", redactions.mask(&shown)).to_string();
        let fields = &Fields::none(redactions);
        let said = Said::Denial { subject, accesses: &[], denied, rule: why, operation, policy, fields };
        if let Err(error) = self.0.log.record(said) {
            self.0.log.lose();
            tracing::error!(operation, %error, "a text that was refused is not in the audit log");
        }
    }

    /// As [`Gate::refuse_text`], for tasks.
    pub(crate) async fn refuse_text_from_task(
        &self,
        subject: &Subject,
        operation: &'static str,
        text: &str,
        why: String,
    ) {
        let (subject, text) = (subject.clone(), text.chars().take(TEXT_CHARS_MAX + 1).collect::<String>());
        self.apart(move |gate| gate.refuse_text(&subject, operation, &text, &why)).await;
    }

    /// As [`Gate::refuse`], for tasks.
    pub(crate) async fn refuse_from_task<O: Operation + 'static>(
        &self,
        subject: &Subject,
        operation: O,
        why: Refusal,
    ) -> Denied<O> {
        let subject = subject.clone();
        self.apart(move |gate| gate.refuse(&subject, operation, why)).await
    }

    /// Decides about many operations as one: all are permitted, or none. All are decided by one policy. If one is denied there
    /// is one record of that, which names its access, the rule and how many operations there were; if none is, each has its
    /// record and its outcome. At most 1,024.
    pub fn admit_all<O: Operation>(
        &self,
        subject: &Subject,
        mut operations: Vec<O>,
    ) -> Result<Vec<Permit<O>>, Box<Denied<Vec<O>>>> {
        match self.ticket_all(subject, &mut operations) {
            Ok(tickets) => {
                let permits = operations.into_iter().zip(tickets);
                Ok(permits.map(|(operation, ticket)| Permit::new(operation, ticket)).collect())
            }
            Err((access, why)) => Err(Box::new(Denied { operation: operations, access, why })),
        }
    }

    /// The open ends of the records of a batch, one for each operation, or what is denied of it and why.
    fn ticket_all<O: Operation>(
        &self,
        subject: &Subject,
        operations: &mut [O],
    ) -> Result<Vec<Ticket>, (Denial, Refusal)> {
        let len = operations.len();
        let deny = |operation: &O, accesses: &[Access], refused: Refused<'_>| {
            self.record_denial(subject, operation, accesses, refused, Some(len))
        };
        let passed = self.pass_all(subject, operations);
        // Only now: what is in use when the layers are past is what decides.
        let current = self.0.policy.load();
        let passed = passed.map_err(|(place, why)| {
            let refused = Refused { policy: &current.label, index: 0, why };
            deny(&operations[place], operations[place].accesses(), refused)
        })?;
        // Asked for once, so that what is decided is what is recorded.
        let asked: Vec<(&O, &[Access])> =
            operations.iter().map(|operation| (operation, operation.accesses())).collect();
        let judge = |&(operation, accesses): &(&O, &'_ [Access])| {
            self.judge(&current, subject, accesses).map_err(|(index, rule)| {
                let why = refusal(&current.policy, rule);
                deny(operation, accesses, Refused { policy: &current.label, index, why })
            })
        };
        let allowed: Vec<Allowed<'_>> = asked.iter().map(judge).collect::<Result<_, _>>()?;
        let mut tickets: Vec<Ticket> = Vec::with_capacity(len);
        for ((operation, accesses), (passed, allowed)) in
            asked.into_iter().zip(passed.into_iter().zip(allowed))
        {
            match self.record_intent(subject, operation, accesses, &passed, &allowed) {
                Ok(of) => tickets.push(Ticket::new(self.0.log.clone(), of, passed)),
                Err(error) => {
                    tickets.into_iter().for_each(|ticket| ticket.say(Some(&WITHDRAWN)));
                    return Err((self.denial(operation, accesses, 0), Refusal::Log(error)));
                }
            }
        }
        Ok(tickets)
    }

    /// Hands all operations of a batch through the layers, or says which of them one did not pass on.
    fn pass_all<O: Operation>(
        &self,
        subject: &Subject,
        operations: &mut [O],
    ) -> Result<Vec<Passed>, (usize, Refusal)> {
        let len = operations.len();
        if len > BATCH_MAX {
            return Err((BATCH_MAX, Refusal::Batch { len, max: BATCH_MAX }));
        }
        let pass = |(place, operation): (usize, &mut O)| {
            pipeline::pass(self.1.as_ref(), subject, operation).map_err(|refusal| (place, refusal.into()))
        };
        operations.iter_mut().enumerate().map(pass).collect()
    }
}

impl Gate {
    /// [`Gate::admit`] for tasks that must not block: what waits for the disk does so on a thread for that. Dropped before it
    /// is done, nothing is permitted; the decision may be on record, with an unknown outcome.
    pub async fn admit_from_task<O: Operation + 'static>(
        &self,
        subject: &Subject,
        mut operation: O,
    ) -> Result<Permit<O>, Denied<O>> {
        match pipeline::pass_from_task(self.1.as_ref(), subject, &mut operation).await {
            Ok(passed) => {
                let subject = subject.clone();
                self.apart(move |gate| gate.decide(&subject, operation, passed)).await
            }
            Err(refusal) => Err(self.refuse_from_task(subject, operation, refusal.into()).await),
        }
    }

    /// What waits for the log, on a thread where that is allowed.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce(&Gate) -> T + Send + 'static) -> T {
        if self.0.log.is_prompt() {
            return work(self);
        }
        let gate = self.clone();
        let worked = tokio::task::spawn_blocking(move || work(&gate)).await;
        worked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
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

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
