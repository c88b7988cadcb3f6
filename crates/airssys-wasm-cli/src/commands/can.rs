//! `airssys can SUBJECT ACCESS` and `airssys explain SUBJECT ACCESS`: what a policy decides, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use airssys_node::airssys_osl::{Access, Subject};
use clap::Args;
use serde_json::{Value, json};

use super::policy;
use super::text_of;
use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// Asks a policy whether a subject may do something. The exit code is 0 if it may and 6 if not.
#[derive(Debug, Args)]
pub(crate) struct Can {
    #[command(flatten)]
    question: Question,
}

/// Shows every rule of a policy that concerns an access, and who else may do it.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    question: Question,
}

#[derive(Debug, Args)]
struct Question {
    /// Who.
    subject: String,
    /// What, such as `read logs:today.log`, `connect example.com:443` or `run /usr/bin/git status`.
    access: String,
    /// The policy's file.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
}

impl Question {
    fn read(&self) -> Result<(Subject, Access), CommandError> {
        let subject = Subject::parse(&self.subject)
            .map_err(|error| CommandError::of(Kind::Usage, "read the subject", &error))?;
        let access = Access::parse(&self.access)
            .map_err(|error| CommandError::of(Kind::Usage, "read the access", &error))?;
        Ok((subject, access))
    }
}

impl Can {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let (subject, access) = self.question.read()?;
        let policy = policy::read(&self.question.policy)?;
        let data = policy::decision(&policy, policy.decide(&subject, &access));
        if data["allowed"] == true {
            return ui.done(data, |data| format!("allowed by: {}", text_of(data, "rule")));
        }
        let why =
            data["rule"].as_str().map_or("no rule allows it".to_owned(), |rule| format!("denied by: {rule}"));
        let message = format!("{subject} may not `{access}`: {why}");
        Err(CommandError::new(Kind::Refused, message).data(data))
    }
}

impl Explain {
    pub(crate) fn run(self, ui: &Ui) -> Result<ExitCode, CommandError> {
        let (subject, access) = self.question.read()?;
        let policy = policy::read(&self.question.policy)?;
        let decided = policy::decision(&policy, policy.decide(&subject, &access));
        let rules = policy.explain(&subject, &access);
        let data = json!({
            "subject": subject.as_str(),
            "access": access.to_string(),
            "allowed": decided["allowed"],
            "rules": rules.iter().map(|rule| policy.rule(*rule).to_string()).collect::<Vec<_>>(),
            "who_can": policy.who_can(&access).iter().map(|subject| subject.as_str()).collect::<Vec<_>>(),
        });
        ui.done(data, text)
    }
}

fn text(data: &Value) -> String {
    let words =
        |key: &str| data[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let allowed = if data["allowed"] == true { "allowed" } else { "denied" };
    let mut lines = vec![format!("{} `{}`: {allowed}", text_of(data, "subject"), text_of(data, "access"))];
    match words("rules")[..] {
        [] => lines.push("no rule concerns it, and what no rule allows is denied".to_owned()),
        [first, ..] => {
            lines.push(format!("because of  {first}"));
            lines.extend(words("rules")[1..].iter().map(|rule| format!("also        {rule}")));
        }
    }
    let who = words("who_can");
    lines.push(format!("who can     {}", if who.is_empty() { "nobody".to_owned() } else { who.join(", ") }));
    lines.join("\n")
}
