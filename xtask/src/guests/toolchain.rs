//! The compilers that can make guests, in the order in which they are tried.
//!
//! A rustup toolchain with the target installed needs nothing else. Where no such target can be had, std is built
//! from its source, which must belong to the compiler: rustup's component rust-src, or Debian's rustc-web with
//! rust-web-src, which always match each other. A wasm32-wasip2 std from source also needs wasi-libc.

use anyhow::{Context as _, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program;

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// Where Debian puts the compiler, whatever else PATH holds.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The Debian suite whose wasi-libc is new enough for a wasm32-wasip2 std.
const WASI_LIBC_SUITE: &str = "trixie-backports";

/// What a guest is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Without WASI: std has no clock, no files and no output.
    Unknown,
    /// With WASI 0.2.
    Wasip2,
}

impl Target {
    pub(super) fn triple(self) -> &'static str {
        match self {
            Self::Unknown => "wasm32-unknown-unknown",
            Self::Wasip2 => "wasm32-wasip2",
        }
    }
}

/// A compiler, and how it comes to a std for one target.
pub(super) struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    version: String,
    target: Target,
    std: Std,
    /// Holds `wasm-component-ld`.
    linker_folder: PathBuf,
}

enum Std {
    Installed,
    /// Built with every guest workspace; `sysroot` holds the C library of the target, where it has one.
    FromSource {
        library: PathBuf,
        sysroot: Option<PathBuf>,
    },
}

/// What to do where the machine has no compiler for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfAbsent {
    InstallPackages,
    Refuse,
}

impl Toolchain {
    /// A compiler for `target`; where there is none, Debian's packages are installed if that is possible.
    pub(super) fn find(root: &Path, target: Target) -> anyhow::Result<Self> {
        Self::look_for(root, target, IfAbsent::InstallPackages)
    }

    /// A compiler for `target` that is there already. Nothing is installed on the machine; the C library of WASI may be
    /// fetched, into the work folder.
    pub(super) fn present(root: &Path, target: Target) -> anyhow::Result<Self> {
        Self::look_for(root, target, IfAbsent::Refuse)
    }

