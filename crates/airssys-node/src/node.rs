//! A running application: read, checked, started, and stopped in order.
//!
//! Nothing is started before everything is checked: the application file, each manifest, each component's code and
//! imports. What is wrong is told with the file and line, and leaves nothing behind.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use airssys_osl::document::DocumentError;
use airssys_osl::{FilesError, Gate, Name, OwnFiles, Policy, Root, Subject};
use airssys_rt::{ChildSpec, MailboxOptions, ShutdownReport, Supervisor, SupervisorSpec, System};
use airssys_wasm::manifest::ComponentManifest;
use airssys_wasm::{
    CallError, Component, ComponentHandle, ComponentId, ComponentSpec, EngineError, EngineOptions, Engines,
    InvalidId, LoadError, Payload, Router, Runtime, SpecError,
};

use crate::application::{Application, Child, ComponentPlan, Input, Plan, Supervision, resolve};
use crate::status::Crashes;

/// The file that makes a folder an application.
const APPLICATION_FILE: &str = "airssys.toml";
const MANIFEST_FILE: &str = "Component.toml";
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a node does itself passes this gate, and where it keeps what it may keep.
#[derive(Debug)]
pub struct NodeOptions {
    /// Decides about what the node does itself with files, as the subject `airssys`: it reads `application:**`, and reads,
    /// creates and writes `cache:*`. [`own_policy`](crate::own_policy) allows that and no more.
    pub gate: Gate,
    /// A private directory for compiled code. None compiles at every start.
    pub cache: Option<Root>,
}

/// A running application. Cloning shares it; dropping it does not stop it.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    runtime: Runtime,
    root: Supervisor,
    components: Vec<ComponentHandle>,
    versions: HashMap<ComponentId, String>,
    plan: Plan,
    crashes: Crashes,
    started: Instant,
}

/// Why an application did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file could not be read.
    #[error("read the application in {}", .folder.display())]
    Read {
        /// The folder of the application.
        folder: PathBuf,
        /// Which file, and why.
        #[source]
        source: FilesError,
    },
    /// A file is not text.
    #[error("{file} is not UTF-8 text")]
    NotText {
        /// Relative to the application's folder.
        file: String,
        /// Where.
        #[source]
        source: std::string::FromUtf8Error,
    },
    /// A file says something that it may not.
    #[error(transparent)]
    Manifest(#[from] DocumentError),
    /// The engines did not start.
    #[error("start the engines")]
    Engine(#[from] EngineError),
    /// A component's code cannot run here.
    #[error("load {file}")]
    Load {
        /// Relative to the application's folder.
        file: String,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// A component cannot run here with what it was granted.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A name of the application is no component's name.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// A component failed to start; those started before it were stopped.
    #[error("start the application")]
    Start(#[from] airssys_rt::StartError),
}

/// How a node ended.
#[derive(Debug)]
pub struct StopReport {
    /// How long it took.
    pub took: Duration,
    /// What the actor system says of it.
    pub shutdown: ShutdownReport,
}

impl Node {
    /// Reads the application in `folder`, or the one whose `airssys.toml` is named, and starts it.
    pub async fn start(folder: &Path, options: NodeOptions) -> Result<Self, StartError> {
        let folder = match folder.file_name() {
            Some(name) if name == APPLICATION_FILE => {
                folder.parent().filter(|parent| *parent != Path::new(""))
            }
            _ => Some(folder),
        };
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        let NodeOptions { gate, cache } = options;
        let cache = cache.map(|cache| own_files(&gate, "cache", cache));
        let engines = Engines::new(EngineOptions { cache, ..EngineOptions::default() })?;
        let system = System::new();
        let runtime = Runtime::new(engines, system.clone());
        let (plan, code) = {
            let runtime = runtime.clone();
            let read = move || read(&gate, &folder, &runtime);
            tokio::task::spawn_blocking(read).await.expect("reading an application does not panic")?
        };
        let crashes = Crashes::watch(&system);
        let mut tree = Tree {
            runtime: &runtime,
            plan: &plan,
            code: &code,
            components: Vec::new(),
            versions: HashMap::new(),
        };
        let children = tree.children(&plan.children)?;
        let Tree { components, versions, .. } = tree;
        let name = plan.name.as_str().to_owned();
        let root = system.supervise(supervisor_spec(&name, plan.root, children)).await?;
        let started = Instant::now();
        let shared = Shared { name, runtime, root, components, versions, plan, crashes, started };
        Ok(Node { shared: Arc::new(shared) })
    }

    /// The application's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Every instance of every component, in start order.
    pub fn components(&self) -> &[ComponentHandle] {
        &self.shared.components
    }

    /// The component of this name, as `name`, `name#instance` or with the application before it.
    pub fn component(&self, name: &str) -> Option<&ComponentHandle> {
        let id = ComponentId::resolve(name, &self.shared.name).ok()?;
        self.shared.components.iter().find(|component| *component.id() == id)
    }

    /// The version that a component's manifest states.
    pub fn version(&self, id: &ComponentId) -> &str {
        self.shared.versions.get(id).map_or("", String::as_str)
    }

    /// Names, topics, refusals.
    pub fn router(&self) -> &Router {
        self.shared.runtime.router()
    }

    /// Where the application wants lines to go.
    pub fn input(&self) -> Option<&Input> {
        self.shared.plan.input.as_ref()
    }

    /// Asks the component that the application names for its report. None when it names none.
    pub async fn report(&self) -> Option<Result<Payload, CallError>> {
        let report = self.shared.plan.report.as_ref()?;
        let component = self.component(report.call.as_str())?;
        let payload = Payload::raw(report.payload.clone().into_bytes());
        Some(component.call(payload, Some(REPORT_TIMEOUT)).await)
    }

    /// Waits until the application has ended by itself: its root supervisor gave up or was stopped.
    pub async fn ended(&self) -> airssys_rt::Exit {
        self.shared.root.wait().await
    }

    /// Stops the tree, last started first, and ends after `timeout` at the latest.
    pub async fn stop(&self, timeout: Duration) -> StopReport {
        let started = Instant::now();
        let shutdown = self.shared.runtime.system().shutdown(timeout).await;
        StopReport { took: started.elapsed(), shutdown }
    }

    pub(crate) fn system(&self) -> &System {
        self.shared.runtime.system()
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    pub(crate) fn crashes(&self) -> &Crashes {
        &self.shared.crashes
    }
}

/// Compiled code by its path in the application, and whether it is metered: that is compiled for another engine.
type Code = HashMap<(String, bool), Component>;

fn read(gate: &Gate, folder: &Path, runtime: &Runtime) -> Result<(Plan, Code), StartError> {
    let failed = |source| StartError::Read { folder: folder.to_owned(), source };
    // Cargo links what it builds, and an author's manifest may name the result.
    let root = Root::open(folder).map_err(|error| failed(error.into()))?.with_hard_links();
    let files = own_files(gate, "application", root);
    let text = |file: &str| {
        let bytes = files.read(file, MANIFEST_BYTES_MAX).map_err(failed)?;
        String::from_utf8(bytes).map_err(|source| StartError::NotText { file: file.to_owned(), source })
    };
    let application = Application::parse(&text(APPLICATION_FILE)?, APPLICATION_FILE)?;
    let mut manifests = Vec::new();
    for component in application.folders() {
        let file = format!("{component}/{MANIFEST_FILE}");
        manifests.push(ComponentManifest::parse(&text(&file)?, &file)?);
    }
    let plan = resolve(application, manifests)?;
    let mut code = Code::new();
    for component in components_of(&plan.children) {
        if let Entry::Vacant(entry) = code.entry(code_key(component)) {
            let file = &entry.key().0;
            let bytes = files.read(file, airssys_wasm::COMPONENT_BYTES_MAX).map_err(failed)?;
            let loaded = runtime.load(&bytes, &component.limits);
            let loaded = loaded.map_err(|source| StartError::Load { file: file.clone(), source })?;
            entry.insert(loaded);
        }
    }
    Ok((plan, code))
}

/// A folder of the node's own, behind the gate.
fn own_files(gate: &Gate, name: &str, root: Root) -> OwnFiles {
    let name = Name::parse(name).expect("the node's own names are names");
    OwnFiles::new(gate.clone(), own_subject(), name, root)
}

/// Who the node is to its gate.
pub fn own_subject() -> Subject {
    Subject::parse("airssys").expect("the node's own name is a name")
}

/// What a node has to be allowed for itself, and no more.
pub fn own_policy() -> Policy {
    Policy::parse(include_str!("policy.toml"), "policy.toml").expect("the node's own policy is one")
}

fn code_key(component: &ComponentPlan) -> (String, bool) {
    let file = format!("{}/{}", component.folder, component.manifest.wasm);
    (file, component.limits.fuel_max.is_some())
}

fn components_of<'a>(children: &'a [Child]) -> Vec<&'a ComponentPlan> {
    let components = |child: &'a Child| match child {
        Child::Component(component) => vec![&**component],
        Child::Supervisor(supervisor) => components_of(&supervisor.children),
    };
    children.iter().flat_map(components).collect()
}

/// The plan on its way to becoming child specifications.
struct Tree<'a> {
    runtime: &'a Runtime,
    plan: &'a Plan,
    code: &'a Code,
    components: Vec<ComponentHandle>,
    versions: HashMap<ComponentId, String>,
}

