//! Signed checkpoints: who has the key says that the log was so. Ed25519, over a text that means nothing anywhere else.

use std::fmt;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::fs::{FsError, Root};
use crate::host::random_bytes;

use super::Seq;
use super::chain::{Draft, Head};

/// Most records from one checkpoint to the next.
const EVERY_MAX: u64 = 65_536;
/// Length of a file with a key: 32 bytes in hex and the end of the line.
const KEY_FILE_BYTES_MAX: u64 = 80;

/// The key that a log is signed with. Its memory is cleared when it is dropped.
pub struct SecretKey(SigningKey);

/// What shows who signed. Shown and read as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FsError),
    /// A file with a secret lets other users read it.
    #[error("read the secret key {path:?}: its mode {mode:04o} lets other users in; change it to 0600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
    /// It is there already, and overwriting a key would make the log that it signed worthless.
    #[error("make the key {path:?}: it is there already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is no key.
    #[error("a key is 64 hex digits")]
    Shape,
    /// Anybody could sign for this key.
    #[error("the key is one for which signatures can be made without the secret")]
    Weak,
    /// The system gives no randomness.
    #[error("make a key")]
    Random(#[source] std::io::Error),
}

impl SecretKey {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        random_bytes(&mut bytes).map_err(KeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// A new key, in the new file `name` with mode 0600, and its public half beside it in `name.pub`.
    pub fn create(folder: &Root, name: &Path) -> Result<Self, KeyError> {
        use cap_std::fs::MetadataExt as _;
        let public = name.with_added_extension("pub");
        for path in [name, &public] {
            match folder.dir().symlink_metadata(folder.inside(path)?) {
                Ok(_) => return Err(KeyError::Exists { path: folder.path_of(path) }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(folder.fail("make", path, error).into()),
            }
        }
        let key = Self::generate()?;
        let secret = blake3::Hash::from_bytes(key.0.to_bytes()).to_hex();
        folder.write_atomic(name, format!("{secret}\n").as_bytes(), 0o600)?;
        folder.write_atomic(&public, format!("{}\n", key.public()).as_bytes(), 0o644)?;
        debug_assert!(folder.dir().metadata(name).is_ok_and(|metadata| metadata.mode() & 0o077 == 0));
        Ok(key)
    }

    /// The key in the file `name`, which nobody else may read.
    pub fn read(folder: &Root, name: &Path) -> Result<Self, KeyError> {
        use cap_std::fs::MetadataExt as _;
        let text = folder.read_to_string(name, KEY_FILE_BYTES_MAX)?;
        let metadata = folder.dir().metadata(name).map_err(|source| folder.fail("open", name, source))?;
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: folder.path_of(name), mode });
        }
        Ok(Self(SigningKey::from_bytes(&bytes_of(&text)?)))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl PublicKey {
    /// Reads 64 hex digits. A key for which anybody can sign is refused.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&bytes_of(text)?).map_err(|_| KeyError::Shape)?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(Self(key)) }
    }

    /// The key in the file `name`.
    pub fn read(folder: &Root, name: &Path) -> Result<Self, KeyError> {
        Self::parse(&folder.read_to_string(name, KEY_FILE_BYTES_MAX)?)
    }

    /// Whether this is a checkpoint by this key of the record before it, and how many records later the next one comes.
    pub(super) fn checks(&self, before: &Head, fields: &serde_json::Value) -> Option<u64> {
        let every = fields["every"].as_u64().filter(|every| (1..=EVERY_MAX).contains(every))?;
        let signature = fields["signature"].as_str()?;
        let (first, second) = signature.split_at_checked(64)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&bytes_of(first).ok()?);
        bytes[32..].copy_from_slice(&bytes_of(second).ok()?);
        let text = statement(before, every);
        self.0.verify_strict(text.as_bytes(), &Signature::from_bytes(&bytes)).ok()?;
        (fields["key"].as_str()? == self.to_string()).then_some(every)
    }
}

fn bytes_of(text: &str) -> Result<[u8; 32], KeyError> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    blake3::Hash::from_hex(text).map(|hash| *hash.as_bytes()).map_err(|_| KeyError::Shape)
}

/// What is signed.
fn statement(head: &Head, every: u64) -> String {
    format!("airssys-osl audit checkpoint 1\n{head}\n{every}\n")
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0.to_bytes()).to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

/// A key at work: it belongs to the thread that writes, as a signature needs the hash of the record before.
#[derive(Debug)]
pub(super) struct Signer {
    key: SecretKey,
    every: u64,
}

impl Signer {
    pub(super) fn new(key: SecretKey, every: u64) -> Self {
        Self { key, every: every.clamp(1, EVERY_MAX) }
    }

    /// When it signs.
    pub(super) fn checkpoints(&self) -> Checkpoints {
        let draft = Draft::checkpoint(self.every, &self.key.public().to_string());
        Checkpoints { every: self.every, draft }
    }

    /// The signature of a log up to this record, in hex.
    pub(super) fn sign(&self, head: &Head) -> String {
        let signature = self.key.0.sign(statement(head, self.every).as_bytes());
        signature.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Which records are checkpoints.
#[derive(Debug)]
pub(super) struct Checkpoints {
    every: u64,
    /// A checkpoint, but for its signature.
    pub(super) draft: Draft,
}

impl Checkpoints {
    /// Whether the newest record has to be signed when `signed` was the newest that is.
    pub(super) fn is_due(&self, newest: Seq, signed: Seq) -> bool {
        newest - signed >= self.every
    }
}