    fn look_for(root: &Path, target: Target, if_absent: IfAbsent) -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        let linker_folder = linker_folder(&rustc)?;
        let make = |cargo: &Path, rustc: &Path, std: Std| {
            let version = program::read(Command::new(rustc).arg("--version"))?.trim().to_owned();
            let linker_folder = linker_folder.clone();
            let (cargo, rustc) = (cargo.to_path_buf(), rustc.to_path_buf());
            anyhow::Ok(Self { cargo, rustc, version, target, std, linker_folder })
        };
        if has_target(&rustc, target)? {
            return make(&cargo, &rustc, Std::Installed);
        }
        let from_source = |library: PathBuf| {
            let sysroot = match target {
                Target::Unknown => None,
                Target::Wasip2 => Some(wasi_sysroot(&super::work_folder(root))?),
            };
            anyhow::Ok(Std::FromSource { library, sysroot })
        };
        if let Some(library) = library(&rustc)? {
            return make(&cargo, &rustc, from_source(library)?);
        }
        let debian = Path::new(DEBIAN_RUSTC);
        if debian_library(debian)?.is_none() {
            install_debian_packages(target, if_absent)?;
        }
        let library = debian_library(debian)?.context("find the source of std that rust-web-src installs")?;
        make(Path::new(DEBIAN_CARGO), debian, from_source(library)?)
    }

    pub(super) fn compiler(&self) -> &str {
        &self.version
    }

    /// Builds one package of a workspace and returns the component's path.
    ///
    /// One at a time: together, packages would share the union of the features that each asks for.
    pub(super) fn build(&self, root: &Path, workspace: &Path, package: &str) -> anyhow::Result<PathBuf> {
        let mut command = self.cargo_command(root, workspace)?;
        command.args(["build", "--release", "--locked", "--package", package]);
        program::run(command.args(["--target", self.target.triple()]))?;
        let file = format!("{}.wasm", package.replace('-', "_"));
        Ok(super::work_folder(root).join(self.target.triple()).join("release").join(file))
    }

    /// Builds the program of a published crate, unmodified, and returns its path.
    pub(super) fn install(
        &self,
        root: &Path,
        name: &str,
        version: &str,
        features: &[&str],
    ) -> anyhow::Result<PathBuf> {
        let folder = super::work_folder(root).join("third-party");
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let mut command = self.cargo_command(root, &folder)?;
        command.args(["install", "--locked", "--force", "--no-track", "--target", self.target.triple()]);
        command.arg("--root").arg(&folder).arg(format!("{name}@{version}")).args(features);
        for (setting, value) in [
            ("OPT_LEVEL", "s"),
            ("LTO", "true"),
            ("CODEGEN_UNITS", "1"),
            ("PANIC", "abort"),
            ("STRIP", "debuginfo"),
        ] {
            command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        program::run(&mut command)?;
        Ok(folder.join("bin").join(format!("{name}.wasm")))
    }

    fn cargo_command(&self, root: &Path, folder: &Path) -> anyhow::Result<Command> {
        let mut command = program::cargo(folder);
        let wanted = command.get_program().to_owned();
        if wanted != self.cargo {
            command = Command::new(&self.cargo);
            command.current_dir(folder).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.linker_folder.clone()).chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(path).context("put the linker on PATH")?)
            .env("RUSTC", &self.rustc)
            .env("CARGO_TARGET_DIR", super::work_folder(root))
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-component-ld")
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(root)?)
            .env_remove("RUSTFLAGS");
        match &self.std {
            Std::Installed => {}
            Std::FromSource { .. } => {
                command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
            }
        }
        Ok(command)
    }

    /// Paths in panic messages name the place in the source, not the machine.
    fn flags(&self, root: &Path) -> anyhow::Result<OsString> {
        let mut flags = Vec::new();
        let mut remap = |from: &Path, to: &str| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        };
        remap(&cargo_home()?, "cargo");
        for registry in registries()? {
            remap(&registry, "registry");
        }
        remap(root, "airssys");
        if let Std::FromSource { library, sysroot } = &self.std {
            remap(library, "rust/library");
            if let Some(sysroot) = sysroot {
                let mut flag = OsString::from("--sysroot=");
                flag.push(sysroot);
                flags.push(flag);
            }
        }
        Ok(flags.join(&OsString::from("\u{1f}")))
    }
}

fn sysroot(rustc: &Path) -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(program::read(Command::new(rustc).args(["--print", "sysroot"]))?.trim()))
}

fn has_target(rustc: &Path, target: Target) -> anyhow::Result<bool> {
    let mut command = Command::new(rustc);
    let folder = program::read(command.args(["--print", "target-libdir", "--target", target.triple()]))?;
    let Ok(entries) = Path::new(folder.trim()).read_dir() else { return Ok(false) };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.any(|name| name.to_string_lossy().starts_with("libstd-")))
}

fn library(rustc: &Path) -> anyhow::Result<Option<PathBuf>> {
    let library = sysroot(rustc)?.join("lib/rustlib/src/rust/library");
    Ok(library.join("std/Cargo.toml").is_file().then_some(library))
}

fn debian_library(rustc: &Path) -> anyhow::Result<Option<PathBuf>> {
    if rustc.is_file() && Path::new(DEBIAN_CARGO).is_file() { library(rustc) } else { Ok(None) }
}

/// rustup's toolchains bring the linker; Debian's do not.
fn linker_folder(rustc: &Path) -> anyhow::Result<PathBuf> {
    let host = program::read(Command::new(rustc).args(["--print", "host-tuple"]))?;
    let ours = sysroot(rustc)?.join("lib/rustlib").join(host.trim()).join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::iter::once(ours).chain(std::env::split_paths(&path));
    folders.find(|folder| folder.join("wasm-component-ld").is_file()).context(
        "find wasm-component-ld: rustup's toolchains have it, and `cargo install wasm-component-ld` builds it",
    )
}

