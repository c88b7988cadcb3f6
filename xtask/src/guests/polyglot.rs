//! Guests in other languages: fetches what their compilers need below target/ and builds them.
//!
//! C is bound by `wit-bindgen c` and compiled by the clang that the Python package ziglang carries, which brings the
//! C library of wasm with it. The component then imports no WASI at all.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::lock::Lock;
use super::{Built, GUESTS, Guest, Kind};
use crate::program;

/// As the bindings of the Rust SDK.
const WIT_BINDGEN: &str = "wit-bindgen-cli@0.63.0";
const ZIGLANG: &str = "ziglang==0.17.1";
const WORLD: &str = "actor";
const STACK_BYTES: usize = 64 * 1024;

/// `cargo xtask polyglot`.
pub(crate) fn main(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = arguments.first() {
        bail!("polyglot takes no arguments, not `{unknown}`");
    }
    let folder = program::target_dir(root).join("polyglot");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let tools = Tools { bindgen: bindgen(root, &folder)?, python: python(&folder)? };
    let mut lock = Lock::read(root)?;
    for guest in GUESTS {
        match guest.kind {
            Kind::C => super::record(root, guest, &c(root, &folder, &tools, guest)?, &mut lock)?,
            Kind::Rust { .. } | Kind::ThirdParty { .. } => {}
        }
    }
    Ok(())
}

struct Tools {
    bindgen: PathBuf,
    /// A Python that has ziglang.
    python: PathBuf,
}

fn bindgen(root: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("bin/wit-bindgen");
    if !path.is_file() {
        let mut install = program::cargo(root);
        install.args(["install", "--locked", "--debug", WIT_BINDGEN, "--no-default-features"]);
        program::run(install.args(["--features", "c", "--root"]).arg(folder))?;
    }
    Ok(path)
}

fn python(folder: &Path) -> anyhow::Result<PathBuf> {
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    if !python.is_file() {
        program::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("make a Python environment (Debian: apt-get install python3-venv)")?;
    }
    program::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", ZIGLANG]))?;
    Ok(python)
}

fn c(root: &Path, folder: &Path, tools: &Tools, guest: &Guest) -> anyhow::Result<Built> {
    let bindings = folder.join(guest.name);
    program::run(
        Command::new(&tools.bindgen)
            .arg("c")
            .arg(root.join("wit"))
            .args(["--world", WORLD, "--out-dir"])
            .arg(&bindings),
    )?;
    let module = bindings.join("module.wasm");
    let mut compile = Command::new(&tools.python);
    compile
        .args([
            "-m",
            "ziglang",
            "cc",
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-O2",
            "-Wall",
            "-Wextra",
        ])
        // The compiler's own default is 16 MiB, more than a component's memory may begin with.
        .arg(format!("-Wl,-z,stack-size={STACK_BYTES}"))
        .arg("-I")
        .arg(&bindings)
        .arg(root.join(guest.folder).join(guest.name).with_extension("c"))
        .arg(bindings.join(format!("{WORLD}.c")))
        .arg(bindings.join(format!("{WORLD}_component_type.o")))
        .arg("-o")
        .arg(&module)
        .env("ZIG_GLOBAL_CACHE_DIR", folder.join("zig"))
        .env("ZIG_LOCAL_CACHE_DIR", folder.join("zig"));
    program::run(&mut compile)?;
    let module = std::fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    Ok(Built { bytes: super::component::of_module(&module)?, compiler: format!("clang of {ZIGLANG}") })
}
