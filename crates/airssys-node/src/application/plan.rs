//! An application and its manifests joined: the tree to start, in order, with final limits and grants.
//!
//! Nothing in a [`Plan`] is a wish: a grant is in it only if the manifest requests it, a limit only if it tightens.

use airssys_osl::document::{DocumentError, Position, Problem};
use airssys_wasm::manifest::{
    Capabilities, ComponentManifest, ComponentName, Limits, RelativePath, TopicPattern,
};

use super::{
    Application, ComponentEntry, Input, Mailbox, Report, Restart, Shutdown, Supervision, SupervisorEntry,
};

/// What the node starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The application: the namespace of its components and the name of the root supervisor.
    pub name: ComponentName,
    /// How the root supervises.
    pub root: Supervision,
    /// The children of the root, in start order.
    pub children: Vec<Child>,
    /// Where lines go, if the application takes any.
    pub input: Option<Input>,
    /// What is asked at the end, if anything.
    pub report: Option<Report>,
    /// Topics that are printed while the application runs.
    pub show: Vec<TopicPattern>,
}

/// A child of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Child {
    /// A supervisor with children of its own.
    Supervisor(SupervisorPlan),
    /// A component.
    Component(Box<ComponentPlan>),
}

/// A supervisor below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorPlan {
    /// Its name, unique among all children of the application.
    pub name: ComponentName,
    /// How it supervises.
    pub supervision: Supervision,
    /// When its own supervisor starts it again.
    pub restart: Restart,
    /// How long it may take to stop.
    pub shutdown: Shutdown,
    /// Its children, in start order.
    pub children: Vec<Child>,
}

/// A component and everything that was decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentPlan {
    /// Its name, unique among all children of the application.
    pub name: ComponentName,
    /// The folder of its manifest, relative to the application file.
    pub folder: RelativePath,
    /// What its author says of it. Its limits and capabilities are the author's; those below hold.
    pub manifest: ComponentManifest,
    /// The limits of each instance.
    pub limits: Limits,
    /// What it may do.
    pub grants: Capabilities,
    /// When it is started again.
    pub restart: Restart,
    /// How long it may take to stop.
    pub shutdown: Shutdown,
    /// How many instances run, each a child of its own, numbered from 0.
    pub instances: u32,
    /// The queue before each instance.
    pub mailbox: Mailbox,
    /// What its `init` gets, in the order of the file.
    pub config: Vec<(String, String)>,
}

/// Joins an application with the manifests of its components, one for each of [`Application::folders`], in that order.
///
/// # Panics
/// If the number of manifests is another than that of the components.
pub fn resolve(application: Application, manifests: Vec<ComponentManifest>) -> Result<Plan, DocumentError> {
    assert_eq!(application.components.len(), manifests.len(), "one manifest for each component");
    let own = application.name.as_str();
    let mut problems = Vec::new();
    let mut nodes: Vec<Node> = Vec::with_capacity(application.supervisors.len() + manifests.len());
    for (entry, manifest) in application.components.into_iter().zip(manifests) {
        nodes.push(Node::component(entry, manifest, own, &mut problems));
    }
    if let Some(input) = &application.input {
        check_line_size(&input.value, input.at, &nodes, &mut problems);
    }
    if let Some(error) = DocumentError::of(&application.file, problems) {
        return Err(error);
    }
    nodes.extend(application.supervisors.into_iter().map(Node::supervisor));
    nodes.sort_by_key(|node| node.at);
    let children = children_of(&application.name, &application.name, &mut nodes);
    Ok(Plan {
        children,
        name: application.name,
        root: application.root,
        input: application.input.map(|input| input.value),
        report: application.report.map(|report| report.value),
        show: application.show,
    })
}

/// A child that does not yet stand in the tree.
struct Node {
    at: Position,
    parent: Option<ComponentName>,
    child: Child,
}

impl Node {
    fn component(
        entry: ComponentEntry,
        manifest: ComponentManifest,
        own: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let limits = entry.limits.tighten(&manifest.limits, problems);
        let grants = entry.grants.within(&manifest.capabilities, own, problems);
        let child = Child::Component(Box::new(ComponentPlan {
            name: entry.name.value,
            folder: entry.folder,
            manifest,
            limits,
            grants,
            restart: entry.restart,
            shutdown: entry.shutdown,
            instances: entry.instances,
            mailbox: entry.mailbox,
            config: entry.config,
        }));
        Node { at: entry.at, parent: entry.supervisor.map(|name| name.value), child }
    }

    fn supervisor(entry: SupervisorEntry) -> Self {
        let child = Child::Supervisor(SupervisorPlan {
            name: entry.name.value,
            supervision: entry.supervision,
            restart: entry.restart,
            shutdown: entry.shutdown,
            children: Vec::new(),
        });
        Node { at: entry.at, parent: entry.parent.map(|name| name.value), child }
    }
}

/// Takes the children of `parent` out of `nodes`, with everything below them. Ends because parsing refused circles.
fn children_of(parent: &ComponentName, root: &ComponentName, nodes: &mut Vec<Node>) -> Vec<Child> {
    let own = |node: &mut Node| node.parent.as_ref().unwrap_or(root) == parent;
    let mut children: Vec<Child> = nodes.extract_if(.., own).map(|node| node.child).collect();
    for child in &mut children {
        match child {
            Child::Supervisor(supervisor) => {
                supervisor.children = children_of(&supervisor.name, root, nodes);
            }
            Child::Component(_) => {}
        }
    }
    children
}

/// A line that the input lets pass must fit the component that gets it.
fn check_line_size(input: &Input, at: Position, nodes: &[Node], problems: &mut Vec<Problem>) {
    let target = nodes.iter().find_map(|node| match &node.child {
        Child::Component(component) if component.name == input.to => Some(component),
        Child::Component(_) | Child::Supervisor(_) => None,
    });
    let Some(target) = target else { return };
    let line_bytes_max = u64::try_from(input.line_bytes_max).unwrap_or(u64::MAX);
    if line_bytes_max > target.limits.payload_bytes_max {
        let message = format!(
            "lines of {line_bytes_max} bytes are let in, but `{}` takes payloads of at most {}",
            input.to, target.limits.payload_bytes_max
        );
        let help = Some("lower `line_bytes_max` of [input]".to_owned());
        problems.push(Problem { at, message, help });
    }
}