impl Tree<'_> {
    fn children(&mut self, children: &[Child]) -> Result<Vec<ChildSpec>, StartError> {
        let mut specs = Vec::new();
        for child in children {
            match child {
                Child::Supervisor(supervisor) => {
                    let children = self.children(&supervisor.children)?;
                    let spec = supervisor_spec(supervisor.name.as_str(), supervisor.supervision, children);
                    let child = ChildSpec::supervisor(spec);
                    specs.push(child.restart(supervisor.restart).shutdown(supervisor.shutdown));
                }
                Child::Component(component) => {
                    for instance in 0..component.instances {
                        specs.push(self.component(component, instance)?);
                    }
                }
            }
        }
        Ok(specs)
    }

    fn component(&mut self, component: &ComponentPlan, instance: u32) -> Result<ChildSpec, StartError> {
        let id = ComponentId::new(self.plan.name.as_str(), component.name.as_str(), &instance.to_string())?;
        let (spec, handle) = self.runtime.child(ComponentSpec {
            id,
            component: self.code[&code_key(component)].clone(),
            limits: component.limits.clone(),
            grants: component.grants.clone(),
            accepts: component.manifest.accepts.clone(),
            config: component.config.clone(),
            mailbox: MailboxOptions::bounded(component.mailbox.capacity).overflow(component.mailbox.overflow),
        })?;
        self.versions.insert(handle.id().clone(), component.manifest.version.to_string());
        self.components.push(handle);
        Ok(spec.restart(component.restart).shutdown(component.shutdown))
    }
}

fn supervisor_spec(name: &str, supervision: Supervision, children: Vec<ChildSpec>) -> SupervisorSpec {
    SupervisorSpec {
        strategy: supervision.strategy,
        intensity: supervision.intensity,
        period: supervision.period,
        children,
        ..SupervisorSpec::new(name)
    }
}
