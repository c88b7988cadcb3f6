//! Who may import whom, read from the manifests.
//!
//! An edge between two of our crates exists only if [`ROOMS`] lists it; a room may refuse outside crates as well. The
//! manifests show direct edges. What embedding airssys-wasm pulls in through others is asked of `cargo tree`.

use super::Finding;
use super::tree::Tree;
use crate::program;
use std::collections::BTreeSet;
use std::path::Path;
use toml::{Table, Value};

struct Room {
    package: &'static str,
    /// Ours that it may import; nothing else of ours.
    imports: &'static [&'static str],
    /// Ours that only its tests may import.
    tests_import: &'static [&'static str],
    /// Outside crates that it refuses, except in tests and examples; a final `*` stands for any ending.
    refuses: &'static [&'static [&'static str]],
}

const WASM_HOST: &[&str] = &["wasmtime*"];
const WASM: &[&str] = &["wasm*", "wit-*", "wat"];
const OPERATING_SYSTEM: &[&str] =
    &["cap-*", "landlock", "libc", "nix", "process-wrap", "rustix", "seccompiler", "windows-sys"];
const POLICY: &[&str] = &["cedar-*", "glob", "globset"];
const DAEMON: &[&str] = &[
    "actix-*",
    "async-nats",
    "axum*",
    "nats",
    "opentelemetry*",
    "rocket",
    "tower-http",
    "tracing-opentelemetry",
    "warp",
];
/// The protocol in either direction. Only airssys-osl may know it, as a client behind its gate and a feature: a client that had
/// its own connections would pass the door. Servers are the node's.
const HTTP: &[&str] = &["hyper*"];

const ROOMS: &[Room] = &[
    Room {
        package: "airssys-rt",
        imports: &["airssys-rt-macros"],
        tests_import: &[],
        refuses: &[WASM, OPERATING_SYSTEM, POLICY, DAEMON, HTTP],
    },
    Room {
        package: "airssys-rt-macros",
        imports: &[],
        // What the macros refuse is tried with the crate that re-exports them.
        tests_import: &["airssys-rt"],
        refuses: &[WASM, OPERATING_SYSTEM, POLICY, DAEMON, HTTP],
    },
    Room {
        package: "airssys-osl",
        imports: &["airssys-osl-macros"],
        tests_import: &[],
        refuses: &[WASM, DAEMON],
    },
    Room {
        package: "airssys-osl-macros",
        imports: &[],
        tests_import: &["airssys-osl"],
        refuses: &[WASM, OPERATING_SYSTEM, DAEMON, HTTP],
    },
    Room {
        package: "airssys-wasm",
        imports: &["airssys-osl", "airssys-rt"],
        tests_import: &[],
        refuses: &[OPERATING_SYSTEM, DAEMON, HTTP],
    },
    Room {
        package: "airssys-node",
        imports: &["airssys-osl", "airssys-rt", "airssys-wasm"],
        tests_import: &[],
        refuses: &[WASM_HOST, OPERATING_SYSTEM],
    },
    Room {
        package: "airssys-wasm-cli",
        imports: &["airssys-node"],
        tests_import: &[],
        refuses: &[WASM_HOST],
    },
    Room {
        package: "airssys-wasm-component",
        imports: &["airssys-wasm-component-macros"],
        // Itself, to turn its features on.
        tests_import: &["airssys-wasm-component"],
        refuses: &[WASM_HOST, OPERATING_SYSTEM, DAEMON, HTTP],
    },
    Room {
        package: "airssys-wasm-component-macros",
        imports: &[],
        tests_import: &["airssys-wasm-component"],
        refuses: &[WASM_HOST, OPERATING_SYSTEM, DAEMON, HTTP],
    },
];

/// Features of tokio that open files, sockets and processes.
const TOKIO_DOORS: &[&str] = &["fs", "full", "net", "process"];

