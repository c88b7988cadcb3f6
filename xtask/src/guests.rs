//! The guests that tests and examples run, kept built beside their sources.
//!
//! A machine without a wasm toolchain tests with the artifacts as they are. `guests.lock` ties each artifact to the
//! sources it was made of, so that a source that changed fails [`check`] until `cargo xtask guests` has run. The lock
//! also names what each component imports: a new import is a change that a reviewer sees.

mod component;
mod lock;
mod polyglot;
mod toolchain;

use anyhow::{Context as _, bail, ensure};
use std::path::{Path, PathBuf};

use lock::{Entry, Lock};
use toolchain::{Target, Toolchain};

pub(crate) use polyglot::main as polyglot;

/// One component that is kept built.
struct Guest {
    name: &'static str,
    /// From the root of the repository; holds the source.
    folder: &'static str,
    artifact: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A member of the cargo workspace in this folder.
    Rust { workspace: &'static str, target: Target },
    /// Against the bindings of the world `actor`. Built by `cargo xtask polyglot`.
    C,
    /// The program of a crate of that name, unmodified.
    ThirdParty { version: &'static str, features: &'static [&'static str], licence: &'static str },
}

const fn guest(name: &'static str, folder: &'static str, artifact: &'static str) -> Guest {
    let kind = Kind::Rust { workspace: "guests", target: Target::Unknown };
    Guest { name, folder, artifact, kind }
}

const fn of_access_log(name: &'static str, folder: &'static str, artifact: &'static str) -> Guest {
    let kind = Kind::Rust { workspace: "examples/access-log", target: Target::Unknown };
    Guest { name, folder, artifact, kind }
}

const GUESTS: &[Guest] = &[
    guest("async-echo", "guests/async-echo", "guests/prebuilt/async-echo.wasm"),
    guest("crasher", "guests/crasher", "guests/prebuilt/crasher.wasm"),
    guest("echo", "guests/echo", "guests/prebuilt/echo.wasm"),
    guest("hop", "guests/hop", "guests/prebuilt/hop.wasm"),
    Guest {
        name: "pulldown-cmark",
        folder: "guests/prebuilt",
        artifact: "guests/prebuilt/pulldown-cmark.wasm",
        kind: Kind::ThirdParty { version: "0.13.6", features: &[], licence: "MIT" },
    },
    guest("relay", "guests/relay", "guests/prebuilt/relay.wasm"),
    guest("ring", "guests/ring", "guests/prebuilt/ring.wasm"),
    guest("stateful", "guests/stateful", "guests/prebuilt/stateful.wasm"),
    guest("storage-user", "guests/storage-user", "guests/prebuilt/storage-user.wasm"),
    Guest {
        name: "wasip2-echo",
        folder: "guests/wasip2-echo",
        artifact: "guests/prebuilt/wasip2-echo.wasm",
        kind: Kind::Rust { workspace: "guests", target: Target::Wasip2 },
    },
    of_access_log("alert", "examples/access-log/alert", "examples/access-log/alert/alert.wasm"),
    of_access_log("parse", "examples/access-log/parse", "examples/access-log/parse/parse.wasm"),
    of_access_log("tally", "examples/access-log/tally", "examples/access-log/tally/tally.wasm"),
    Guest {
        name: "enrich",
        folder: "examples/access-log/enrich",
        artifact: "examples/access-log/enrich/enrich.wasm",
        kind: Kind::C,
    },
    Guest {
        name: "hello",
        folder: "examples/hello",
        artifact: "examples/hello/hello.wasm",
        kind: Kind::Rust { workspace: "examples/hello", target: Target::Unknown },
    },
];

const USAGE: &str = "\
usage: cargo xtask guests [NAME..]               build from source and record
       cargo xtask guests --check                compare sources and artifacts with guests/prebuilt/guests.lock
       cargo xtask guests --rebuild-into FOLDER  build from source into FOLDER and record nothing";

/// `cargo xtask guests`.
pub(crate) fn main(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--check"] => check(root),
        ["--rebuild-into", folder] => rebuild_into(root, &root.join(folder)),
        [flag, ..] if flag.starts_with('-') => bail!("guests has no option {flag}\n\n{USAGE}"),
        names => rebuild(root, names),
    }
}

/// Fails with a list of every artifact that is missing, was not made of the sources as they are, or imports what
/// the lock does not say.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let lock = Lock::read(root)?;
    let mut problems = Vec::new();
    for guest in GUESTS {
        if let Err(problem) = current(root, guest, &lock) {
            problems.push(format!("{}: {problem:#}", guest.name));
        }
    }
    let unknown = lock.entries().filter(|entry| !GUESTS.iter().any(|guest| guest.name == entry.name));
    problems.extend(unknown.map(|entry| format!("{}: is in the lock and is no guest", entry.name)));
    if !problems.is_empty() {
        bail!(
            "the prebuilt guests are not what their sources make:\n  {}\nrun `cargo xtask guests` (and `cargo xtask \
             polyglot` for C), then commit the artifacts with guests/prebuilt/guests.lock",
            problems.join("\n  ")
        );
    }
    println!("{} guests are current", GUESTS.len());
    Ok(())
}

fn current(root: &Path, guest: &Guest, lock: &Lock) -> anyhow::Result<()> {
    let bytes =
        std::fs::read(root.join(guest.artifact)).with_context(|| format!("read {}", guest.artifact))?;
    let entry = lock.entry(guest.name).context("is not in the lock")?;
    ensure!(entry.artifact == lock::digest(&bytes), "{} is not the recorded artifact", guest.artifact);
    ensure!(entry.source == source_digest(root, guest)?, "the source changed since the artifact was built");
    ensure!(entry.imports == component::imports(&bytes)?, "imports other than the lock says");
    if let Some(path) = component::machine_path(&bytes, root) {
        bail!("the artifact holds a path of the machine that built it: {path}");
    }
    Ok(())
}

