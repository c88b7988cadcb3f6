//! Layers before a gate: limits, quotas, redactions, and what a program wants to see or change before it is decided.
//!
//! A gate with layers hands every operation through them in the order in which they stand, and then decides about it in the
//! form that it has after the last. A layer passes an operation on or refuses it; none can permit one, and what decides and
//! records is no layer, so no order and no choice of layers turns it off. What a layer refuses is recorded as a denial, with
//! the layer in the place of the rule.

mod attempt;
mod limit;
mod redaction;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::access::Subject;
use crate::audit::Seq;
use crate::gate::Operation;
use crate::quota::{Quota, QuotaError, Reservation};

pub use attempt::{Pipeline, PipelineError, PipelineOptions, Retry};
pub use limit::{LimitError, RateLimit};
pub use redaction::Redaction;
pub(crate) use redaction::Redactions;

/// How long a layer of the program's own may take, unless it is said.
const WITHIN: Duration = Duration::from_secs(1);
/// Longest reason that a layer of the program's own gives, in characters.
const REASON_CHARS_MAX: usize = 1024;

/// One thing that happens to an operation before it is decided.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Layer {
    /// Tells `tracing` who wants what, and what came of it: subject, operation, number of the record; no accesses.
    Log,
    /// Hides secrets in records. It counts for the whole gate, wherever it stands.
    Redact(Redaction),
    /// Refuses what comes too often.
    Limit(RateLimit),
    /// Counts one operation, and [`Operation::bytes_max`]. What failed is refunded; what nobody knows the end of is not.
    Quota(Quota),
    /// The program's own.
    Custom(Custom),
}

/// A layer of a program's own, with the time it may take.
#[derive(Clone)]
pub struct Custom {
    middleware: Arc<dyn Middleware>,
    within: Duration,
}

/// What a program does with operations before they are decided.
///
/// It can look, refuse, and change those that let themselves be changed. There is no answer by which an operation would skip
/// what comes after.
pub trait Middleware: Send + Sync {
    /// What it is called in records when it refuses.
    fn name(&self) -> &str;

    /// Passes an operation on, or not. What panics or takes too long has refused. It must not block its thread: it is
    /// stopped only where it waits. [`Gate::admit`](crate::Gate::admit) does not wait, so what is not ready there has
    /// refused as well.
    fn before<'a>(&'a self, subject: &'a Subject, operation: &'a mut (dyn Operation + 'a)) -> Answer<'a>;

    /// Learns what came of an operation that was permitted. A panic is told and changes nothing.
    fn after(&self, ended: &Ended<'_>) {
        let Ended { .. } = ended;
    }
}

/// What [`Middleware::before`] comes to.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>>;

/// A layer of the program's own does not pass an operation on, for this reason. Somebody who has to prove more first is
/// refused until it is proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    reason: String,
}

/// An operation that was permitted, and its end.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'e> {
    /// Who.
    pub subject: &'e Subject,
    /// What, as records call it.
    pub operation: &'static str,
    /// The number of its record.
    pub seq: Seq,
    /// How it ended.
    pub ending: Ending,
}

/// How a permitted operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was done.
    Done,
    /// It was tried, and failed.
    Failed,
    /// Nobody said.
    Unknown,
}

