//! Workload `idle_memory_bytes`: what one more component that has started and waits keeps resident.
//!
//! Nothing that was made is dropped while it is measured, so no run lives in memory that an earlier one gave back.

use std::path::Path;

use airssys_rt::Overflow;

use super::bare::{self, Message};
use super::ours::{self, Node};
use super::{BARE, Guest, OURS, Sides};
use crate::Outcome;
use crate::report::{Report, Series, interleave};

const COMPONENTS: usize = 250;

pub(super) fn idle(report: &mut Report, sides: &Sides, guest: &Guest) -> Outcome<()> {
    let node = Node::new(&sides.engines, 2)?;
    let mut tree = node.supervise("idle", Vec::new())?;
    let mut bare_guests: Vec<bare::Guest<&'static Message>> = Vec::with_capacity(16 * COMPONENTS);
    tree.components.reserve(16 * COMPONENTS);
    let [ours, bare] = interleave([
        &mut || {
            let before = resident_bytes()?;
            for _ in 0..COMPONENTS {
                let name = format!("idle-{}", tree.components.len());
                let spec = ours::spec(&name, &guest.ours, &[], Overflow::Reject)?;
                let (child, handle) = node.runtime.child(spec)?;
                node.tokio.block_on(tree.supervisor.start_child(child))?;
                tree.components.push(handle);
            }
            Ok((resident_bytes()? - before) / COMPONENTS as f64)
        },
        &mut || {
            let before = resident_bytes()?;
            for _ in 0..COMPONENTS {
                bare_guests.push(guest.bare.start(&[])?);
            }
            Ok((resident_bytes()? - before) / COMPONENTS as f64)
        },
    ])?;
    drop(bare_guests);
    node.stop(tree);
    let series = |subject, samples| Series { subject, metric: "bytes_per_component", unit: "B", samples };
    let (ours, bare) = (series(OURS, ours), series(BARE, bare));
    report.add("idle_memory_bytes", &ours, Some(&bare));
    report.add("idle_memory_bytes", &bare, None);
    Ok(())
}

/// Exact, unlike the counters that the system keeps per processor.
fn resident_bytes() -> Outcome<f64> {
    let process = airssys_osl::Root::open(Path::new("/proc/self"))?;
    let text = process.read_to_string(Path::new("smaps_rollup"), 1 << 16)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or(NoResidentSize)?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

#[derive(Debug, thiserror::Error)]
#[error("the system does not tell how much memory is resident")]
struct NoResidentSize;