/// Builds the named guests, or all that are written in Rust, and records them.
fn rebuild(root: &Path, names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| !GUESTS.iter().any(|guest| guest.name == **name)) {
        bail!("there is no guest `{unknown}`\n\n{USAGE}");
    }
    let mut lock = Lock::read(root)?;
    lock.retain(|entry| GUESTS.iter().any(|guest| guest.name == entry.name));
    for guest in GUESTS.iter().filter(|guest| names.is_empty() || names.contains(&guest.name)) {
        // Its source is its version, so there is nothing to rebuild but on demand.
        let on_demand = matches!(guest.kind, Kind::ThirdParty { .. }) && names.is_empty();
        if on_demand && current(root, guest, &lock).is_ok() {
            continue;
        }
        match build(root, guest)? {
            Some(built) => record(root, guest, &built, &mut lock)?,
            None => println!("{} is not Rust: cargo xtask polyglot builds it", guest.name),
        }
    }
    lock.write(root)
}

/// Why this machine cannot build the guests that are written in Rust, if it cannot. Installs nothing.
pub(crate) fn why_not_buildable(root: &Path) -> Option<String> {
    let targets = [Target::Unknown, Target::Wasip2];
    let absent = targets.into_iter().find_map(|target| Toolchain::present(root, target).err());
    absent.map(|error| format!("{error:#}"))
}

fn rebuild_into(root: &Path, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for guest in GUESTS {
        let rebuilds = matches!(guest.kind, Kind::Rust { .. });
        let bytes = match rebuilds {
            true => build(root, guest)?.map(|built| built.bytes),
            false => None,
        };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => {
                println!("{} is taken as it is prebuilt", guest.name);
                std::fs::read(root.join(guest.artifact))
                    .with_context(|| format!("read {}", guest.artifact))?
            }
        };
        let path = folder.join(guest.name).with_extension("wasm");
        std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// An artifact and the compiler that made it.
struct Built {
    bytes: Vec<u8>,
    compiler: String,
}

/// None for a language that has its own command.
fn build(root: &Path, guest: &Guest) -> anyhow::Result<Option<Built>> {
    let (target, path, toolchain) = match guest.kind {
        Kind::C => return Ok(None),
        Kind::Rust { workspace, target } => {
            let toolchain = Toolchain::find(root, target)?;
            (target, toolchain.build(root, &root.join(workspace), guest.name)?, toolchain)
        }
        Kind::ThirdParty { version, features, .. } => {
            let toolchain = Toolchain::find(root, Target::Wasip2)?;
            (Target::Wasip2, toolchain.install(root, guest.name, version, features)?, toolchain)
        }
    };
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    println!("{}: {} KiB for {}", guest.name, bytes.len().div_ceil(1024), target.triple());
    Ok(Some(Built { bytes, compiler: toolchain.compiler().to_owned() }))
}

fn record(root: &Path, guest: &Guest, built: &Built, lock: &mut Lock) -> anyhow::Result<()> {
    if let Some(path) = component::machine_path(&built.bytes, root) {
        bail!("{} holds a path of this machine, which must be remapped: {path}", guest.name);
    }
    let path = root.join(guest.artifact);
    std::fs::write(&path, &built.bytes).with_context(|| format!("write {}", guest.artifact))?;
    let origin = match guest.kind {
        Kind::Rust { .. } | Kind::C => None,
        Kind::ThirdParty { version, licence, .. } => Some(format!("{} {version}, {licence}", guest.name)),
    };
    lock.set(Entry {
        name: guest.name.to_owned(),
        path: guest.artifact.to_owned(),
        origin,
        source: source_digest(root, guest)?,
        artifact: lock::digest(&built.bytes),
        compiler: built.compiler.clone(),
        imports: component::imports(&built.bytes)?,
    });
    // At once, so that a build that fails later leaves no artifact unrecorded.
    lock.write(root)
}

/// One number for everything that a guest is made of and that this repository holds.
fn source_digest(root: &Path, guest: &Guest) -> anyhow::Result<String> {
    let mut sources = lock::Sources::new(root);
    match guest.kind {
        Kind::Rust { workspace, .. } => {
            for folder in
                [guest.folder, "crates/airssys-wasm-component", "crates/airssys-wasm-component-macros"]
            {
                sources.file(&format!("{folder}/Cargo.toml"))?;
                sources.folder(&format!("{folder}/src"), "rs")?;
            }
            sources.file(&format!("{workspace}/Cargo.toml"))?;
            sources.dependencies(&format!("{workspace}/Cargo.lock"))?;
            sources.folder("wit", "wit")?;
        }
        Kind::C => {
            sources.folder(guest.folder, "c")?;
            sources.folder("wit", "wit")?;
        }
        Kind::ThirdParty { version, features, .. } => {
            sources.text(&format!("{} {version} {}", guest.name, features.join(",")));
        }
    }
    Ok(sources.digest())
}

/// Where tools and builds of guests live; nothing in it is tracked.
fn work_folder(root: &Path) -> PathBuf {
    crate::program::target_dir(root).join("guests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prebuilt_guests_are_made_of_the_sources_as_they_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        check(root).unwrap();
    }

    #[test]
    fn an_unknown_guest_or_option_is_refused() {
        for argument in ["no-such-guest", "--no-such-option"] {
            let error = main(Path::new("."), &[argument.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(argument), "{error}");
        }
    }
}
