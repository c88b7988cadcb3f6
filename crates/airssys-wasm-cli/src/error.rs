//! One error for every command: what kind it is, its causes, and one hint that helps.
//!
//! The kind decides the exit code and is what a script reads; docs/cli.md lists both.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use airssys_node::StartError;
use airssys_node::airssys_osl::document::DocumentError;
use airssys_node::airssys_osl::{ControlError, FilesError, FsError};
use airssys_node::airssys_wasm::{CommandError as ProgramError, EngineError, LoadError};
use airssys_node::control::{ClientError, Refusal};
use serde::Serialize;
use serde_json::Value;

/// What a failure means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The program or the application failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// What was named exists and cannot be read or written.
    Unreadable,
    /// The application, a component or a manifest is wrong.
    Invalid,
    /// No node answers at the socket.
    NotRunning,
    /// The node does not do that.
    Refused,
    /// No answer in time.
    Timeout,
    /// The component ended before it answered.
    Died,
    /// The component answered with an error.
    Rejected,
    /// The user ended it.
    Interrupted,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound | Kind::Unreadable => 3,
            Kind::Invalid => 4,
            Kind::NotRunning => 5,
            Kind::Refused | Kind::Timeout | Kind::Died | Kind::Rejected => 6,
            Kind::Interrupted => 130,
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        kind.exit_code().into()
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CommandError {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// What was found out before the failure.
    #[serde(skip)]
    pub(crate) data: Option<Value>,
}

impl CommandError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        CommandError { kind, message: message.into(), causes: Vec::new(), hint: None, data: None }
    }

    /// With `source` and what lies behind it as causes.
    pub(crate) fn of(kind: Kind, message: impl Into<String>, source: &dyn Error) -> Self {
        CommandError { causes: chain(Some(source)), ..CommandError::new(kind, message) }
    }

    /// With the text of `error` as message.
    fn from_error(kind: Kind, error: &dyn Error) -> Self {
        CommandError { causes: chain(error.source()), ..CommandError::new(kind, error.to_string()) }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        CommandError { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn data(self, data: Value) -> Self {
        CommandError { data: Some(data), ..self }
    }
}

fn chain(mut source: Option<&dyn Error>) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    while let Some(error) = source {
        let text = error.to_string();
        // Some errors repeat their source in their own text.
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        source = error.source();
    }
    causes
}

impl From<FsError> for CommandError {
    fn from(error: FsError) -> Self {
        let kind = match error {
            FsError::NotFound { .. } => Kind::NotFound,
            _ => Kind::Unreadable,
        };
        CommandError::from_error(kind, &error)
    }
}

impl From<FilesError> for CommandError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Failed(error) => error.into(),
            FilesError::Denied(_) => CommandError::from_error(Kind::Refused, &error),
            error => CommandError::from_error(Kind::Unreadable, &error),
        }
    }
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        let (kind, hint) = match &error {
            ControlError::NotRunning { .. } => (
                Kind::NotRunning,
                "start an application with `airssys up APP`, or name its socket with --socket",
            ),
            ControlError::InUse { .. } => (
                Kind::Refused,
                "one socket serves one application: stop the other with `airssys stop`, or give this one --socket PATH",
            ),
            ControlError::NotASocket { .. } | ControlError::PathTooLong { .. } | ControlError::Fs(_) => {
                (Kind::Refused, "name another place for the socket with --socket PATH")
            }
            _ => (Kind::NotRunning, "name another socket with --socket PATH"),
        };
        CommandError::from_error(kind, &error).hint(hint)
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Connect(error) => error.into(),
            ClientError::Refused(refusal) => refusal.into(),
            other => CommandError::from_error(Kind::NotRunning, &other),
        }
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind.as_str() {
            "not-found" => Kind::NotFound,
            "timeout" => Kind::Timeout,
            "died" => Kind::Died,
            "rejected" => Kind::Rejected,
            // The component is not, but the application is: `Kind::NotRunning` would deny that.
            "not-running" => Kind::Refused,
            _ => Kind::Refused,
        };
        let hint = refusal.hint.or_else(|| refusal_hint(kind));
        CommandError { hint, ..CommandError::new(kind, refusal.message) }
    }
}

