//! Names of one application file against each other: unique, known, and without a circle of supervisors.

use std::collections::{HashMap, HashSet};

use airssys_osl::document::{Located, Problem};
use airssys_wasm::manifest::ComponentName;

use super::{Application, INSTANCES_MAX, SupervisorEntry};

/// Everything that is wrong with the references of `application`.
pub(super) fn check(application: &Application) -> Vec<Problem> {
    let mut problems = Vec::new();
    duplicates(application, &mut problems);
    supervisors(application, &mut problems);
    circles(application, &mut problems);
    targets(application, &mut problems);
    instances(application, &mut problems);
    problems
}

/// Supervisors and components are the children of one tree: an operator addresses them by one kind of name.
fn duplicates(application: &Application, problems: &mut Vec<Problem>) {
    let supervisors = application.supervisors.iter().map(|supervisor| &supervisor.name);
    let mut names: Vec<_> =
        supervisors.chain(application.components.iter().map(|component| &component.name)).collect();
    names.sort_by_key(|name| name.at);
    let mut seen = HashMap::new();
    for name in names {
        if let Some(first) = seen.insert(&name.value, name.at) {
            let message = format!("`{}` is the name of another child, on line {}", name.value, first.line);
            problems.push(Problem::new(name.at, message));
        }
    }
    for supervisor in &application.supervisors {
        if supervisor.name.value == application.name {
            let message = format!("`{}` is the name of the root supervisor", application.name);
            problems.push(Problem::new(supervisor.name.at, message));
        }
    }
}

fn supervisors(application: &Application, problems: &mut Vec<Problem>) {
    let own = application.supervisors.iter().map(|supervisor| supervisor.name.value.as_str());
    let known: HashSet<&str> = own.chain([application.name.as_str()]).collect();
    let parents = application.supervisors.iter().filter_map(|supervisor| supervisor.parent.as_ref());
    let named = application.components.iter().filter_map(|component| component.supervisor.as_ref());
    problems.extend(parents.chain(named).filter_map(|name| unknown("supervisor", name, &known)));
}

fn targets(application: &Application, problems: &mut Vec<Problem>) {
    let known: HashSet<&str> =
        application.components.iter().map(|component| component.name.value.as_str()).collect();
    let input = application.input.iter().map(|input| input.clone().map(|input| input.to));
    let report = application.report.iter().map(|report| report.clone().map(|report| report.call));
    problems.extend(input.chain(report).filter_map(|name| unknown("component", &name, &known)));

    let patterns = application.components.iter().flat_map(|component| &component.grants.send);
    for pattern in patterns {
        let name = pattern.value.exact_name(application.name.as_str());
        if let Some(name) = name.filter(|name| !known.contains(name)) {
            let message = format!("unknown component `{name}`");
            problems.push(Problem::suggesting(pattern.at, message, name, sorted(&known)));
        }
    }
}

fn unknown(what: &str, name: &Located<ComponentName>, known: &HashSet<&str>) -> Option<Problem> {
    let text = name.value.as_str();
    let message = format!("unknown {what} `{text}`");
    (!known.contains(text)).then(|| Problem::suggesting(name.at, message, text, sorted(known)))
}

/// In a fixed order, so that the same file gets the same suggestion every time.
fn sorted<'n>(known: &HashSet<&'n str>) -> Vec<&'n str> {
    let mut names: Vec<&str> = known.iter().copied().collect();
    names.sort_unstable();
    names
}

/// Reports each circle once, at the member that comes first in the file.
fn circles(application: &Application, problems: &mut Vec<Problem>) {
    let entries = &application.supervisors;
    let index_of: HashMap<&ComponentName, usize> =
        entries.iter().enumerate().map(|(index, entry)| (&entry.name.value, index)).collect();
    let parent_of = |entry: &SupervisorEntry| index_of.get(&entry.parent.as_ref()?.value).copied();
    let parents: Vec<Option<usize>> = entries.iter().map(parent_of).collect();
    for (first, entry) in entries.iter().enumerate() {
        let above = std::iter::successors(parents[first], |index| parents[*index]);
        // Longer than all supervisors together is a circle further up, which has a first member of its own.
        let above: Vec<usize> = above.take(entries.len()).take_while(|index| *index >= first).collect();
        let Some(steps) = above.iter().position(|index| *index == first) else { continue };
        let names: Vec<&str> =
            above[..=steps].iter().map(|index| entries[*index].name.value.as_str()).collect();
        let message = format!(
            "supervisor `{0}` is below itself: {0} under {1}",
            entry.name.value,
            names.join(" under ")
        );
        let at = entry.parent.as_ref().map_or(entry.name.at, |parent| parent.at);
        problems.push(Problem::new(at, message));
    }
}

fn instances(application: &Application, problems: &mut Vec<Problem>) {
    let mut sum = 0;
    for component in &application.components {
        sum += u64::from(component.instances);
        if sum > INSTANCES_MAX {
            let message = format!("the application has more than {INSTANCES_MAX} instances");
            problems.push(Problem::new(component.at, message));
            return;
        }
    }
}