fn install_debian_packages(target: Target, if_absent: IfAbsent) -> anyhow::Result<()> {
    let packages = DEBIAN_PACKAGES.join(" ");
    let triple = target.triple();
    let can_install = match if_absent {
        IfAbsent::InstallPackages => Path::new("/usr/bin/apt-get").is_file() && is_root()?,
        IfAbsent::Refuse => false,
    };
    ensure!(
        can_install,
        "this needs a compiler for {triple}: `rustup target add {triple}`, `rustup component add rust-src`, or on \
         Debian `apt-get install {packages}`"
    );
    println!("there is no std for {triple}: installing the Debian packages {packages}");
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--no-install-recommends"]).args(DEBIAN_PACKAGES);
    program::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> anyhow::Result<bool> {
    Ok(program::read(Command::new("id").arg("-u"))?.trim() == "0")
}

/// A folder in the shape of a sysroot that holds the C library of wasm32-wasip2 and nothing else.
///
/// The package is unpacked and not installed: its suite is not that of the machine.
fn wasi_sysroot(work: &Path) -> anyhow::Result<PathBuf> {
    let sysroot = work.join("wasi-sysroot");
    let own = sysroot.join("lib/rustlib/wasm32-wasip2/lib/self-contained");
    if own.join("libc.a").is_file() {
        return Ok(sysroot);
    }
    ensure!(
        Path::new("/usr/bin/apt-get").is_file(),
        "a wasm32-wasip2 std needs wasi-libc: use `rustup target add wasm32-wasip2`"
    );
    let apt = work.join("apt");
    let unpacked = apt.join("unpacked");
    for folder in ["lists/partial", "cache/archives/partial", "unpacked"] {
        let folder = apt.join(folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    println!("fetching wasi-libc of the Debian suite {WASI_LIBC_SUITE}");
    let sources = apt.join("sources.list");
    std::fs::write(&sources, debian_source()?).with_context(|| format!("write {}", sources.display()))?;
    program::run(apt_get(&apt).arg("update"))?;
    program::run(apt_get(&apt).args(["download", "wasi-libc"]).current_dir(&apt))?;
    let package = file_in(&apt, "wasi-libc_", ".deb")?;
    program::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    std::fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
    let from = unpacked.join("usr/lib/wasm32-wasip2");
    for entry in from.read_dir().with_context(|| format!("list {}", from.display()))? {
        let entry = entry.with_context(|| format!("list {}", from.display()))?;
        std::fs::copy(entry.path(), own.join(entry.file_name())).context("copy wasi-libc")?;
    }
    Ok(sysroot)
}

/// An apt that knows one suite and keeps everything in a folder of its own.
fn apt_get(folder: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let mut set = |key: &str, value: &Path| {
        let mut setting = OsString::from(format!("{key}="));
        setting.push(value);
        command.arg("-o").arg(setting);
    };
    set("Dir::Etc::sourcelist", &folder.join("sources.list"));
    set("Dir::Etc::sourceparts", Path::new("-"));
    set("Dir::State::lists", &folder.join("lists"));
    set("Dir::State::status", Path::new("/dev/null"));
    set("Dir::Cache", &folder.join("cache"));
    set("APT::Sandbox::User", Path::new("root"));
    command
}

/// The suite that has wasi-libc, at the mirror that this machine uses for Debian.
fn debian_source() -> anyhow::Result<String> {
    let format = "$(ORIGIN) $(COMPONENT) $(REPO_URI)";
    let targets = program::read(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    for line in targets.lines() {
        if let ["Debian", "main", uri] = line.split(' ').collect::<Vec<_>>().as_slice()
            && !uri.contains("security")
        {
            return Ok(format!("deb [signed-by={DEBIAN_KEYRING}] {uri} {WASI_LIBC_SUITE} main\n"));
        }
    }
    bail!("find the Debian mirror that apt uses: run `apt-get update` first")
}

fn file_in(folder: &Path, start: &str, end: &str) -> anyhow::Result<PathBuf> {
    let entries = folder.read_dir().with_context(|| format!("list {}", folder.display()))?;
    let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let name = names.find(|name| name.starts_with(start) && name.ends_with(end));
    Ok(folder.join(name.with_context(|| format!("find {start}*{end} in {}", folder.display()))?))
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => Ok(PathBuf::from(home)),
        None => Ok(std::env::home_dir().context("find the home folder")?.join(".cargo")),
    }
}

/// The folders in which cargo unpacks crates, one per registry.
fn registries() -> anyhow::Result<Vec<PathBuf>> {
    let sources = cargo_home()?.join("registry/src");
    let Ok(entries) = sources.read_dir() else { return Ok(Vec::new()) };
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}