/// For a refusal that comes without one.
fn refusal_hint(kind: Kind) -> Option<String> {
    let hint = "`airssys crashes` shows why, and what it was handling";
    (kind == Kind::Died).then(|| hint.to_owned())
}

impl From<DocumentError> for CommandError {
    fn from(error: DocumentError) -> Self {
        CommandError::from_error(Kind::Invalid, &error)
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        CommandError::from_error(Kind::Failed, &error)
    }
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        let hint = load_hint(&error);
        CommandError { hint, ..CommandError::from_error(load_kind(&error), &error) }
    }
}

fn load_kind(error: &LoadError) -> Kind {
    match error {
        LoadError::Engine(_) => Kind::Failed,
        _ => Kind::Invalid,
    }
}

fn load_hint(error: &LoadError) -> Option<String> {
    match error {
        LoadError::MissingImport { .. } | LoadError::Link(_) | LoadError::NotAnActor { .. } => {
            Some("`airssys check COMPONENT` lists what a component imports and exports".to_owned())
        }
        _ => None,
    }
}

impl From<ProgramError> for CommandError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::Load(error) => error.into(),
            ProgramError::NotACommand { .. } => CommandError::from_error(Kind::Invalid, &error),
            ProgramError::Crashed { ref backtrace, .. } => {
                let causes = backtrace.iter().map(|frame| format!("in {}", frame.function)).collect();
                CommandError { causes, ..CommandError::new(Kind::Failed, error.to_string()) }
            }
            other => CommandError::from_error(Kind::Failed, &other),
        }
    }
}

/// What to do about a file of the application in `folder` that does not exist.
fn missing_hint(folder: &Path, path: &Path) -> &'static str {
    if path == folder || path == folder.join("airssys.toml") {
        "an application is a folder with an airssys.toml; `airssys new NAME` makes one"
    } else if path.ends_with("Component.toml") {
        "`path` of a [[component]] in airssys.toml is the folder of its Component.toml"
    } else {
        "build the component, or correct `wasm` in its Component.toml"
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let (kind, hint) = match &error {
            StartError::Read { folder, source: FilesError::Failed(FsError::NotFound { path, .. }) } => {
                (Kind::NotFound, Some(missing_hint(folder, path).to_owned()))
            }
            StartError::Read { .. } => (Kind::Unreadable, None),
            StartError::Load { source, .. } => (load_kind(source), load_hint(source)),
            StartError::Engine(_) => (Kind::Failed, None),
            StartError::Start(_) => (
                Kind::Failed,
                Some(
                    "what components wrote to their logs before is above; limits are in Component.toml"
                        .to_owned(),
                ),
            ),
            _ => (Kind::Invalid, None),
        };
        CommandError { hint, ..CommandError::from_error(kind, &error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_node_keeps_its_kind_and_its_hint() {
        let refusal =
            Refusal { kind: "died".into(), message: "the component died".into(), hint: Some("look".into()) };
        let error = CommandError::from(refusal);
        assert_eq!((error.kind, error.hint.as_deref()), (Kind::Died, Some("look")));
        assert_eq!(error.kind.exit_code(), 6);
    }

    #[test]
    fn a_component_that_is_down_is_not_an_application_that_is() {
        let of = |kind: &str| Refusal { kind: kind.into(), message: "no".into(), hint: None };
        let down = CommandError::from(of("not-running"));
        assert_eq!((down.kind.exit_code(), down.hint), (6, None));
        let died = CommandError::from(of("died"));
        assert!(died.hint.is_some_and(|hint| hint.contains("airssys crashes")));
    }

    #[test]
    fn the_hint_is_about_the_file_that_is_missing() {
        let hint = |path: &str| missing_hint(Path::new("shop"), &Path::new("shop").join(path));
        assert!(hint("").contains("airssys new") && hint("airssys.toml").contains("airssys new"));
        assert!(hint("front/Component.toml").contains("`path`"));
        assert!(hint("front/front.wasm").contains("`wasm`"));
    }

    #[test]
    fn a_source_that_repeats_its_parent_is_told_once() {
        let error = std::io::Error::other(std::io::Error::other("broken"));
        let told = CommandError::of(Kind::Failed, "read", &error);
        assert_eq!(told.causes, ["broken"]);
    }
}
