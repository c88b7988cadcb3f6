//! `airssys policy`: whether a policy can be used and does what it says it does, what another would change, and what one
//! learned from a log would say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use airssys_node::airssys_osl::document::TEXT_BYTES_MAX;
use airssys_node::airssys_osl::{
    Decision, Disappointment, Effect, LearnError, Learner, Policy, Replay, Subject, Verdict,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::audit::Reading;
use super::{grouped, text_of};
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
    /// Runs the tests in a policy; one without tests fails.
    Test {
        /// The policy's file.
        file: PathBuf,
    },
    /// Shows what another policy changes: the rules of each subject, or with --log what it decides otherwise.
    Diff {
        /// The policy as it is; with --log the candidate, alone.
        policy: PathBuf,
        /// The policy as it would be.
        #[arg(required_unless_present = "log", conflicts_with = "log")]
        new: Option<PathBuf>,
        /// The folder of an audit log, on which the candidate decides anew.
        #[arg(long, value_name = "FOLDER")]
        log: Option<PathBuf>,
    },
    /// Writes the policy that allows a subject what an audit log saw permitted or observed, and what no rule can tell from that.
    Learn {
        /// The folder of the log.
        folder: PathBuf,
        /// Whose policy.
        #[arg(long)]
        subject: String,
        /// Draws files of one folder together as `folder/*` when the same was done to more than so many.
        #[arg(long, value_name = "COUNT")]
        together: Option<usize>,
        /// Allows also what was denied.
        #[arg(long)]
        denials: bool,
    },
}

/// The policy in a file that the user named.
pub(super) fn read(file: &Path) -> Result<Policy, CommandError> {
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
        match self.verb {
            Verb::Check { file } => check(ui, &file),
            Verb::Test { file } => test(ui, &file),
            Verb::Diff { policy, new: Some(new), log: _ } => compare(ui, &policy, &new),
            Verb::Diff { policy, new: None, log: Some(log) } => replay(ui, &policy, &log),
            Verb::Diff { policy: _, new: None, log: None } => {
                Err(CommandError::new(Kind::Usage, "a second policy or --log is missing"))
            }
            Verb::Learn { folder, subject, together, denials } => {
                learn(ui, &folder, &subject, together, denials)
            }
        }
    }
}

fn check(ui: &Ui, file: &Path) -> Result<ExitCode, CommandError> {
    let policy = read(file)?;
    let failed = policy.disappointments();
    let data = json!({
        "subjects": policy.subjects().iter().map(|subject| subject.as_str()).collect::<Vec<_>>(),
        "rules": policy.rules_len(),
        "tests": policy.expectations_len(),
        "failed": failures(&policy, &failed),
    });
    match failed.first() {
        None => ui.done(data, text),
        Some(first) => Err(disappointed(file, &policy, &failed, first).data(data)),
    }
}

fn test(ui: &Ui, file: &Path) -> Result<ExitCode, CommandError> {
    let policy = read(file)?;
    let failed = policy.disappointments();
    let (tests, failed_len) = (policy.expectations_len(), failed.len());
    let data = json!({
        "tests": tests,
        "passed": tests - failed_len,
        "failed": failures(&policy, &failed),
    });
    if tests == 0 {
        let message = format!("{} has no tests", file.display());
        let hint = "a test is a [[test]] with `subject`, `access` and `expect`";
        return Err(CommandError::new(Kind::Invalid, message).hint(hint).data(data));
    }
    let Some(first) = failed.first() else {
        return ui.done(data, |_| format!("{} tests passed", grouped(tests as u64)));
    };
    for failed in &failed {
        let found = decision(&policy, failed.decision);
        let rule = found["rule"].as_str().unwrap_or("no rule allows it");
        ui.lists(&format!("line {}: {} `{}`: {rule}", failed.at.line, failed.subject, failed.access));
    }
    Err(disappointed(file, &policy, &failed, first).data(data))
}

fn failures(policy: &Policy, failed: &[Disappointment]) -> Vec<Value> {
    let told = |failed: &Disappointment| {
        json!({
            "line": failed.at.line,
            "subject": failed.subject.as_str(),
            "access": failed.access.to_string(),
            "decision": decision(policy, failed.decision),
        })
    };
    failed.iter().map(told).collect()
}

fn disappointed(
    file: &Path,
    policy: &Policy,
    failed: &[Disappointment],
    first: &Disappointment,
) -> CommandError {
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
    CommandError::new(Kind::Invalid, message).hint(hint)
}