pub(crate) fn directions(tree: &Tree) -> Vec<Finding> {
    let shared = workspace_dependencies(tree);
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        let Some(folder) = path.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let manifest = match text.parse::<Table>() {
            Ok(manifest) => manifest,
            Err(error) => {
                findings.push(Finding::error(path, format!("does not parse: {error}"), "mend the manifest"));
                continue;
            }
        };
        match ROOMS.iter().find(|room| room.package == folder) {
            Some(room) => {
                for edge in edges(&manifest, &shared) {
                    findings.extend(judge(path, room, &edge));
                }
            }
            None => findings.push(Finding::error(
                path,
                format!("`{folder}` has no place in the import order"),
                "a new crate is a decision: add it to ROOMS in xtask/src/tidy/imports.rs and to docs/architecture.md",
            )),
        }
    }
    findings
}

struct Edge {
    package: String,
    features: Vec<String>,
    for_tests: bool,
}

fn judge(path: &str, room: &Room, edge: &Edge) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = edge.package.as_str();
    let is_ours = name.starts_with("airssys");
    // A crate that names itself for its tests turns a feature of its own on for them.
    let for_tests = edge.for_tests && (room.tests_import.contains(&name) || name == room.package);
    let allowed = room.imports.contains(&name) || for_tests;
    if is_ours && !allowed {
        findings.push(Finding::error(
            path,
            format!("{} imports {name}, against the direction of imports", room.package),
            format!(
                "move the code to the crate that may know both, or re-export it from one of [{}]",
                room.imports.join(", ")
            ),
        ));
    }
    // Tests and examples may show a crate beside what its users have.
    if !is_ours && !edge.for_tests && room.refuses.iter().any(|group| matches_any(group, name)) {
        findings.push(Finding::error(
            path,
            format!("{} must not know {name}", room.package),
            "use it in the crate that owns the subject (see docs/architecture.md) and pass a value of ours instead",
        ));
    }
    if room.package == "airssys-rt" && name == "tokio" {
        for feature in edge.features.iter().filter(|feature| TOKIO_DOORS.contains(&feature.as_str())) {
            findings.push(Finding::error(
                path,
                format!("airssys-rt enables tokio's `{feature}`"),
                "actors touch no files, sockets or processes: do it in airssys-osl",
            ));
        }
    }
    findings
}

fn matches_any(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

fn workspace_dependencies(tree: &Tree) -> Table {
    let parsed = tree.text("Cargo.toml").and_then(|text| text.parse::<Table>().ok());
    parsed
        .as_ref()
        .and_then(|manifest| manifest.get("workspace")?.get("dependencies")?.as_table())
        .cloned()
        .unwrap_or_default()
}

/// Every dependency of a manifest, whatever it is for and whatever platform it is for.
fn edges(manifest: &Table, shared: &Table) -> Vec<Edge> {
    let mut edges = edges_of_table(manifest, shared);
    let targets = manifest.get("target").and_then(Value::as_table);
    for target in targets.into_iter().flat_map(Table::values).filter_map(Value::as_table) {
        edges.extend(edges_of_table(target, shared));
    }
    edges
}

fn edges_of_table(table: &Table, shared: &Table) -> Vec<Edge> {
    let kinds = [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)];
    let mut edges = Vec::new();
    for (kind, for_tests) in kinds {
        for (key, value) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
            let inherited = value.get("workspace").and_then(Value::as_bool).unwrap_or(false);
            let shared = shared.get(key).filter(|_| inherited);
            let package =
                [Some(value), shared].into_iter().flatten().find_map(|value| value.get("package")?.as_str());
            let features = [Some(value), shared].into_iter().flatten().flat_map(feature_names).collect();
            edges.push(Edge { package: package.unwrap_or(key).to_owned(), features, for_tests });
        }
    }
    edges
}

