//! `airssys tree`: the supervision tree of the running application.

use std::path::Path;
use std::process::ExitCode;

use airssys_node::TreeNodeStatus;
use airssys_node::control::Verb;
use clap::Args;
use serde_json::Value;

use super::{ANSWER_TIMEOUT, ask};
use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// Shows the supervision tree of the running application.
#[derive(Debug, Args)]
pub(crate) struct Tree {}

impl Tree {
    pub(crate) async fn run(self, ui: &Ui, socket: Option<&Path>) -> Result<ExitCode, CommandError> {
        let data = ask(socket, Verb::Tree, ANSWER_TIMEOUT).await?;
        let nodes = data.get("tree").cloned().unwrap_or_default();
        let nodes: Vec<TreeNodeStatus> = serde_json::from_value(nodes)
            .map_err(|error| CommandError::of(Kind::NotRunning, "read the node's answer", &error))?;
        ui.done(data, |_: &Value| drawn(&nodes))
    }
}

/// The tree with one line per node.
pub(crate) fn drawn(nodes: &[TreeNodeStatus]) -> String {
    let mut text = String::new();
    for node in nodes {
        text.push_str(&line(node));
        text.push('\n');
        draw_children(&node.children, "", &mut text);
    }
    text
}

fn draw_children(children: &[TreeNodeStatus], indent: &str, text: &mut String) {
    for (index, child) in children.iter().enumerate() {
        let (branch, rail) =
            if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        text.push_str(&format!("{indent}{branch}{}\n", line(child)));
        draw_children(&child.children, &format!("{indent}{rail}"), text);
    }
}

fn line(node: &TreeNodeStatus) -> String {
    let mut line = format!("{} ({}) {}", node.name, node.kind, node.state);
    match node.restarts {
        0 => {}
        1 => line.push_str(", 1 restart"),
        more => line.push_str(&format!(", {more} restarts")),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, restarts: u64, children: Vec<TreeNodeStatus>) -> TreeNodeStatus {
        let kind = if children.is_empty() { "worker" } else { "supervisor" };
        TreeNodeStatus { name: name.into(), kind: kind.into(), state: "running".into(), restarts, children }
    }

    #[test]
    fn every_node_hangs_below_its_supervisor() {
        let inner = node("workers", 0, vec![node("parse", 2, vec![]), node("enrich", 0, vec![])]);
        let text = drawn(&[node("app", 0, vec![inner, node("tally", 1, vec![])])]);
        let expected = "app (supervisor) running\n\
            ├─ workers (supervisor) running\n\
            │  ├─ parse (worker) running, 2 restarts\n\
            │  └─ enrich (worker) running\n\
            └─ tally (worker) running, 1 restart\n";
        assert_eq!(text, expected);
    }
}
