//! Reading, changing and writing as one thing that is asked for: both ends are decided before anything is done.

use super::{FileOperation, Files, FilesError, replace};
use crate::access::{FileVerb, Subject};
use crate::fs::FsError;
use crate::gate::{Denied, Operation as _};

/// Which step of [`Files::transform`] was not done, and why. The steps before it were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError<E> {
    /// One of the two is not allowed, or its path is none; nothing was done.
    #[error(transparent)]
    Refused(FilesError),
    /// It was not read.
    #[error(transparent)]
    Read(FilesError),
    /// What makes the new content failed; nothing was written.
    #[error(transparent)]
    Transform(E),
    /// It was not written.
    #[error(transparent)]
    Write(FilesError),
}

impl Files {
    /// Reads a file of at most `bytes_max` bytes, makes other content of it, of at most as many, and puts that at a path, in place
    /// of a file that has it. Both steps are decided before the first, each has its records, and one that is not reached says so. Takes `read`
    /// of the one, `create` and `write` of the other.
    pub fn transform<E: std::error::Error>(
        &self,
        subject: &Subject,
        from: &str,
        to: &str,
        bytes_max: u64,
        make: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, E>,
    ) -> Result<(), TransformError<E>> {
        let steps = || {
            let read = self.wanted(subject, "fs.read", &[FileVerb::Read], from)?;
            let write = self.wanted(subject, "fs.write", &[FileVerb::Create, FileVerb::Write], to)?;
            Ok(vec![read.of_bytes(bytes_max), write.of_bytes(bytes_max)])
        };
        let permits = self.gate.admit_all(subject, steps().map_err(TransformError::Refused)?);
        let permits = permits.map_err(|denied| {
            let Denied { mut operation, access, why } = *denied;
            // The one of the two that the denial is about.
            let is_of = |operation: &FileOperation| match &access {
                crate::gate::Denial::Access(access) => operation.accesses().contains(access),
                crate::gate::Denial::Number(_) => false,
            };
            let place = operation.iter().position(is_of).unwrap_or(0);
            TransformError::Refused(Denied { operation: operation.swap_remove(place), access, why }.into())
        })?;
        let [read, write] =
            <[_; 2]>::try_from(permits).expect("as many operations are permitted as were asked for");
        let content = read.perform(|operation| Ok(self.place(&operation.target)?.read(bytes_max)?));
        let content = content.map_err(TransformError::Read).and_then(|content| {
            // What panics here drops the permit, and the log says that nobody knows.
            make(content).map_err(TransformError::Transform)
        });
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                drop(write.withdraw());
                return Err(error);
            }
        };
        let written = write.perform(|operation| {
            let place = self.place(&operation.target)?;
            // More than was counted when it was decided is not written.
            if content.len() as u64 > bytes_max {
                return Err(FsError::TooLarge { path: place.shown(), limit: bytes_max }.into());
            }
            Ok(replace(place, &content)?)
        });
        written.map_err(TransformError::Write)
    }
}
