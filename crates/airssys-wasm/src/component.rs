//! A component, checked, compiled and linked before the first instance exists.
//!
//! Loading answers every question that does not need an instance: is it a component, does it export what an actor
//! must, does this host have everything it imports, may it import that. What remains for an instance is memory and a
//! call of `init`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use wasmtime::component::InstancePre;
use wasmtime::component::types::ComponentItem;

use crate::engine::{EngineError, Engines, Flavour, Tier};
use crate::host::{CONTRACT, HostLinker, HostState, Path, Provided};
use crate::manifest::{Capabilities, Service};

/// A component larger than this is refused before it is looked at.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;

const LIFECYCLE: &str = "airssys:core/lifecycle";
const ASYNC_LIFECYCLE: &str = "airssys:core/async-lifecycle";
/// Interfaces whose functions may suspend the guest, so that it needs a fibre.
const WAITING_INTERFACES: [&str; 2] = ["airssys:core/calls", "airssys:core/sleep"];

/// A loaded component. Cloning shares it.
#[derive(Clone)]
pub struct Component {
    loaded: Arc<Loaded>,
}

pub(crate) struct Loaded {
    pub(crate) description: Description,
    engines: Engines,
    flavour: Flavour,
    compiled: wasmtime::component::Component,
    prepared: [[OnceLock<InstancePre<HostState>>; 2]; 2],
}

/// What a component is, by looking at it.
#[derive(Debug, Clone)]
pub struct Description {
    /// blake3 of its bytes.
    pub digest: blake3::Hash,
    /// Its size.
    pub bytes: u64,
    /// What its exports make it.
    pub kind: Kind,
    /// What it needs, in the order of its file.
    pub imports: Vec<Import>,
    /// What it offers, in the order of its file.
    pub exports: Vec<Export>,
}

/// What a component's exports make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Exports `airssys:core/lifecycle`.
    Actor,
    /// Exports `airssys:core/async-lifecycle`.
    AsyncActor,
    /// Exports `wasi:cli/run`.
    Command,
    /// Exports none of these.
    Other,
}

/// One interface that a component imports.
#[derive(Debug, Clone)]
pub struct Import {
    /// As the component names it.
    pub interface: String,
    /// The functions it uses of it.
    pub functions: Vec<String>,
    /// What of this host satisfies it.
    pub satisfied: Satisfied,
}

/// Whether this host has what an import asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Satisfied {
    /// The host's interface of this name.
    By(String),
    /// The host has the interface in another version.
    OtherVersion(String),
    /// The host has the interface without these functions.
    Without(Vec<String>),
    /// The host does not have it.
    Missing,
}

/// One interface that a component exports.
#[derive(Debug, Clone)]
pub struct Export {
    /// As the component names it.
    pub interface: String,
    /// The functions it has.
    pub functions: Vec<String>,
}

/// Why a component was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are not WebAssembly.
    #[error("this is not WebAssembly: it does not begin with the bytes 00 61 73 6d")]
    NotWasm,
    /// The bytes are a core module.
    #[error("this is a core module, not a component; make one of it with `wasm-tools component new`")]
    CoreModule,
    /// It is larger than any component may be.
    #[error("the component has {bytes} bytes; the limit is {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// It is malformed, or uses a WebAssembly feature that is off.
    #[error("the component is not valid")]
    Invalid(#[source] wasmtime::Error),
    /// It imports what this host does not have.
    #[error("the component imports `{interface}`{}, which this host does not have{}", functions(.missing), other(.host_has))]
    MissingImport {
        /// The interface.
        interface: String,
        /// The functions that are missing; all of them when empty.
        missing: Vec<String>,
        /// The version that the host has instead.
        host_has: Option<String>,
    },
    /// It imports a service that it was not granted.
    #[error(
        "the component imports `{interface}` without the grant `{grant}`; grant it in the application file and request it in Component.toml"
    )]
    NotGranted {
        /// The interface.
        interface: String,
        /// The grant that it needs.
        grant: &'static str,
    },
    /// It is not an actor.
    #[error("the component does not export `airssys:core/lifecycle@{CONTRACT}`{}", .hint)]
    NotAnActor {
        /// What it is instead, if that helps.
        hint: &'static str,
    },
    /// The engine could not be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its imports have names that fit and types that do not.
    #[error("the component's imports do not fit this host")]
    Link(#[source] wasmtime::Error),
}

