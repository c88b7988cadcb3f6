//! Where things lie when nobody says: the control socket, the cache of compiled code, and the audit log.
//!
//! They are made for this user alone. A folder that others may enter is refused, because a socket or compiled code that
//! somebody else put there would be trusted.

#![allow(
    clippy::disallowed_methods,
    reason = "the edge of the command: it looks up the places that the system sets aside for the user"
)]

use std::path::{Path, PathBuf};

use airssys_node::airssys_osl::{FsError, Root};

use crate::error::{CommandError, Kind};

const SOCKET_FILE: &str = "airssys.sock";

/// The socket to connect to: the named one, or the default.
pub(crate) fn socket(named: Option<&Path>) -> PathBuf {
    match (named, runtime_dir()) {
        (Some(path), _) => path.to_owned(),
        (None, Some(folder)) => folder.join(SOCKET_FILE),
        (None, None) => temporary_dir().join(SOCKET_FILE),
    }
}

/// The socket to listen at. Makes the default's folder where the system has none for this user.
pub(crate) fn socket_to_bind(named: Option<&Path>) -> Result<PathBuf, CommandError> {
    if named.is_none() && runtime_dir().is_none() {
        Root::private(&temporary_dir())?;
    }
    Ok(socket(named))
}

/// The folder for compiled code, open and private.
pub(crate) fn cache() -> Result<Root, CommandError> {
    let folder = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(caches), _) => caches.join("airssys"),
        (None, Some(home)) => home.join(".cache").join("airssys"),
        (None, None) => {
            return Err(CommandError::new(Kind::NotFound, "neither XDG_CACHE_HOME nor HOME is set"));
        }
    };
    Ok(Root::private(&folder)?)
}

/// The folder of the audit log of the node at a socket. Each has its own, because a log has one writer.
pub(crate) fn audit(socket: Option<&Path>) -> PathBuf {
    let socket = self::socket(socket);
    let named: String = std::path::absolute(&socket)
        .unwrap_or(socket)
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' })
        .collect();
    audits().join("nodes").join(named.trim_matches('-'))
}

/// The folder of the audit log of programs that are run without a node.
pub(crate) fn audit_of_runs() -> PathBuf {
    audits().join("runs")
}

fn audits() -> PathBuf {
    let state = variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map_or_else(temporary_dir, |state| state.join("airssys"));
    state.join("audit")
}

/// A file that the user named, with the folder that holds it. Links are followed and several hard links are fine:
/// build tools make both, and the user has chosen the file.
pub(crate) fn named_file(path: &Path) -> Result<(Root, PathBuf), CommandError> {
    let real = std::fs::canonicalize(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => FsError::NotFound { path: path.to_owned(), source },
        _ => FsError::Io { action: "open", path: path.to_owned(), source },
    })?;
    let (folder, name) = Root::of_file(&real)?;
    Ok((folder.with_hard_links(), name.into()))
}

fn runtime_dir() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR")
}

fn temporary_dir() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("airssys-{user}"))
}

/// A relative path in these variables is to be ignored, says the specification that they come from.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_socket_is_taken_as_it_is() {
        assert_eq!(socket(Some(Path::new("here.sock"))), Path::new("here.sock"));
        assert!(socket(None).ends_with(SOCKET_FILE));
    }
}
