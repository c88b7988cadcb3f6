//! `guests/prebuilt/guests.lock`: of which sources each artifact was made, and what it imports.
//!
//! Digests are BLAKE3. A source is hashed with its path from the root of the repository, in the order of the paths.

use anyhow::Context as _;
use std::path::Path;

const PATH: &str = "guests/prebuilt/guests.lock";
const HEADER: &str = "# Written by `cargo xtask guests` and `cargo xtask polyglot`.\n";

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) path: String,
    /// Crate, version and licence of what was not written here.
    pub(super) origin: Option<String>,
    pub(super) source: String,
    pub(super) artifact: String,
    pub(super) compiler: String,
    pub(super) imports: Vec<String>,
}

/// The lock file, in the order of the names.
pub(super) struct Lock {
    entries: Vec<Entry>,
}

impl Lock {
    /// A file that does not exist is an empty lock.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(root.join(PATH)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(format!("read {PATH}")),
        };
        Self::parse(&text).with_context(|| format!("read {PATH}"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let table: toml::Table = text.parse()?;
        let guests = table.get("guest").and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
        Ok(Self { entries: guests.iter().map(entry).collect::<anyhow::Result<_>>()? })
    }

    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        std::fs::write(root.join(PATH), self.text()).with_context(|| format!("write {PATH}"))
    }

    fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for entry in &self.entries {
            let Entry { name, path, origin, source, artifact, compiler, imports } = entry;
            text += &format!("\n[[guest]]\nname = {name:?}\npath = {path:?}\n");
            if let Some(origin) = origin {
                text += &format!("origin = {origin:?}\n");
            }
            text += &format!(
                "source = {source:?}\nartifact = {artifact:?}\ncompiler = {compiler:?}\nimports = [\n"
            );
            imports.iter().for_each(|import| text += &format!("  {import:?},\n"));
            text += "]\n";
        }
        text
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
    }

    pub(super) fn set(&mut self, entry: Entry) {
        self.entries.retain(|present| present.name != entry.name);
        self.entries.push(entry);
        self.entries.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

fn entry(value: &toml::Value) -> anyhow::Result<Entry> {
    let text = |key: &str| value.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let required = |key: &str| text(key).with_context(|| format!("find the text `{key}` of a guest"));
    let imports =
        value.get("imports").and_then(toml::Value::as_array).context("find `imports` of a guest")?;
    let import = |import: &toml::Value| import.as_str().map(str::to_owned).context("read an import as text");
    Ok(Entry {
        name: required("name")?,
        path: required("path")?,
        origin: text("origin"),
        source: required("source")?,
        artifact: required("artifact")?,
        compiler: required("compiler")?,
        imports: imports.iter().map(import).collect::<anyhow::Result<_>>()?,
    })
}

pub(super) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Collects sources into one digest.
pub(super) struct Sources<'a> {
    root: &'a Path,
    hasher: blake3::Hasher,
}

impl<'a> Sources<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root, hasher: blake3::Hasher::new() }
    }

    pub(super) fn text(&mut self, text: &str) {
        // Lengths keep two texts from being taken for one.
        self.hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }

    pub(super) fn file(&mut self, path: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.root.join(path)).with_context(|| format!("read {path}"))?;
        self.text(path);
        self.text(&text);
        Ok(())
    }

    /// Every file below `folder` whose name ends with `.ending`, in the order of the paths.
    pub(super) fn folder(&mut self, folder: &str, ending: &str) -> anyhow::Result<()> {
        let mut paths = Vec::new();
        let entries = self.root.join(folder).read_dir().with_context(|| format!("list {folder}"))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {folder}"))?;
            let name = entry.file_name();
            let path = format!("{folder}/{}", name.to_string_lossy());
            paths.push((path, entry.path().is_dir()));
        }
        paths.sort();
        for (path, is_folder) in paths {
            if is_folder {
                self.folder(&path, ending)?;
            } else if path.ends_with(&format!(".{ending}")) {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// The packages of a Cargo.lock that come from outside. Members are hashed by themselves, and a new one must not
    /// make all the others stale.
    pub(super) fn dependencies(&mut self, path: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.root.join(path)).with_context(|| format!("read {path}"))?;
        let table: toml::Table = text.parse().with_context(|| format!("read {path}"))?;
        let packages = table.get("package").and_then(toml::Value::as_array).context("find the packages")?;
        for package in packages {
            let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
            if let (Some(name), Some(version), Some(checksum)) =
                (text("name"), text("version"), text("checksum"))
            {
                self.text(&format!("{name} {version} {checksum}"));
            }
        }
        Ok(())
    }

    pub(super) fn digest(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            path: format!("guests/prebuilt/{name}.wasm"),
            origin: Some("a \"quoted\" licence".to_owned()),
            source: "0".to_owned(),
            artifact: "1".to_owned(),
            compiler: "rustc".to_owned(),
            imports: vec!["airssys:core/types@1.0.0".to_owned()],
        }
    }

    #[test]
    fn what_is_written_is_read_again_in_the_order_of_names() {
        let mut lock = Lock::parse("").unwrap();
        lock.set(sample("b"));
        lock.set(sample("a"));
        lock.set(Entry { origin: None, ..sample("b") });
        let read = Lock::parse(&lock.text()).unwrap();
        assert_eq!(read.entries, [sample("a"), Entry { origin: None, ..sample("b") }]);
    }

    #[test]
    fn an_entry_that_lacks_something_is_refused() {
        assert!(Lock::parse("[[guest]]\nname = \"a\"\nimports = []\n").is_err());
    }

    #[test]
    fn a_digest_depends_on_content_name_and_place() {
        let root = std::env::temp_dir().join(format!("airssys-sources-{}", std::process::id()));
        std::fs::create_dir_all(root.join("src/deep")).unwrap();
        let digest = |files: &[(&str, &str)]| {
            files.iter().for_each(|(path, text)| std::fs::write(root.join(path), text).unwrap());
            let mut sources = Sources::new(&root);
            sources.folder("src", "rs").unwrap();
            files.iter().for_each(|(path, _)| std::fs::remove_file(root.join(path)).unwrap());
            sources.digest()
        };
        let one = digest(&[("src/a.rs", "1"), ("src/deep/b.rs", "2")]);
        assert_eq!(one, digest(&[("src/deep/b.rs", "2"), ("src/a.rs", "1"), ("src/a.wasm", "3")]));
        assert_ne!(one, digest(&[("src/a.rs", "1"), ("src/deep/b.rs", "3")]));
        assert_ne!(one, digest(&[("src/a.rs", "1"), ("src/b.rs", "2")]));
        assert_ne!(one, digest(&[("src/a.rs", "2"), ("src/deep/b.rs", "1")]));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
