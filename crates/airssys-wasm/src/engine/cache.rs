//! Compiled code on disk, so that a component is compiled once per machine.
//!
//! Loading compiled code is running it, so an entry is used only when it carries a keyed hash made with this
//! directory's secret, over the engine's compatibility hash, the component's digest and the code itself. The directory
//! and the secret are readable by their owner alone. An entry that fails any check is a miss, never an error.
//!
//! The `unsafe` of the crate is here: the two calls that turn bytes into executable code.

#![allow(unsafe_code, reason = "loading compiled code is unsafe by nature; the argument is beside each call")]

use std::hash::{Hash, Hasher};

use airssys_osl::{FilesError, FsError, OwnFiles};

/// An entry larger than this is compiled anew at each start.
const ENTRY_BYTES_MAX: u64 = 512 << 20;
const KEY_FILE: &str = "key";
const MAC_BYTES: usize = blake3::OUT_LEN;

pub(super) struct CodeCache {
    files: OwnFiles,
    key: [u8; blake3::KEY_LEN],
}

/// Why compiled code cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The directory or a file in it could not be used.
    #[error("use the cache directory")]
    Files(#[from] FilesError),
    /// The key file is not what this program writes.
    #[error("the cache key has {len} bytes instead of 32; remove the cache directory to have a new one made")]
    Key {
        /// The length found.
        len: usize,
    },
    /// The operating system gave no randomness for a new key.
    #[error("make a cache key")]
    Random(#[source] std::io::Error),
    /// The engine could not write the component's code.
    #[error("serialise compiled code")]
    Serialise(#[source] wasmtime::Error),
}

impl CodeCache {
    pub(super) fn open(files: OwnFiles) -> Result<Self, CacheError> {
        let key = match files.read(KEY_FILE, 4096) {
            Ok(bytes) => bytes,
            Err(FilesError::Failed(FsError::NotFound { .. })) => {
                let mut key = vec![0; blake3::KEY_LEN];
                airssys_osl::random_bytes(&mut key).map_err(CacheError::Random)?;
                files.write(KEY_FILE, &key)?;
                // Another process may have written its own meanwhile: the one on disk counts.
                files.read(KEY_FILE, 4096)?
            }
            Err(error) => return Err(error.into()),
        };
        let len = key.len();
        let key = key.try_into().map_err(|_| CacheError::Key { len })?;
        Ok(CodeCache { files, key })
    }

    pub(super) fn load(
        &self,
        engine: &wasmtime::Engine,
        digest: &blake3::Hash,
    ) -> Option<wasmtime::component::Component> {
        let name = entry_name(engine, digest);
        let entry = self.files.read(&name, ENTRY_BYTES_MAX).ok()?;
        let (mac, code) = entry.split_at_checked(MAC_BYTES)?;
        let mac = blake3::Hash::from_slice(mac).ok()?;
        // Comparing two blake3 hashes takes the same time wherever they differ.
        if mac != self.mac(&name, code) {
            tracing::warn!(entry = name, "an entry of the code cache is not authentic; compiling again");
            return None;
        }
        // SAFETY: the keyed hash shows that these bytes were written by a process that holds the secret of this
        // owner-only directory, in `store`, from `Component::serialize` of an engine with the same compatibility hash.
        unsafe { wasmtime::component::Component::deserialize(engine, code) }.ok()
    }

    pub(super) fn store(
        &self,
        engine: &wasmtime::Engine,
        digest: &blake3::Hash,
        component: &wasmtime::component::Component,
    ) -> Result<(), CacheError> {
        let name = entry_name(engine, digest);
        let code = component.serialize().map_err(CacheError::Serialise)?;
        let mut entry = Vec::with_capacity(MAC_BYTES + code.len());
        entry.extend_from_slice(self.mac(&name, &code).as_bytes());
        entry.extend_from_slice(&code);
        self.files.write(&name, &entry)?;
        Ok(())
    }

    /// The name holds engine and digest, so an entry moved to another name is refused.
    fn mac(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes()).update(&[0]).update(code);
        hasher.finalize()
    }
}

pub(super) fn transfer(
    component: &wasmtime::component::Component,
    to: &wasmtime::Engine,
) -> wasmtime::Result<wasmtime::component::Component> {
    let code = component.serialize()?;
    // SAFETY: the bytes come from `serialize` in this process one line above and were not changed.
    unsafe { wasmtime::component::Component::deserialize(to, code) }
}

fn entry_name(engine: &wasmtime::Engine, digest: &blake3::Hash) -> String {
    let mut compatibility = HashAll(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    format!("{}-{}.cwasm", compatibility.0.finalize().to_hex(), digest.to_hex())
}

/// All of what is hashed counts, not 64 bits of it.
struct HashAll(blake3::Hasher);

impl Hasher for HashAll {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    }
}