fn compare(ui: &Ui, old: &Path, new: &Path) -> Result<ExitCode, CommandError> {
    let changes = read(old)?.grant_changes(&read(new)?);
    let told = changes.iter().map(|change| {
        let effect = match change.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        json!({
            "subject": change.subject.as_str(),
            "change": if change.appears { "appears" } else { "disappears" },
            "effect": effect,
            "about": change.about,
            "widens": change.widens(),
        })
    });
    let data = json!({ "changes": told.collect::<Vec<_>>() });
    ui.done(data, |data| {
        let changes = data["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        if changes.is_empty() {
            return "every subject has the same rules".to_owned();
        }
        let line = |change: &Value| {
            let sign = if text_of(change, "change") == "appears" { '+' } else { '-' };
            let more = if change["widens"] == true { "may do more" } else { "may do less" };
            let (who, effect, about) =
                (text_of(change, "subject"), text_of(change, "effect"), text_of(change, "about"));
            format!("{sign} {who}: {effect} {about} ({more})")
        };
        changes.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn replay(ui: &Ui, candidate: &Path, log: &Path) -> Result<ExitCode, CommandError> {
    let policy = read(candidate)?;
    let mut replay = Replay::new(&policy);
    let mut reading = Reading::of(ui, log)?;
    while let Some(record) = reading.next()? {
        replay.add(&record);
    }
    let (broken, broken_len) = reading.end()?;
    let answer = |answer: &Verdict| json!({ "allowed": answer.allowed, "rule": answer.rule });
    let changes = replay.changes().map(|change| {
        json!({
            "subject": change.subject, "access": change.access, "count": change.count, "first": change.first,
            "last": change.last, "was": answer(&change.was), "now": answer(&change.now),
        })
    });
    let data = json!({
        "changes": changes.collect::<Vec<_>>(),
        "compared": replay.compared(),
        "unlisted": replay.unlisted(),
        "unknown": replay.unknown(),
        "broken": broken,
        "broken_len": broken_len,
    });
    ui.done(data, |data| {
        let word = |answer: &Value| if answer["allowed"] == true { "allowed" } else { "denied" };
        let rule = |answer: &Value| answer["rule"].as_str().unwrap_or("no rule allows it").to_owned();
        let mut lines: Vec<String> = Vec::new();
        for change in data["changes"].as_array().into_iter().flatten() {
            let (was, now) = (&change["was"], &change["now"]);
            lines.push(format!(
                "{} `{}`: {} -> {}, {} times, records {} to {}",
                text_of(change, "subject"),
                text_of(change, "access"),
                word(was),
                word(now),
                change["count"],
                change["first"],
                change["last"],
            ));
            lines.push(format!("  was  {}\n  now  {}", rule(was), rule(now)));
        }
        let number = |key: &str| grouped(data[key].as_u64().unwrap_or_default());
        lines.push(format!(
            "{} operations decided anew; {} changed ones not listed, {} not recorded well enough to decide",
            number("compared"),
            number("unlisted"),
            number("unknown")
        ));
        lines.join("\n")
    })
}

fn learn(
    ui: &Ui,
    folder: &Path,
    subject: &str,
    together: Option<usize>,
    denials: bool,
) -> Result<ExitCode, CommandError> {
    let subject =
        Subject::parse(subject).map_err(|error| CommandError::of(Kind::Usage, "read the subject", &error))?;
    let failed = |error: LearnError| CommandError::new(Kind::Refused, error.to_string());
    let mut learner = Learner::new(subject);
    if let Some(files_max) = together {
        learner = learner.drawing_together(files_max);
    }
    let mut reading = Reading::of(ui, folder)?;
    while let Some(record) = reading.next()? {
        learner.add_record(&record, denials).map_err(failed)?;
    }
    let (broken, broken_len) = reading.end()?;
    let learned = learner.finish().map_err(failed)?;
    for shown in &learned.unlearned {
        ui.lists(&format!("warning: no rule can name {shown}"));
    }
    let data = json!({
        "policy": learned.text,
        "accesses": learned.accesses,
        "unlearned": learned.unlearned,
        "unlearned_len": learned.unlearned_len,
        "broken": broken,
        "broken_len": broken_len,
    });
    ui.done(data, |data| text_of(data, "policy").to_owned())
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