fn feature_names(dependency: &Value) -> Vec<String> {
    let features = dependency.get("features").and_then(Value::as_array);
    features.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Embedding airssys-wasm must not pull an HTTP server, a message broker or a telemetry stack, not even through others.
pub(crate) fn light_embedding(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let listing = program::read(program::cargo(root).args([
        "tree",
        "--package",
        "airssys-wasm",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    Ok(heavy(&listing))
}

fn heavy(listing: &str) -> Vec<Finding> {
    let names: BTreeSet<&str> = listing.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let heavy = names.into_iter().filter(|name| matches_any(DAEMON, name) || matches_any(HTTP, name));
    heavy
        .map(|name| {
            Finding::error(
                "crates/airssys-wasm/Cargo.toml",
                format!("embedding airssys-wasm pulls {name}"),
                format!("find who pulls it with `cargo tree -p airssys-wasm -i {name}` and move that edge to airssys-node"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        directions(&Tree::of(files)).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn imports_that_go_down_are_allowed() {
        let wasm =
            "[dependencies]\nairssys-rt.workspace = true\nwasmtime = \"48\"\n[dev-dependencies]\nwat = \"1\"";
        let node = "[dependencies]\nairssys-wasm.workspace = true\naxum = \"0.8\"";
        let found =
            problems(&[("crates/airssys-wasm/Cargo.toml", wasm), ("crates/airssys-node/Cargo.toml", node)]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_import_that_goes_up_is_found_wherever_it_hides() {
        for table in
            ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
        {
            let manifest = format!("[{table}]\nairssys-osl.workspace = true");
            let found = problems(&[("crates/airssys-rt/Cargo.toml", &manifest)]);
            assert_eq!(
                found,
                ["airssys-rt imports airssys-osl, against the direction of imports"],
                "{table}"
            );
        }
    }

    #[test]
    fn only_tests_may_import_their_own_crate() {
        let manifest =
            |table: &str| format!("[{table}]\nairssys-rt = {{ path = \".\", features = [\"x\"] }}");
        assert_eq!(problems(&[("crates/airssys-rt/Cargo.toml", &manifest("dev-dependencies"))]), [""; 0]);
        let found = problems(&[("crates/airssys-rt/Cargo.toml", &manifest("dependencies"))]);
        assert_eq!(found, ["airssys-rt imports airssys-rt, against the direction of imports"]);
    }

    #[test]
    fn wasmtime_lives_in_one_crate_under_any_alias() {
        let root = "[workspace.dependencies]\nengine = { package = \"wasmtime\", version = \"48\" }";
        let node = "[dependencies]\nengine.workspace = true";
        let found = problems(&[("Cargo.toml", root), ("crates/airssys-node/Cargo.toml", node)]);
        assert_eq!(found, ["airssys-node must not know wasmtime"]);
        let node = "[dependencies]\nhost = { package = \"wasmtime-wasi\", version = \"48\" }";
        assert_eq!(
            problems(&[("crates/airssys-node/Cargo.toml", node)]),
            ["airssys-node must not know wasmtime-wasi"]
        );
    }

    #[test]
    fn actors_take_no_doors_from_tokio() {
        let root = "[workspace.dependencies]\ntokio = { version = \"1\", features = [\"rt\", \"net\"] }";
        let direct = "[dependencies]\ntokio = { version = \"1\", features = [\"rt\", \"fs\"] }";
        let found = problems(&[("crates/airssys-rt/Cargo.toml", direct)]);
        assert_eq!(found, ["airssys-rt enables tokio's `fs`"]);
        let inherited = "[dependencies]\ntokio.workspace = true";
        let found = problems(&[("Cargo.toml", root), ("crates/airssys-rt/Cargo.toml", inherited)]);
        assert_eq!(found, ["airssys-rt enables tokio's `net`"]);
    }

    #[test]
    fn only_the_door_speaks_http_and_only_as_a_feature() {
        let manifest = "[dependencies]\nhyper = { version = \"1\", optional = true }";
        assert_eq!(problems(&[("crates/airssys-osl/Cargo.toml", manifest)]), [""; 0]);
        let found = problems(&[("crates/airssys-osl/Cargo.toml", "[dependencies]\naxum = \"0.8\"")]);
        assert_eq!(found, ["airssys-osl must not know axum"]);
        for crate_name in ["airssys-rt", "airssys-wasm", "airssys-wasm-component"] {
            let found = problems(&[(&format!("crates/{crate_name}/Cargo.toml"), manifest)]);
            assert_eq!(found, [format!("{crate_name} must not know hyper")]);
        }
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let found = problems(&[("crates/airssys-misc/Cargo.toml", "")]);
        assert_eq!(found, ["`airssys-misc` has no place in the import order"]);
    }

    #[test]
    fn a_server_pulled_through_another_crate_is_found() {
        assert!(heavy("airssys-wasm v0.1.0\ntokio v1.50.0\nhashbrown v0.16.1\n").is_empty());
        assert_eq!(heavy("airssys-wasm v0.1.0\nhyper v1.8.1\nhyper v1.8.1 (*)\n").len(), 1);
    }
}
