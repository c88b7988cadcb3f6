//! Ours: a node made of nothing but the public API of airssys-wasm and airssys-rt, with everything on.
//!
//! Each component has a name, grants, limits, a bounded mailbox and a supervisor that restarts it.

use std::time::Duration;

use airssys_rt::{MailboxOptions, Overflow, Supervisor, SupervisorSpec, System};
use airssys_wasm::manifest::{Accepts, Capabilities, Limits, Service, TargetPattern, TopicPattern};
use airssys_wasm::{Component, ComponentHandle, ComponentId, ComponentSpec, Engines, Runtime};

use crate::Outcome;

/// The default of an application file.
pub(crate) const MAILBOX_LEN: usize = 1024;

/// An actor system on threads of its own.
pub(crate) struct Node {
    pub(crate) tokio: tokio::runtime::Runtime,
    pub(crate) runtime: Runtime,
}

/// A supervisor and the components below it.
pub(crate) struct Tree {
    pub(crate) supervisor: Supervisor,
    pub(crate) components: Vec<ComponentHandle>,
}

impl Node {
    pub(crate) fn new(engines: &Engines, workers: usize) -> Outcome<Self> {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_time().build()?;
        let runtime = Runtime::new(engines.clone(), System::new());
        Ok(Node { tokio, runtime })
    }

    /// Runs the future on a worker: with one worker, nothing of it runs beside the actors.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> Outcome<T> {
        self.tokio.block_on(self.tokio.spawn(future))?
    }

    /// One for one, and as many restarts as it takes.
    pub(crate) fn supervise(&self, name: &str, specs: Vec<ComponentSpec>) -> Outcome<Tree> {
        let mut spec = SupervisorSpec::new(name).intensity(u32::MAX, Duration::from_millis(1));
        let mut components = Vec::with_capacity(specs.len());
        for component in specs {
            let (child, handle) = self.runtime.child(component)?;
            spec = spec.child(child);
            components.push(handle);
        }
        let supervisor = self.tokio.block_on(self.runtime.system().supervise(spec))?;
        Ok(Tree { supervisor, components })
    }

    /// Frees the names as well.
    pub(crate) fn stop(&self, tree: Tree) {
        self.tokio.block_on(tree.supervisor.stop());
        tree.components.iter().for_each(ComponentHandle::retire);
    }
}

/// A component that may send to whom its configuration names with `to`, and to nobody else: the right to send to a
/// mailbox that makes senders wait would put it on a fibre.
pub(crate) fn spec(
    name: &str,
    component: &Component,
    config: &[(String, String)],
    overflow: Overflow,
) -> Outcome<ComponentSpec> {
    let to = config.iter().filter(|(key, _)| key == "to");
    Ok(ComponentSpec {
        id: ComponentId::resolve(name, "bench")?,
        component: component.clone(),
        limits: Limits::default(),
        grants: Capabilities {
            send: to.map(|(_, name)| TargetPattern::parse(name)).collect::<Result<_, _>>()?,
            publish: vec![TopicPattern::parse("#")?],
            subscribe: Vec::new(),
            services: Service::ALL.into_iter().collect(),
        },
        accepts: Accepts::All,
        config: config.to_vec(),
        mailbox: MailboxOptions::bounded(MAILBOX_LEN).overflow(overflow),
    })
}

/// Components in a ring: each sends to the next.
pub(crate) fn ring(component: &Component, guests: usize, overflow: Overflow) -> Outcome<Vec<ComponentSpec>> {
    let name = |index: usize| format!("guest-{}", index % guests);
    let to = |index: usize| [("to".to_owned(), name(index + 1))];
    (0..guests).map(|index| spec(&name(index), component, &to(index), overflow)).collect()
}
