//! Looking into components, and making one of a core module.

use anyhow::{Context as _, ensure};
use std::path::Path;
use wasmparser::{Parser, Payload};

/// The interfaces that a component imports, in order.
pub(super) fn imports(component: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut imports = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.context("read the artifact as a component")? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.context("read an import")?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    imports.sort();
    Ok(imports)
}

/// Makes a component of a module that holds the description of its world, without its debug information.
pub(super) fn of_module(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let module = without_debug_sections(module)?;
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .context("make a component of the module")
}

/// Names of functions stay: they are a section of their own.
fn without_debug_sections(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(module.starts_with(b"\0asm"), "this is not a wasm module");
    let mut kept = module[..8].to_vec();
    let mut position = 8;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("read the module")?;
        let is_debug = match &payload {
            Payload::CustomSection(section) => section.name().starts_with(".debug"),
            _ => false,
        };
        if let Some((_, range)) = payload.as_section() {
            // The bytes since the last section's end are this one's id and length.
            let end = usize::try_from(range.end).context("read the module")?;
            if !is_debug {
                kept.extend_from_slice(&module[position..end]);
            }
            position = end;
        }
    }
    Ok(kept)
}

/// A path that only makes sense on the machine that built the artifact, such as one below `root`.
pub(super) fn machine_path(artifact: &[u8], root: &Path) -> Option<String> {
    let root = root.as_os_str().as_encoded_bytes();
    let homes = [concat!("/", "home/"), concat!("/", "root/"), concat!("/", "tmp/"), concat!("/", "Users/")];
    let starts_here =
        |rest: &[u8]| rest.starts_with(root) || homes.iter().any(|home| rest.starts_with(home.as_bytes()));
    let begin = (0..artifact.len()).find(|index| starts_here(&artifact[*index..]))?;
    let path = artifact[begin..].iter().take(80).take_while(|byte| byte.is_ascii_graphic());
    Some(path.map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found_and_a_remapped_one_is_not() {
        let root = Path::new("/srv/airssys");
        for path in [format!("/{}/me/src/lib.rs", "home"), "/srv/airssys/guests/echo".to_owned()] {
            assert_eq!(machine_path(format!("a\0{path}\0b").as_bytes(), root), Some(path));
        }
        assert_eq!(machine_path(b"\0registry/syn/src/lib.rs\0rust/library/core\0", root), None);
    }

    #[test]
    fn only_debug_sections_are_left_out() {
        let custom = |name: &str| {
            let mut section = vec![0, name.len() as u8 + 2, name.len() as u8];
            section.extend_from_slice(name.as_bytes());
            section.push(7);
            section
        };
        let header = b"\0asm\x01\0\0\0".to_vec();
        let module = [header.clone(), custom(".debug_info"), custom("name"), custom(".debug_line")].concat();
        assert_eq!(without_debug_sections(&module).unwrap(), [header, custom("name")].concat());
        assert!(without_debug_sections(b"text").is_err());
    }
}
