//! `airssys new NAME`: a component in Rust and an application that runs it, from the example `hello`.
//!
//! The files of the example are built into the command, so what a user starts from is what this repository tests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use airssys_node::airssys_wasm::manifest::ComponentName;
use clap::Args;
use serde_json::json;

use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// Makes a component project and an application that runs it.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The name of the folder, the component and the application: a-z, 0-9 and `-`, beginning with a letter.
    name: String,
    /// Take the SDK from the folder of the crate airssys-wasm-component in a checkout. Without it the project names a
    /// version, and cannot be built before that is on a registry.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

struct Template {
    path: &'static str,
    text: &'static str,
}

macro_rules! template {
    ($path:literal) => {
        Template { path: $path, text: include_str!(concat!("../../../../examples/hello/", $path)) }
    };
}

/// Everything of the example that a person wrote.
const TEMPLATES: &[Template] = &[
    template!(".cargo/config.toml"),
    template!("Cargo.toml"),
    template!("Component.toml"),
    template!("README.md"),
    template!("airssys.toml"),
    template!("src/lib.rs"),
];

/// What the sources were built to, so that the application runs before the first build.
const COMPONENT: &[u8] = include_bytes!("../../../../examples/hello/hello.wasm");

const SDK: &str = "airssys-wasm-component";
/// Said where the dependency is a version, for as long as no registry has one.
const NO_SDK: &str = "\n\n\
    before the first build: Cargo.toml names a version of airssys-wasm-component that is on no registry yet.\n\
    Write the folder of a checkout there instead, or begin again with `airssys new NAME --sdk PATH`:\n\
    \u{20}   airssys-wasm-component = { path = \"CHECKOUT/crates/airssys-wasm-component\" }";
/// The name that the templates have for themselves.
const NAME: &str = "hello";

impl New {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let name = project_name(&self.name)?;
        let sdk = sdk(self.sdk.as_deref())?;
        let folder = PathBuf::from(&name);
        write(&folder, &name, &sdk)?;
        let mut files: Vec<String> = TEMPLATES.iter().map(|template| template.path.to_owned()).collect();
        files.push(component_file(&name));
        let has_sdk = self.sdk.is_some();
        ui.done(json!({ "created": name, "files": files }), |_| {
            format!("{}{}", next_commands(&name), if has_sdk { "" } else { NO_SDK })
        })
    }
}

fn project_name(text: &str) -> Result<String, CommandError> {
    let hint = "a name is 1 to 64 of a-z, 0-9 and `-`, begins with a letter, and is no word of Rust";
    // Cargo makes a crate of it, which is why it is stricter than the name of a component.
    let reserved = ["test", "core", "std", "alloc", "proc-macro", SDK].contains(&text) || is_keyword(text);
    let letter_first = text.starts_with(|first: char| first.is_ascii_lowercase());
    match ComponentName::parse(text) {
        Ok(name) if letter_first && !reserved => Ok(name.as_str().to_owned()),
        _ => {
            Err(CommandError::new(Kind::Usage, format!("{text:?} cannot be the name of a project"))
                .hint(hint))
        }
    }
}

fn is_keyword(text: &str) -> bool {
    const KEYWORDS: [&str; 51] = [
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
        "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
        "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self",
        "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
        "virtual", "where", "while", "yield",
    ];
    KEYWORDS.contains(&text)
}