fn functions(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

fn other(version: &Option<String>) -> String {
    version.as_ref().map(|version| format!("; it has `{version}`")).unwrap_or_default()
}

impl Component {
    /// Compiles and checks. Takes as long as the compiler does, or less than a millisecond from the cache.
    pub fn load(engines: &Engines, bytes: &[u8], metered: bool) -> Result<Self, LoadError> {
        let (compiled, flavour) = compile(engines, bytes, metered)?;
        let description = describe(engines, bytes, &compiled, flavour)?;
        let loaded =
            Loaded { description, engines: engines.clone(), flavour, compiled, prepared: Default::default() };
        Ok(Component { loaded: Arc::new(loaded) })
    }

    /// What it is.
    pub fn description(&self) -> &Description {
        &self.loaded.description
    }

    /// Whether it can run as an actor of this node with these grants.
    pub fn check_actor(&self, grants: &Capabilities) -> Result<(), LoadError> {
        let description = &self.loaded.description;
        match description.kind {
            Kind::Actor | Kind::AsyncActor => {}
            Kind::Command => {
                return Err(LoadError::NotAnActor { hint: "; it is a command: run it with `airssys run`" });
            }
            Kind::Other => return Err(LoadError::NotAnActor { hint: "" }),
        }
        for import in &description.imports {
            check_import(import)?;
            if let Some(service) = service_of(&import.interface).filter(|service| !grants.may_use(*service)) {
                let interface = import.interface.clone();
                return Err(LoadError::NotGranted { interface, grant: service.key() });
            }
        }
        // Types are compared here, so that a wrong one refuses the component and not its first instance.
        let path = if self.loaded.waits() { Path::Suspending } else { Path::Direct };
        self.loaded.prepared(path, Tier::Pool)?;
        Ok(())
    }

    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Component").field(&self.loaded.description.digest).finish()
    }
}

impl From<Arc<Loaded>> for Component {
    fn from(loaded: Arc<Loaded>) -> Self {
        Component { loaded }
    }
}

impl Loaded {
    /// Whether something it imports, or the way it is called, can suspend it.
    pub(crate) fn waits(&self) -> bool {
        self.description.kind == Kind::AsyncActor
            || self.description.imports.iter().any(|import| {
                let base = split_version(&import.interface).0;
                WAITING_INTERFACES.contains(&base) || base.starts_with("wasi:")
            })
    }

    pub(crate) fn compiled(&self) -> &wasmtime::component::Component {
        &self.compiled
    }

    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        self.compiled.engine()
    }

    pub(crate) fn uses_wasi(&self) -> bool {
        self.description.imports.iter().any(|import| import.interface.starts_with("wasi:"))
    }

    pub(crate) fn metered(&self) -> bool {
        self.flavour.fuel
    }

    /// The name of the lifecycle interface that the component exports.
    pub(crate) fn lifecycle(&self) -> Option<&str> {
        let base = if self.description.kind == Kind::AsyncActor { ASYNC_LIFECYCLE } else { LIFECYCLE };
        let mut names = self.description.exports.iter().map(|export| export.interface.as_str());
        names.find(|name| split_version(name).0 == base)
    }

    /// The component linked for a path, ready to make instances in a tier.
    pub(crate) fn prepared(&self, path: Path, tier: Tier) -> Result<&InstancePre<HostState>, LoadError> {
        let cell = &self.prepared[path as usize][tier as usize];
        if let Some(prepared) = cell.get() {
            return Ok(prepared);
        }
        let engine = self.engines.engine(self.flavour, tier)?;
        let host = HostLinker::new(&engine, path, self.flavour.concurrency).map_err(LoadError::Link)?;
        let prepared = match tier {
            Tier::Pool => host.linker.instantiate_pre(&self.compiled),
            Tier::OnDemand => self
                .engines
                .transfer(&self.compiled, &engine)
                .and_then(|component| host.linker.instantiate_pre(&component)),
        };
        let prepared = prepared.map_err(LoadError::Link)?;
        Ok(cell.get_or_init(|| prepared))
    }
}

/// Refuses an import that the host does not satisfy.
pub(crate) fn check_import(import: &Import) -> Result<(), LoadError> {
    let interface = import.interface.clone();
    match &import.satisfied {
        Satisfied::By(_) => Ok(()),
        Satisfied::OtherVersion(has) => {
            Err(LoadError::MissingImport { interface, missing: Vec::new(), host_has: Some(has.clone()) })
        }
        Satisfied::Without(missing) => {
            Err(LoadError::MissingImport { interface, missing: missing.clone(), host_has: None })
        }
        Satisfied::Missing => {
            Err(LoadError::MissingImport { interface, missing: import.functions.clone(), host_has: None })
        }
    }
}

/// The service that an interface belongs to. Messaging and topics are decided at each name instead.
fn service_of(interface: &str) -> Option<Service> {
    match split_version(interface).0 {
        "airssys:core/logging" => Some(Service::Log),
        "airssys:core/clock" => Some(Service::Clock),
        "airssys:core/random" => Some(Service::Random),
        "airssys:core/sleep" | "airssys:core/async-sleep" => Some(Service::Sleep),
        base if base.starts_with("wasi:") => Some(Service::Wasi),
        _ => None,
    }
}

