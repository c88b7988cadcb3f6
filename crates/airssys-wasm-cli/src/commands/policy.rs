//! `airssys policy check FILE`: whether a policy can be used and does what it says it does.

use std::path::PathBuf;
use std::process::ExitCode;

use airssys_node::airssys_osl::document::TEXT_BYTES_MAX;
use airssys_node::airssys_osl::{Decision, Policy};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::grouped;
use crate::error::{CommandError, Kind};
use crate::paths;
use crate::ui::Ui;

/// Works with policies: who may do what.
#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Reads a policy whole and runs the tests in it.
    Check {
        /// The policy's file.
        file: PathBuf,
    },
}

/// The policy in a file that the user named.
pub(super) fn read(file: &std::path::Path) -> Result<Policy, CommandError> {
    let (folder, name) = paths::named_file(file)?;
    let text = folder.read_to_string(&name, TEXT_BYTES_MAX as u64)?;
    Ok(Policy::parse(&text, &file.display().to_string())?)
}

/// A decision in words: whether it is allowed, and by which rule.
pub(super) fn decision(policy: &Policy, decision: Decision) -> Value {
    let (allowed, rule) = match decision {
        Decision::Allowed(rule) => (true, Some(rule)),
        Decision::Denied(rule) => (false, rule),
    };
    json!({ "allowed": allowed, "rule": rule.map(|rule| policy.rule(rule).to_string()) })
}

impl PolicyCommand {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let Verb::Check { file } = self.verb;
        let policy = read(&file)?;
        let failed = policy.disappointments();
        let data = json!({
            "subjects": policy.subjects().iter().map(|subject| subject.as_str()).collect::<Vec<_>>(),
            "rules": policy.rules_len(),
            "tests": policy.expectations_len(),
            "failed": failed.iter().map(|failed| json!({
                "line": failed.at.line,
                "subject": failed.subject.as_str(),
                "access": failed.access.to_string(),
                "decision": decision(&policy, failed.decision),
            })).collect::<Vec<_>>(),
        });
        let Some(first) = failed.first() else {
            return ui.done(data, text);
        };
        let found = if first.decision.is_allowed() { "allowed" } else { "denied" };
        let message = format!(
            "{}:{}: {} of {} tests failed, the first because `{}` of {} is {found}",
            file.display(),
            first.at.line,
            failed.len(),
            policy.expectations_len(),
            first.access,
            first.subject,
        );
        let hint = "`airssys explain SUBJECT ACCESS --policy FILE` shows the rules that decide";
        Err(CommandError::new(Kind::Invalid, message).hint(hint).data(data))
    }
}

fn text(data: &Value) -> String {
    let number = |key: &str| grouped(data[key].as_u64().unwrap_or_default());
    let subjects = data["subjects"].as_array().map_or(0, Vec::len);
    format!(
        "{} subjects, {} rules, {} tests passed",
        grouped(subjects as u64),
        number("rules"),
        number("tests")
    )
}
