//! A component as an actor: the shell that turns messages into calls of the guest, and traps into exits.
//!
//! The actor owns its instance. It starts with a fresh one from the loaded component at every restart; its mailbox and
//! address stay. A message that the guest crashed on is not handled again: it is in the [`CrashReport`], and whoever
//! waits for its answer learns at once that the component died.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use airssys_rt::{Actor, Context, ExitReason};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::component::Loaded;
use crate::crash::{CrashCause, CrashMessage, CrashReport, diagnose};
use crate::envelope::Envelope;
use crate::host::{Answered, Identity, Path, wire};
use crate::instance::{Fatal, Instance, Parts};
use crate::manifest::Limits;

/// What a component's mailbox holds.
#[derive(Debug)]
pub(crate) enum ComponentMessage {
    Deliver(Envelope),
    Callback(Answered),
}

/// What every instance of one component is made from.
pub(crate) struct Recipe {
    pub(crate) component: Arc<Loaded>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limits: Limits,
    pub(crate) memory_bytes: AtomicUsize,
    path: OnceLock<Path>,
}

pub(crate) struct ComponentActor {
    recipe: Arc<Recipe>,
    instance: Option<Instance>,
}

impl ComponentActor {
    pub(crate) fn new(recipe: Arc<Recipe>) -> Self {
        ComponentActor { recipe, instance: None }
    }

    async fn deliver(&mut self, mut envelope: Envelope) -> Result<(), ExitReason> {
        let instance = self.instance.as_mut().expect("an actor that handles messages has started");
        // The clock is read only for messages that have a deadline or can wait.
        let suspends = instance.path() == Path::Suspending;
        let now = (suspends || envelope.deadline.is_some()).then(Instant::now);
        if envelope.deadline.zip(now).is_some_and(|(deadline, now)| deadline <= now) {
            self.recipe.identity.router.count_expired();
            return Ok(());
        }
        let own = now.filter(|_| suspends).map(|now| now + self.recipe.limits.deadline);
        let deadline = match (own, envelope.deadline) {
            (Some(own), Some(theirs)) => Some(own.min(theirs)),
            (own, theirs) => own.or(theirs),
        };
        let handled = match own {
            // Boxed, so that every idle actor does not hold the room that a suspended call needs.
            Some(own) => {
                let handled = instance.handle_message(&mut envelope, deadline);
                Box::pin(tokio::time::timeout_at(own, handled)).await
            }
            None => Ok(instance.handle_message_directly(&mut envelope)),
        };
        instance.take_back(&mut envelope);
        self.settle(handled, Some(&envelope)).await
    }

    async fn call_back(&mut self, answered: Answered) -> Result<(), ExitReason> {
        let limit = self.recipe.limits.deadline;
        let instance = self.instance.as_mut().expect("an actor that handles messages has started");
        let handled = Box::pin(tokio::time::timeout(limit, instance.handle_callback(answered))).await;
        self.settle(handled, None).await
    }

    /// What a call of the guest means for the actor.
    async fn settle(
        &mut self,
        handled: Result<wasmtime::Result<Result<(), Fatal>>, Elapsed>,
        envelope: Option<&Envelope>,
    ) -> Result<(), ExitReason> {
        match handled {
            Ok(Ok(Ok(()))) => {
                let bytes = self.instance.as_ref().map_or(0, Instance::memory_bytes);
                self.recipe.memory_bytes.store(bytes, Ordering::Relaxed);
                Ok(())
            }
            Ok(Ok(Err(Fatal { reason }))) => {
                Err(self.crash(CrashCause::Fatal { reason }, Vec::new(), envelope))
            }
            Ok(Err(error)) => {
                match diagnose(error, self.instance.as_ref().and_then(Instance::memory_refused)) {
                    Some((cause, backtrace)) => Err(self.crash(cause, backtrace, envelope)),
                    None => {
                        // The guest was interrupted because this actor must end: whoever polls us drops us for it.
                        self.instance = None;
                        std::future::pending().await
                    }
                }
            }
            Err(_elapsed) => Err(self.crash(self.overdue(), Vec::new(), envelope)),
        }
    }

    fn overdue(&self) -> CrashCause {
        let ms_max = u64::try_from(self.recipe.limits.deadline.as_millis()).unwrap_or(u64::MAX);
        CrashCause::Deadline { ms_max }
    }

    /// The instance goes first: nothing of it may act after its crash is known.
    fn crash(
        &mut self,
        cause: CrashCause,
        backtrace: Vec<crate::crash::Frame>,
        envelope: Option<&Envelope>,
    ) -> ExitReason {
        self.instance = None;
        ExitReason::error(CrashReport {
            component: self.recipe.identity.target.id.clone(),
            cause,
            backtrace,
            message: envelope.map(CrashMessage::from),
        })
    }
}

impl Actor for ComponentActor {
    type Message = ComponentMessage;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        // An instance that was left in the middle of a call can be told nothing any more, not even to stop.
        ctx.finish_message_on_stop(true);
        let recipe = Arc::clone(&self.recipe);
        let parts = Parts {
            component: &recipe.component,
            identity: &recipe.identity,
            limits: &recipe.limits,
            kill: ctx.kill_flag(),
            path: recipe.path(),
        };
        let started = async {
            let instance = self.instance.insert(Instance::new(parts).await?);
            instance.init().await
        };
        // Boxed, as all but the handling of messages is: what a future holds, an idle actor holds.
        let started = Box::pin(tokio::time::timeout(recipe.limits.deadline, started)).await;
        self.settle(started, None).await
    }

    async fn handle(&mut self, message: ComponentMessage, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match message {
            ComponentMessage::Deliver(envelope) => self.deliver(envelope).await,
            ComponentMessage::Callback(answered) => self.call_back(answered).await,
        }
    }

    /// A crash gets no last words: its guest may not be in a state to act.
    async fn stop(&mut self, reason: &ExitReason, ctx: &mut Context<Self>) {
        let Some(mut instance) = self.instance.take().filter(Instance::can_be_called) else { return };
        if reason.is_abnormal() {
            return;
        }
        let told = match ctx.restart_follows() {
            true => wire::StopReason::Restart,
            false => wire::StopReason::Shutdown,
        };
        let id = &self.recipe.identity.target.id;
        let shutdown = tokio::time::timeout(self.recipe.limits.deadline, instance.shutdown(told));
        match Box::pin(shutdown).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(component = %id, error = %format!("{error:#}"), "failed to shut down in order");
            }
            Err(_elapsed) => tracing::warn!(component = %id, "took too long to shut down"),
        }
    }
}

impl Recipe {
    pub(crate) fn new(component: Arc<Loaded>, identity: Arc<Identity>, limits: Limits) -> Self {
        Recipe { component, identity, limits, memory_bytes: AtomicUsize::new(0), path: OnceLock::new() }
    }

    /// Straight where nothing it does can wait: neither its imports nor a mailbox that makes senders wait. Decided at
    /// the first start, when the application's components are all registered.
    fn path(&self) -> Path {
        let Identity { target, router, grants, .. } = &*self.identity;
        *self.path.get_or_init(|| match self.component.waits() || router.sends_may_wait(&target.id, grants) {
            true => Path::Suspending,
            false => Path::Direct,
        })
    }
}