/// Why a layer did not pass an operation on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerRefusal {
    /// It comes too often.
    #[error("rate limit: {0}")]
    Limit(#[source] LimitError),
    /// It is too much.
    #[error("quota: {0}")]
    Quota(#[source] QuotaError),
    /// A layer of the program's own says so.
    #[error("layer {layer}: {source}")]
    Custom {
        /// Which.
        layer: String,
        /// Why.
        source: Refused,
    },
    /// A layer panicked.
    #[error("layer {layer} panicked")]
    Panicked {
        /// Which.
        layer: String,
    },
    /// A layer of the program's own took too long.
    #[error("layer {layer} did not answer within {within:?}")]
    TooSlow {
        /// Which.
        layer: String,
        /// The bound.
        within: Duration,
    },
    /// A layer of the program's own was not ready where nobody waits.
    #[error("layer {layer} has to be waited for: admit the operation from a task")]
    NotReady {
        /// Which.
        layer: String,
    },
    /// Too many effects are under way.
    #[error("{max} effects are under way already")]
    Full {
        /// The bound.
        max: usize,
    },
}

impl Layer {
    /// A layer of the program's own, which may take a second for each operation.
    pub fn custom(middleware: impl Middleware + 'static) -> Self {
        Self::custom_within(middleware, WITHIN)
    }

    /// A layer of the program's own, which may take this long for each operation.
    pub fn custom_within(middleware: impl Middleware + 'static, within: Duration) -> Self {
        Self::Custom(Custom { middleware: Arc::new(middleware), within })
    }

    fn name(&self) -> &str {
        match self {
            Layer::Log => "log",
            Layer::Redact(_) => "redact",
            Layer::Limit(_) => "rate limit",
            Layer::Quota(_) => "quota",
            Layer::Custom(custom) => custom.middleware.name(),
        }
    }
}

impl Refused {
    /// For this reason, which goes to the log; what is longer than 1,024 characters is cut.
    pub fn because(reason: &str) -> Self {
        Self { reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }
}

/// Whether layers may be waited for.
#[derive(Clone, Copy)]
enum Waiting {
    Never,
    Bounded,
}

/// An operation that is past the layers, and what they hold for it.
#[derive(Default)]
pub(crate) struct Passed(Option<Box<Passing>>);

struct Passing {
    layers: Arc<[Layer]>,
    reservations: Vec<Reservation>,
    subject: Subject,
    operation: &'static str,
}

/// Hands an operation through the layers where nobody waits.
pub(crate) fn pass(
    layers: Option<&Arc<[Layer]>>,
    subject: &Subject,
    operation: &mut (dyn Operation + '_),
) -> Result<Passed, LayerRefusal> {
    let Some(layers) = layers else {
        return Ok(Passed(None));
    };
    let passing = std::pin::pin!(through(layers, subject, operation, Waiting::Never));
    match passing.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(passed) => passed,
        Poll::Pending => unreachable!("a layer that is not ready is not waited for here"),
    }
}

/// As [`pass`], for tasks.
pub(crate) async fn pass_from_task(
    layers: Option<&Arc<[Layer]>>,
    subject: &Subject,
    operation: &mut (dyn Operation + '_),
) -> Result<Passed, LayerRefusal> {
    match layers {
        Some(layers) => through(layers, subject, operation, Waiting::Bounded).await,
        None => Ok(Passed(None)),
    }
}

async fn through(
    layers: &Arc<[Layer]>,
    subject: &Subject,
    operation: &mut (dyn Operation + '_),
    waiting: Waiting,
) -> Result<Passed, LayerRefusal> {
    let mut reservations = Vec::new();
    for layer in layers.iter() {
        match layer {
            Layer::Log => {
                let name = operation.name();
                // Whoever listens may panic.
                let told = catch_unwind(|| tracing::info!(%subject, operation = name, "wants to"));
                told.map_err(|_| LayerRefusal::Panicked { layer: layer.name().to_owned() })?;
            }
            Layer::Redact(_) => {}
            Layer::Limit(limit) => limit.take(subject).map_err(LayerRefusal::Limit)?,
            Layer::Quota(quota) => {
                let reserved = quota.reserve(subject, 1, operation.bytes_max());
                reservations.push(reserved.map_err(LayerRefusal::Quota)?);
            }
            Layer::Custom(custom) => custom.ask(subject, operation, waiting).await?,
        }
    }
    let operation = operation.name();
    Ok(Passed(Some(Box::new(Passing {
        layers: layers.clone(),
        reservations,
        subject: subject.clone(),
        operation,
    }))))
}

impl Custom {
    async fn ask(
        &self,
        subject: &Subject,
        operation: &mut (dyn Operation + '_),
        waiting: Waiting,
    ) -> Result<(), LayerRefusal> {
        let panicked = |_: Box<dyn Any + Send>| LayerRefusal::Panicked { layer: self.name() };
        let ask = move || {
            // Moved, as the answer borrows it.
            let operation = operation;
            self.middleware.before(subject, operation)
        };
        let mut answer = catch_unwind(AssertUnwindSafe(ask)).map_err(panicked)?;
        let guarded = std::future::poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
            polled.map_or_else(|panic| Poll::Ready(Err(panic)), |polled| polled.map(Ok))
        });
        let mut guarded = std::pin::pin!(guarded);
        let answered = match waiting {
            Waiting::Never => match guarded.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answered) => answered,
                Poll::Pending => return Err(LayerRefusal::NotReady { layer: self.name() }),
            },
            Waiting::Bounded => match tokio::time::timeout(self.within, guarded).await {
                Ok(answered) => answered,
                Err(_) => return Err(LayerRefusal::TooSlow { layer: self.name(), within: self.within }),
            },
        };
        let source = match answered.map_err(panicked)? {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        Err(LayerRefusal::Custom { layer: self.name(), source })
    }

    /// The name is the program's own code as well.
    fn name(&self) -> String {
        catch_unwind(AssertUnwindSafe(|| self.middleware.name().chars().take(REASON_CHARS_MAX).collect()))
            .unwrap_or_else(|_| "without a name".to_owned())
    }
}

impl Passed {
    pub(crate) fn redactions(&self) -> Redactions<'_> {
        Redactions(self.0.as_ref().map_or(&[], |passing| &passing.layers))
    }

    /// The error of an effect as the record shows it.
    pub(crate) fn masked(&self, error: &dyn fmt::Display) -> String {
        self.redactions().mask(&error.to_string()).into_owned()
    }

    /// The operation failed after a part of it was done: nothing is refunded.
    pub(crate) fn end_in_part(&mut self, seq: Seq) {
        if let Some(passing) = &mut self.0 {
            passing.reservations.drain(..).for_each(Reservation::commit_all);
        }
        self.end(seq, Ending::Failed);
    }

    /// The operation ended, once.
    pub(crate) fn end(&mut self, seq: Seq, ending: Ending) {
        let Some(passing) = self.0.take() else {
            return;
        };
        let Passing { layers, reservations, subject, operation } = *passing;
        for reservation in reservations {
            match ending {
                Ending::Failed => drop(reservation),
                // What may have been done counts as done.
                Ending::Done | Ending::Unknown => reservation.commit_all(),
            }
        }
        let ended = Ended { subject: &subject, operation, seq, ending };
        // Those that were last to see it come are first to see it end.
        for layer in layers.iter().rev() {
            let told = match layer {
                Layer::Log => catch_unwind(|| tracing::info!(%subject, operation, seq, ?ending, "ended")),
                Layer::Custom(custom) => catch_unwind(AssertUnwindSafe(|| custom.middleware.after(&ended))),
                Layer::Redact(_) | Layer::Limit(_) | Layer::Quota(_) => Ok(()),
            };
            if told.is_err() {
                drop(catch_unwind(|| tracing::error!(seq, "a layer panicked after an operation")));
            }
        }
    }
}

/// The redactions of a gate's layers.
pub(crate) fn redactions(layers: Option<&Arc<[Layer]>>) -> Redactions<'_> {
    Redactions(layers.map_or(&[], |layers| layers))
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom").field("within", &self.within).finish_non_exhaustive()
    }
}
