//! `airssys check COMPONENT`: what a component is, what it needs, and whether this host has it.
//!
//! Nothing of the component runs. Where a Component.toml lies beside it, its requests are held against the imports.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use airssys_node::airssys_osl::{FsError, Root};
use airssys_node::airssys_wasm::manifest::{Capabilities, ComponentManifest, Service};
use airssys_node::airssys_wasm::{
    COMPONENT_BYTES_MAX, Component, Description, EngineOptions, Engines, Import, Kind as ComponentKind,
    LoadError, Satisfied,
};
use clap::Args;
use serde_json::{Value, json};

use super::{grouped, text_of};
use crate::error::{CommandError, Kind};
use crate::paths;
use crate::ui::{Ui, one_line};

/// Shows what a component imports and exports, what satisfies each import, and what is missing.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The component's file.
    component: PathBuf,
}

const MANIFEST_FILE: &str = "Component.toml";
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The component chose its names.
const NAME_CHARS_MAX: usize = 200;

impl Check {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let (folder, file) = paths::named_file(&self.component)?;
        let bytes = folder.read(&file, COMPONENT_BYTES_MAX)?;
        let component = Component::load(&Engines::new(EngineOptions::default())?, &bytes, false)?;
        let manifest = manifest_beside(&folder, &file)?;
        let found = findings(&component, manifest.as_ref());
        let data = data(component.description(), manifest.as_ref(), &found);
        match found.first() {
            None => ui.done(data, text),
            Some(first) => {
                // Without this the failure would hide what was asked for.
                ui.lists(&text(&data));
                let message = format!("{} cannot run here: {first}", self.component.display());
                Err(CommandError::new(Kind::Invalid, message).data(data))
            }
        }
    }
}

/// The manifest in the component's folder, if it is about this file.
fn manifest_beside(folder: &Root, file: &Path) -> Result<Option<ComponentManifest>, CommandError> {
    let text = match folder.read_to_string(MANIFEST_FILE.as_ref(), MANIFEST_BYTES_MAX) {
        Ok(text) => text,
        Err(FsError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let manifest = ComponentManifest::parse(&text, MANIFEST_FILE)?;
    Ok((manifest.wasm.as_path() == file).then_some(manifest))
}

/// What keeps the component from running here, in words.
fn findings(component: &Component, manifest: Option<&ComponentManifest>) -> Vec<String> {
    let description = component.description();
    let missing = description.imports.iter().filter(|import| !has(description.kind, import));
    let mut found: Vec<String> =
        missing.map(|import| format!("{} is missing", one_line(&import.interface, NAME_CHARS_MAX))).collect();
    match description.kind {
        ComponentKind::Actor | ComponentKind::AsyncActor if found.is_empty() => {
            // What is asked for can be granted; that the types fit cannot.
            let grants = manifest.map_or_else(every_service, |manifest| manifest.capabilities.clone());
            match component.check_actor(&grants) {
                Ok(()) => {}
                Err(LoadError::NotGranted { interface, grant }) => {
                    found
                        .push(format!("{MANIFEST_FILE} does not request `{grant}`, which {interface} needs"));
                }
                Err(error) => found.push(error.to_string()),
            }
        }
        ComponentKind::Actor | ComponentKind::AsyncActor | ComponentKind::Command => {}
        _ => found.push("it exports neither airssys:core/lifecycle nor wasi:cli/run".to_owned()),
    }
    found
}

fn every_service() -> Capabilities {
    Capabilities { services: Service::ALL.into(), ..Capabilities::default() }
}

/// A program is given WASI and nothing of ours.
fn has(kind: ComponentKind, import: &Import) -> bool {
    let linked = kind != ComponentKind::Command || import.interface.starts_with("wasi:");
    linked && matches!(import.satisfied, Satisfied::By(_))
}

fn data(description: &Description, manifest: Option<&ComponentManifest>, found: &[String]) -> Value {
    let import = |import: &Import| {
        let (by, problem) = match &import.satisfied {
            Satisfied::By(_) if !has(description.kind, import) => (None, Some("not for programs".to_owned())),
            Satisfied::By(name) => (Some(name.clone()), None),
            Satisfied::OtherVersion(name) => (None, Some(format!("this host has {name}"))),
            Satisfied::Without(functions) => {
                (None, Some(format!("this host lacks {}", functions.join(", "))))
            }
            _ => (None, Some("this host does not have it".to_owned())),
        };
        json!({ "interface": import.interface, "functions": import.functions, "satisfied_by": by, "problem": problem })
    };
    let exports = description.exports.iter();
    json!({
        "kind": kind_word(description.kind),
        "digest": format!("blake3:{}", description.digest),
        "bytes": description.bytes,
        "imports": description.imports.iter().map(import).collect::<Vec<_>>(),
        "exports": exports
            .map(|export| json!({ "interface": export.interface, "functions": export.functions }))
            .collect::<Vec<_>>(),
        "manifest": manifest.map(|manifest| json!({
            "name": manifest.name.as_str(),
            "version": manifest.version.to_string(),
            "services": manifest.capabilities.services.iter().map(|service| service.key()).collect::<Vec<_>>(),
        })),
        "runnable": found.is_empty(),
        "missing": found,
    })
}

fn kind_word(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Actor => "actor",
        ComponentKind::AsyncActor => "async-actor",
        ComponentKind::Command => "command",
        _ => "other",
    }
}

fn text(data: &Value) -> String {
    let mut lines = vec![
        format!("kind     {}{}", text_of(data, "kind"), how_to_run(text_of(data, "kind"))),
        format!("digest   {}", text_of(data, "digest")),
        format!("size     {} bytes", grouped(data["bytes"].as_u64().unwrap_or_default())),
    ];
    if let Some(name) = data["manifest"]["name"].as_str() {
        lines.push(format!("manifest {name} {}", text_of(&data["manifest"], "version")));
    }
    lines.push(String::new());
    lines.extend(section("imports", data, |import| match import["problem"].as_str() {
        Some(problem) => format!("MISSING: {problem}"),
        None => format!("satisfied by {}", text_of(import, "satisfied_by")),
    }));
    lines.extend(section("exports", data, |_| String::new()));
    let missing = data["missing"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(missing.map(|missing| format!("not runnable: {missing}")));
    if data["runnable"] == true {
        lines.push("runnable on this host".to_owned());
    }
    lines.join("\n")
}

fn how_to_run(kind: &str) -> &'static str {
    match kind {
        "command" => " (`airssys run`)",
        "actor" | "async-actor" => " (`airssys up` with an application that names it)",
        _ => "",
    }
}

fn section(name: &str, data: &Value, remark: impl Fn(&Value) -> String) -> Vec<String> {
    let items = data[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = vec![if items.is_empty() { format!("{name}: none") } else { name.to_owned() }];
    for item in items {
        let functions = item["functions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let functions = one_line(&functions.collect::<Vec<_>>().join(", "), NAME_CHARS_MAX);
        let interface = one_line(text_of(item, "interface"), NAME_CHARS_MAX);
        let remark = remark(item);
        lines.push(format!("  {interface}  {remark}").trim_end().to_owned());
        if !functions.is_empty() {
            lines.push(format!("    {functions}"));
        }
    }
    lines.push(String::new());
    lines
}