/// The dependency on the SDK, as TOML.
fn sdk(folder: Option<&Path>) -> Result<String, CommandError> {
    let Some(folder) = folder else { return Ok(format!("{:?}", env!("CARGO_PKG_VERSION"))) };
    let absolute = canonical(folder)?;
    let manifest = absolute.join("Cargo.toml");
    canonical(&manifest).map_err(|error| {
        error.hint(format!("--sdk is the folder of the crate {SDK}, in a checkout `crates/{SDK}`"))
    })?;
    match absolute.to_str() {
        // A TOML string has the escapes of JSON.
        Some(path) => Ok(format!("{{ path = {} }}", json!(path))),
        None => Err(CommandError::new(Kind::Unreadable, format!("{} is not UTF-8", absolute.display()))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge of the command: the user named the folder")]
fn canonical(path: &Path) -> Result<PathBuf, CommandError> {
    std::fs::canonicalize(path).map_err(|error| {
        let kind =
            if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Unreadable };
        CommandError::of(kind, format!("open {}", path.display()), &error)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the command: it writes what the user asked for, where asked"
)]
fn write(folder: &Path, name: &str, sdk: &str) -> Result<(), CommandError> {
    let fail = |path: &Path, error: &std::io::Error| {
        CommandError::of(Kind::Unreadable, format!("write {}", path.display()), error)
    };
    match std::fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CommandError::new(Kind::Refused, format!("{} exists already", folder.display()))
                .hint("choose another name, or remove it first"));
        }
        Err(error) => return Err(fail(folder, &error)),
    }
    let texts =
        TEMPLATES.iter().map(|template| (template.path.to_owned(), filled(template, name, sdk).into_bytes()));
    for (file, bytes) in texts.chain([(component_file(name), COMPONENT.to_vec())]) {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| fail(parent, &error))?;
        std::fs::write(&path, bytes).map_err(|error| fail(&path, &error))?;
    }
    Ok(())
}

fn component_file(name: &str) -> String {
    format!("{name}.wasm")
}

/// The example's own name and its dependency on the SDK are replaced, each where it is certainly meant.
fn filled(template: &Template, name: &str, sdk: &str) -> String {
    let artifact = name.replace('-', "_");
    let line = |line: &str| match line.split_once(" = ") {
        Some((key, _)) if key == SDK => format!("{SDK} = {sdk}"),
        // Cargo names the file after the crate, with underscores; the component and its file keep the name.
        _ => line
            .replace(&format!("release/{NAME}.wasm"), &format!("release/{artifact}.wasm"))
            .replace(&format!("{NAME}.wasm"), &format!("{name}.wasm"))
            .replace(&format!("name = \"{NAME}\""), &format!("name = \"{name}\""))
            .replace(&format!("to = \"{NAME}\""), &format!("to = \"{name}\""))
            .replace(&format!("airssys call {NAME} "), &format!("airssys call {name} "))
            .replace(&format!("# {NAME}"), &format!("# {name}")),
    };
    let mut text = template.text.lines().map(line).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

fn next_commands(name: &str) -> String {
    let artifact = name.replace('-', "_");
    format!(
        "created {name}\n\n\
         run it, and talk to it from another terminal:\n\
         \u{20}   airssys up {name}\n\
         \u{20}   airssys call {name} Ada\n\n\
         change it, build it, and put it in place:\n\
         \u{20}   cd {name}\n\
         \u{20}   cargo test\n\
         \u{20}   rustup target add wasm32-unknown-unknown\n\
         \u{20}   cargo build --release --target wasm32-unknown-unknown\n\
         \u{20}   cp target/wasm32-unknown-unknown/release/{artifact}.wasm {name}.wasm"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_wherever_the_example_had_its_own() {
        let text = |path: &str| {
            let template = TEMPLATES.iter().find(|template| template.path == path).unwrap();
            filled(template, "shop-front", "\"9.9.9\"")
        };
        assert!(text("Cargo.toml").contains("\nairssys-wasm-component = \"9.9.9\"\n"));
        assert!(text("Component.toml").contains("wasm = \"shop-front.wasm\""));
        assert!(text("airssys.toml").contains("to = \"shop-front\""));
        let readme = text("README.md");
        let copy = "cp target/wasm32-unknown-unknown/release/shop_front.wasm shop-front.wasm";
        assert!(readme.contains(copy) && next_commands("shop-front").contains(copy), "{readme}");
        assert!(readme.contains("airssys call shop-front Ada"), "{readme}");
        // The greeting is not the name.
        assert!(text("src/lib.rs").contains("unwrap_or(\"hello\")"));
    }
}
