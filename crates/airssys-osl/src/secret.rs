//! Secrets: bytes that are shown by nothing and leave the memory with their owner.
//!
//! A [`Secret`] has no form in which it is printed, is compared with nothing, and is overwritten when it is dropped. It is read
//! by [`Secret::reveal`] alone. What its reader makes of it is the reader's to keep. Copies that the system made before, in
//! its buffers or on a swap disk, are out of reach.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::access::Name;
use crate::fs::{FsError, Root};

/// Longest secret in bytes.
const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Secrets that a program holds in memory.
const SECRETS_MAX: usize = 10_000;

/// Bytes that nobody is to see by accident.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

/// Where secrets come from.
pub struct Secrets(Source);

enum Source {
    Memory(HashMap<Name, Secret>),
    Folder(Root),
}

/// Why there is no such secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Nobody has given one of this name.
    #[error("use secret {name}: there is none of this name")]
    NoSecret {
        /// The name.
        name: Name,
    },
    /// It is longer than may be.
    #[error("use a secret of more than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// There are more than may be.
    #[error("hold more than {max} secrets")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] FsError),
}

impl Secret {
    /// Takes bytes over. At most 64 KiB.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretError> {
        // What grew in place may have more room than content, which is overwritten as well.
        let bytes = Zeroizing::new(bytes);
        match bytes.len() > SECRET_BYTES_MAX {
            true => Err(SecretError::TooLong { max: SECRET_BYTES_MAX }),
            false => Ok(Self(Zeroizing::new(bytes.as_slice().into()))),
        }
    }

    /// The secret itself. Whoever writes this word says that it is needed here.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The secret itself, if it is text.
    pub fn reveal_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Secrets {
    /// None.
    pub fn none() -> Self {
        Self(Source::Memory(HashMap::new()))
    }

    /// These, held in memory. At most 10,000.
    pub fn of(secrets: impl IntoIterator<Item = (Name, Secret)>) -> Result<Self, SecretError> {
        let mut held = HashMap::new();
        for (name, secret) in secrets {
            held.insert(name, secret);
            if held.len() > SECRETS_MAX {
                return Err(SecretError::TooMany { max: SECRETS_MAX });
            }
        }
        Ok(Self(Source::Memory(held)))
    }

    /// The files in a folder that only this user may enter: the secret `a/b` is what the file `a/b` holds, to the last byte. A
    /// file is read each time it is wanted.
    pub fn in_folder(path: &Path) -> Result<Self, SecretError> {
        Ok(Self(Source::Folder(Root::private(path)?)))
    }

    /// The secret of this name.
    pub(crate) fn find(&self, name: &Name) -> Result<Secret, SecretError> {
        let missing = || SecretError::NoSecret { name: name.clone() };
        let folder = match &self.0 {
            Source::Memory(held) => return held.get(name).cloned().ok_or_else(missing),
            Source::Folder(folder) => folder,
        };
        let path = Path::new(name.as_str());
        let mut file = match folder.open_regular(path) {
            Ok(file) => file,
            Err(FsError::NotFound { .. }) => return Err(missing()),
            Err(error) => return Err(error.into()),
        };
        // Never grows, so it leaves no copy behind.
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES_MAX + 1]);
        let mut len = 0;
        while len < bytes.len() {
            match file.read(&mut bytes[len..]) {
                Ok(0) => return Ok(Secret(Zeroizing::new(bytes[..len].into()))),
                Ok(read) => len += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(folder.fail("read", path, source).into()),
            }
        }
        Err(SecretError::TooLong { max: SECRET_BYTES_MAX })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::fields::REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::fields::REDACTED)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
