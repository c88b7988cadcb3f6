//! Workload `idle_memory_bytes`: what one more component that has started and waits keeps resident.
//!
//! Nothing that was made is dropped while it is measured, so no run lives in memory that an earlier one gave back.

use airssys_rt::Overflow;

use super::bare::{self, Message};
use super::ours::{self, Node, Tree};
use super::{BARE, Guest, OURS, Sides};
use crate::Outcome;
use crate::machine::resident_bytes;
use crate::report::{RUNS, Report, Series, interleave};

const COMPONENTS: usize = 200;
/// All that one subject makes, so that its list does not grow while memory is measured.
const COMPONENTS_MAX: usize = COMPONENTS * (RUNS + 1);

/// `straight` is called straight on the worker's stack; `suspended` can wait, and runs on a fibre of its own.
pub(super) fn idle(report: &mut Report, sides: &Sides, straight: &Guest, suspended: &Guest) -> Outcome<()> {
    let node = Node::new(&sides.engines, 2)?;
    let mut ours_straight = Ours::new(&node, "straight", straight)?;
    let mut ours_suspended = Ours::new(&node, "suspended", suspended)?;
    let mut bare_straight = Bare::new(straight);
    let mut bare_suspended = Bare::new(suspended);
    let samples = interleave([
        &mut || ours_straight.grow(),
        &mut || ours_suspended.grow(),
        &mut || bare_straight.grow(),
        &mut || bare_suspended.grow(),
    ])?;
    node.stop(ours_straight.tree);
    node.stop(ours_suspended.tree);
    let series = |subject, metric, samples| Series { subject, metric, unit: "B", samples };
    let [ours_straight, ours_suspended, bare_straight, bare_suspended] = samples;
    for (metric, ours, bare) in [
        ("bytes_per_component", ours_straight, bare_straight),
        ("bytes_per_component_that_waits", ours_suspended, bare_suspended),
    ] {
        let bare = series(BARE, metric, bare);
        report.add("idle_memory_bytes", &series(OURS, metric, ours), Some(&bare));
        report.add("idle_memory_bytes", &bare, None);
    }
    Ok(())
}

struct Ours<'a> {
    node: &'a Node,
    name: &'static str,
    guest: &'a Guest,
    tree: Tree,
}

impl<'a> Ours<'a> {
    fn new(node: &'a Node, name: &'static str, guest: &'a Guest) -> Outcome<Self> {
        let mut tree = node.supervise(name, Vec::new())?;
        tree.components.reserve(COMPONENTS_MAX);
        Ok(Ours { node, name, guest, tree })
    }

    fn grow(&mut self) -> Outcome<f64> {
        let Ours { node, name, guest, tree } = self;
        let before = resident_bytes()?;
        for _ in 0..COMPONENTS {
            let name = format!("{name}-{}", tree.components.len());
            let spec = ours::spec(&name, &guest.ours, &[], Overflow::Reject)?;
            let (child, handle) = node.runtime.child(spec)?;
            node.tokio.block_on(tree.supervisor.start_child(child))?;
            tree.components.push(handle);
        }
        Ok((resident_bytes()? - before) / COMPONENTS as f64)
    }
}

struct Bare<'a> {
    guest: &'a Guest,
    instances: Vec<bare::Guest<&'static Message>>,
}

impl<'a> Bare<'a> {
    fn new(guest: &'a Guest) -> Self {
        Bare { guest, instances: Vec::with_capacity(COMPONENTS_MAX) }
    }

    fn grow(&mut self) -> Outcome<f64> {
        let before = resident_bytes()?;
        for _ in 0..COMPONENTS {
            self.instances.push(self.guest.bare.start(&[])?);
        }
        Ok((resident_bytes()? - before) / COMPONENTS as f64)
    }
}