/// The engine without concurrency support is tried first: most components need no more, and calls on it cost less.
fn compile(
    engines: &Engines,
    bytes: &[u8],
    metered: bool,
) -> Result<(wasmtime::component::Component, Flavour), LoadError> {
    check_header(bytes)?;
    let digest = blake3::hash(bytes);
    let plain = Flavour { concurrency: false, fuel: metered };
    let error = match engines.compile(&engines.engine(plain, Tier::Pool)?, bytes, &digest) {
        Ok(compiled) => return Ok((compiled, plain)),
        Err(error) => error,
    };
    let concurrent = Flavour { concurrency: true, fuel: metered };
    match engines.compile(&engines.engine(concurrent, Tier::Pool)?, bytes, &digest) {
        Ok(compiled) => Ok((compiled, concurrent)),
        // What is wrong with it on both engines is wrong with it.
        Err(_) => Err(LoadError::Invalid(error)),
    }
}

fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: bytes.len() as u64, bytes_max: COMPONENT_BYTES_MAX });
    }
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [0, b'a', b's', b'm', ..] => Ok(()),
        _ => Err(LoadError::NotWasm),
    }
}

fn describe(
    engines: &Engines,
    bytes: &[u8],
    compiled: &wasmtime::component::Component,
    flavour: Flavour,
) -> Result<Description, LoadError> {
    let engine = engines.engine(flavour, Tier::Pool)?;
    // The suspending linker has everything that the direct one has.
    let provided =
        HostLinker::new(&engine, Path::Suspending, flavour.concurrency).map_err(LoadError::Link)?.provided;
    let ty = compiled.component_type();
    let imports = ty
        .imports(&engine)
        .filter_map(|(name, item)| {
            let functions = used_functions(&engine, &item.ty)?;
            let satisfied = satisfied(name, &functions, &provided);
            Some(Import { interface: name.to_owned(), functions, satisfied })
        })
        .collect();
    let exports: Vec<Export> = ty
        .exports(&engine)
        .filter_map(|(name, item)| {
            Some(Export { interface: name.to_owned(), functions: used_functions(&engine, &item.ty)? })
        })
        .collect();
    let exported = |base: &str| exports.iter().any(|export| fits(&export.interface, base));
    let kind = if exported(&format!("{LIFECYCLE}@{CONTRACT}")) {
        Kind::Actor
    } else if exported(&format!("{ASYNC_LIFECYCLE}@{CONTRACT}")) {
        Kind::AsyncActor
    } else if exported("wasi:cli/run@0.2.0") {
        Kind::Command
    } else {
        Kind::Other
    };
    Ok(Description { digest: blake3::hash(bytes), bytes: bytes.len() as u64, kind, imports, exports })
}

/// None for an item without functions, such as an interface of types alone.
fn used_functions(engine: &wasmtime::Engine, item: &ComponentItem) -> Option<Vec<String>> {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            let functions: Vec<String> = instance
                .exports(engine)
                .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .map(|(name, _)| name.to_owned())
                .collect();
            let resources =
                instance.exports(engine).any(|(_, item)| matches!(item.ty, ComponentItem::Resource(_)));
            (resources || !functions.is_empty()).then_some(functions)
        }
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => Some(Vec::new()),
        ComponentItem::Type(_) => None,
    }
}

fn satisfied(interface: &str, functions: &[String], provided: &Provided) -> Satisfied {
    if let Some((name, has)) = provided.iter().find(|(name, _)| fits(interface, name)) {
        // WASI is linked whole; its functions are not listed.
        let missing: Vec<String> = if has.is_empty() {
            Vec::new()
        } else {
            functions.iter().filter(|function| !has.contains(*function)).cloned().collect()
        };
        return if missing.is_empty() { Satisfied::By(name.clone()) } else { Satisfied::Without(missing) };
    }
    let base = split_version(interface).0;
    match provided.keys().find(|name| split_version(name).0 == base) {
        Some(name) => Satisfied::OtherVersion(name.clone()),
        None => Satisfied::Missing,
    }
}

fn split_version(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// The same interface in a version of the same compatibility track: one major version, or one minor version of 0.
fn fits(one: &str, other: &str) -> bool {
    let ((base, version), (other_base, other_version)) = (split_version(one), split_version(other));
    base == other_base && track(version) == track(other_version)
}

fn track(version: &str) -> Option<(&str, &str)> {
    // A pre-release fits nothing but itself.
    if version.contains('-') {
        return Some((version, ""));
    }
    let mut parts = version.split('.');
    match (parts.next()?, parts.next().unwrap_or("")) {
        ("0", minor) => Some(("0", minor)),
        (major, _) => Some((major, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_patch_release_fits_and_another_track_does_not() {
        assert!(fits("wasi:io/poll@0.2.3", "wasi:io/poll@0.2.12"));
        assert!(fits("airssys:core/calls@1.4.0", "airssys:core/calls@1.0.0"));
        assert!(!fits("wasi:io/poll@0.3.0", "wasi:io/poll@0.2.12"));
        assert!(!fits("airssys:core/calls@2.0.0", "airssys:core/calls@1.0.0"));
        assert!(!fits("wasi:io/poll@0.2.0-rc.1", "wasi:io/poll@0.2.12"));
        assert!(!fits("wasi:io/streams@0.2.3", "wasi:io/poll@0.2.3"));
    }
}
