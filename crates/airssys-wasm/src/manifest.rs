//! `Component.toml`: what a component is, what it reads, what it may use at most, and what it asks for.
//!
//! A manifest requests; it grants nothing. Parsing is pure: the caller reads the file, bounded, from the folder that
//! holds it. What is returned has no unchecked text in it. The reader of sections, the patterns and the limits are
//! public because the application file is read with the same ones.

mod capability;
mod limits;
mod name;
mod pattern;

pub use capability::{Capabilities, PATTERNS_MAX, Service, WrittenCapabilities};
pub(crate) use limits::TABLE_ELEMENTS_MAX;
pub use limits::{Limits, WrittenLimits};
pub use name::{ComponentName, InvalidName, InvalidPath, RelativePath};
pub use pattern::{InvalidPattern, TargetPattern, Topic, TopicPattern};
pub use semver::Version;

use crate::envelope::Codec;
use airssys_osl::document::{self, DocumentError, Problem, Section};

/// Longest description in bytes.
const DESCRIPTION_BYTES_MAX: usize = 256;
/// Longest version in bytes.
const VERSION_BYTES_MAX: usize = 64;
/// Most codecs of one component.
const CODECS_MAX: usize = 64;

/// A component as its author describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentManifest {
    /// What the author calls it; the application gives it the name it runs under.
    pub name: ComponentName,
    /// Which of its versions.
    pub version: Version,
    /// What it is for; empty if the author does not say.
    pub description: String,
    /// The code, relative to the manifest.
    pub wasm: RelativePath,
    /// The codecs it reads.
    pub accepts: Accepts,
    /// What one instance may use at most.
    pub limits: Limits,
    /// What it asks for. Nothing of this is granted by asking.
    pub capabilities: Capabilities,
}

/// Which codecs a component reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// Any.
    All,
    /// These, at least one, in the order written.
    Only(Vec<Codec>),
}

impl Accepts {
    /// Whether a payload of `codec` is read.
    pub fn reads(&self, codec: Codec) -> bool {
        match self {
            Accepts::All => true,
            Accepts::Only(codecs) => codecs.contains(&codec),
        }
    }
}

impl ComponentManifest {
    /// Reads the text of a `Component.toml`. `file` names it in errors.
    ///
    /// ```
    /// use airssys_wasm::manifest::ComponentManifest;
    ///
    /// let text = "[component]\nname = \"tally\"\nversion = \"0.1.0\"\nwasm = \"tally.wasm\"\n";
    /// let manifest = ComponentManifest::parse(text, "Component.toml")?;
    /// assert_eq!(manifest.name.as_str(), "tally");
    /// assert!(!manifest.capabilities.may_send("shop", "shop", "parse"));
    /// # Ok::<(), airssys_osl::document::DocumentError>(())
    /// ```
    pub fn parse(text: &str, file: &str) -> Result<Self, DocumentError> {
        document::read(text, file, |root| {
            root.require("component");
            let about = root.table("component", About::read).flatten();
            let accepts = root.table("messages", read_accepts).unwrap_or(Accepts::All);
            let limits = root.table("limits", WrittenLimits::read).unwrap_or_default();
            let capabilities = root.table("capabilities", WrittenCapabilities::read).unwrap_or_default();
            let About { name, version, description, wasm } = about?;
            let (limits, capabilities) = (limits.or_default(), capabilities.plain());
            Some(ComponentManifest { name, version, description, wasm, accepts, limits, capabilities })
        })
    }
}

struct About {
    name: ComponentName,
    version: Version,
    description: String,
    wasm: RelativePath,
}

impl About {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        for key in ["name", "version", "wasm"] {
            section.require(key);
        }
        let name = section.parsed("name", ComponentName::parse);
        let version = section.parsed("version", version_of);
        let description = section.parsed("description", description_of);
        let wasm = section.parsed("wasm", RelativePath::parse);
        Some(About {
            name: name?.value,
            version: version?.value,
            description: description.map(|text| text.value).unwrap_or_default(),
            wasm: wasm?.value,
        })
    }
}

fn read_accepts(section: &mut Section<'_>) -> Accepts {
    let Some(codecs) = section.words_or_numbers("accepts", CODECS_MAX, codec_of) else {
        return Accepts::All;
    };
    if codecs.is_empty() {
        let message = "`accepts` is empty: a component that reads no codec receives nothing";
        section.report(Problem::new(section.at(), message));
    }
    Accepts::Only(codecs.into_iter().map(|codec| codec.value).collect())
}

/// Why a text of a manifest is refused.
#[derive(Debug, thiserror::Error)]
enum InvalidText {
    #[error("a version is `major.minor.patch`, at most {VERSION_BYTES_MAX} bytes")]
    Version,
    #[error("a description is at most {DESCRIPTION_BYTES_MAX} bytes without control characters")]
    Description,
    #[error(
        "a codec is raw, cbor, json, messagepack, protobuf, the number of one of them, or one of 0x300000 to 0x3fffff"
    )]
    Codec,
}

fn version_of(text: &str) -> Result<Version, InvalidText> {
    match text.len() <= VERSION_BYTES_MAX {
        true => Version::parse(text).map_err(|_| InvalidText::Version),
        false => Err(InvalidText::Version),
    }
}

fn description_of(text: &str) -> Result<String, InvalidText> {
    match text.len() <= DESCRIPTION_BYTES_MAX && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(InvalidText::Description),
    }
}

fn codec_of(text: &str) -> Result<Codec, InvalidText> {
    let named = [Codec::RAW, Codec::CBOR, Codec::JSON, Codec::MESSAGEPACK, Codec::PROTOBUF];
    let private_use = 0x30_0000..=0x3f_ffff;
    let known = |codec: &Codec| codec.to_string() == text || codec.0.to_string() == text;
    let numbered = || text.parse().ok().filter(|number| private_use.contains(number)).map(Codec);
    named.into_iter().find(known).or_else(numbered).ok_or(InvalidText::Codec)
}

#[cfg(test)]
mod tests;
