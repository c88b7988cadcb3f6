//! The way in for whoever embeds components: load one, make it a child of a supervisor, talk to it.
//!
//! A [`Runtime`] joins the engines, the routing and an actor system. It starts nothing by itself: a component becomes
//! a [`ChildSpec`], and the supervisor that it is given to decides when it lives.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use airssys_rt::{ActorId, ChildSpec, ExitReason, MailboxOptions, MailboxStats, System};

use crate::actor::{ComponentActor, Recipe};
use crate::call::{self, CallError, Request, SendError};
use crate::component::{Component, LoadError};
use crate::crash::{CrashCause, CrashReport};
use crate::engine::Engines;
use crate::envelope::{ComponentId, Envelope, Payload};
use crate::flood::Flood;
use crate::host::Identity;
use crate::manifest::{Accepts, Capabilities, Limits};
use crate::router::{Router, Target};

/// Components on one actor system. Cloning shares everything.
#[derive(Clone)]
pub struct Runtime {
    engines: Engines,
    router: Router,
    system: System,
}

/// What makes a component an actor of this node. There is no default: each field is a decision.
pub struct ComponentSpec {
    /// Who it is. Two components of one node cannot have the same id.
    pub id: ComponentId,
    /// Its code.
    pub component: Component,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub grants: Capabilities,
    /// Which codecs it reads.
    pub accepts: Accepts,
    /// Its table of the application file, given to `init`.
    pub config: Vec<(String, String)>,
    /// How many messages wait for it, and what happens to one more.
    pub mailbox: MailboxOptions,
}

/// Why a component was not made an actor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Another component has this id.
    #[error("there is a component {id} already")]
    Taken {
        /// The id.
        id: ComponentId,
    },
    /// The component cannot run here, or not with these grants.
    #[error("{id} cannot run here")]
    Load {
        /// Which component.
        id: ComponentId,
        /// Why.
        #[source]
        source: LoadError,
    },
}

impl Runtime {
    /// Components will be actors of `system`.
    pub fn new(engines: Engines, system: System) -> Self {
        Runtime { engines, router: Router::default(), system }
    }

    /// Names, topics, refusals.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The actor system.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// The engines.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Checks and compiles. Blocks for as long as the compiler takes: call it where blocking is allowed.
    pub fn load(&self, bytes: &[u8], limits: &Limits) -> Result<Component, LoadError> {
        Component::load(&self.engines, bytes, limits.fuel_max.is_some())
    }

    /// Registers the component's id and gives the child for a supervisor. Messages sent before it starts wait in its
    /// mailbox. Dropping the handle changes nothing; [`ComponentHandle::retire`] frees the id.
    pub fn child(&self, spec: ComponentSpec) -> Result<(ChildSpec, ComponentHandle), SpecError> {
        let ComponentSpec { id, component, limits, grants, accepts, config, mailbox } = spec;
        if let Err(source) = component.check_actor(&grants) {
            return Err(SpecError::Load { id, source });
        }
        // The actor's address is part of what its instances are made from, so the recipe comes after the child.
        let later = Arc::new(OnceLock::<Arc<Recipe>>::new());
        let recipe = Arc::clone(&later);
        let (child, address) = ChildSpec::worker(&self.system, id.to_string(), mailbox, move || {
            let recipe = recipe.get().expect("a child is started after the call that made it has returned");
            ComponentActor::new(Arc::clone(recipe))
        });
        let target = Arc::new(Target {
            id: id.clone(),
            actor: address.id(),
            address,
            payload_bytes_max: limits.payload_bytes_max,
            accepts,
            flood: Flood::default(),
        });
        if !self.router.register(Arc::clone(&target)) {
            return Err(SpecError::Taken { id });
        }
        let identity = Identity { target: Arc::clone(&target), router: self.router.clone(), grants, config };
        let recipe = Recipe::new(Arc::clone(component.loaded()), Arc::new(identity), limits);
        let recipe = Arc::clone(later.get_or_init(|| Arc::new(recipe)));
        Ok((child, ComponentHandle { target, recipe, router: self.router.clone() }))
    }
}

/// One component, as the host sees it. Valid across restarts.
#[derive(Clone)]
pub struct ComponentHandle {
    target: Arc<Target>,
    recipe: Arc<Recipe>,
    router: Router,
}

impl fmt::Debug for ComponentHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentHandle({})", self.target.id)
    }
}

impl ComponentHandle {
    /// Who it is.
    pub fn id(&self) -> &ComponentId {
        &self.target.id
    }

    /// Its actor, the same across restarts.
    pub fn actor(&self) -> ActorId {
        self.target.actor
    }

    /// Its code.
    pub fn component(&self) -> Component {
        Component::from(Arc::clone(&self.recipe.component))
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.recipe.limits
    }

    /// Its mailbox now.
    pub fn mailbox(&self) -> MailboxStats {
        self.target.address.stats()
    }

    /// Bytes of linear memory that its instance held after the last message.
    pub fn memory_bytes(&self) -> usize {
        self.recipe.memory_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sends; where the mailbox's policy is to wait, waits for room. Dropping the future before it is done sends
    /// nothing. The payload comes back in the error.
    pub async fn send(&self, payload: Payload) -> Result<(), SendError> {
        self.target.deliver_waiting(Envelope::from_host(payload)).await.map_err(|undelivered| SendError {
            to: self.target.id.to_string(),
            payload: undelivered.envelope.payload,
            refused: undelivered.refused,
        })
    }

    /// Sends and waits for the answer, by default 30 s, at most a year. Dropping the future gives the request up; the component may
    /// still handle it.
    pub async fn call(&self, payload: Payload, timeout: Option<Duration>) -> Result<Payload, CallError> {
        let deadline = call::deadline(timeout, None);
        let number = call::request_number();
        call::ask(
            &self.target,
            Request { number, from: None, payload, deadline, answer_bytes_max: u64::MAX, trace: None },
        )
        .await
    }

    /// Ends the instance as if it had crashed; its supervisor acts. A guest that is running is interrupted at its next
    /// tick. False when there is no instance.
    pub fn crash(&self) -> bool {
        self.target.address.exit(ExitReason::error(CrashReport {
            component: self.target.id.clone(),
            cause: CrashCause::OnPurpose,
            backtrace: Vec::new(),
            message: None,
        }))
    }

    /// Frees the id. Messages still reach the actor through handles that exist, as long as it runs.
    pub fn retire(&self) {
        self.router.unregister(&self.target);
    }
}
