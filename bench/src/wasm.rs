//! Suite `wasm`: components as supervised actors, beside bare Wasmtime that runs the same guests in the same process.

mod bare;
mod memory;
mod messages;
mod ours;
mod starts;

use airssys_wasm::{Component, EngineOptions, Engines};

use crate::report::Report;
use crate::{NoSuchWorkload, Outcome};

/// The names of the two subjects.
const OURS: &str = "airssys-wasm";
const BARE: &str = "wasmtime";

/// What a result names the versions of.
pub(crate) const PACKAGES: &[&str] = &["wasmtime", "tokio"];

/// Room for every instance of the suite; the same for both subjects.
const POOL_INSTANCES: u32 = 6_000;

/// Both sides, ready to make instances.
struct Sides {
    engines: Engines,
    bare: bare::Engine,
}

/// One guest, compiled for both sides.
struct Guest {
    ours: Component,
    bare: bare::Prepared,
}

impl Sides {
    fn echo(&self) -> Outcome<Guest> {
        self.guest(include_bytes!("../../guests/prebuilt/echo.wasm"))
    }

    fn crasher(&self) -> Outcome<Guest> {
        self.guest(include_bytes!("../../guests/prebuilt/crasher.wasm"))
    }

    fn guest(&self, wasm: &[u8]) -> Outcome<Guest> {
        Ok(Guest { ours: Component::load(&self.engines, wasm, false)?, bare: self.bare.prepare(wasm)? })
    }
}

/// In the order in which they run. Memory comes first, while no other workload has left some behind to be used again.
const WORKLOADS: [(&str, Workload); 6] = [
    ("idle_memory_bytes", |report, sides| memory::idle(report, sides, &sides.echo()?, &sides.crasher()?)),
    ("hop", |report, sides| {
        messages::hop(report, sides, &sides.guest(include_bytes!("../../guests/prebuilt/hop.wasm"))?)
    }),
    ("ring", |report, sides| {
        messages::ring(report, sides, &sides.guest(include_bytes!("../../guests/prebuilt/ring.wasm"))?)
    }),
    ("call_round_trip", |report, sides| {
        let relay = sides.guest(include_bytes!("../../guests/prebuilt/relay.wasm"))?;
        messages::call_round_trip(report, sides, &relay, &sides.echo()?)
    }),
    ("spawn", |report, sides| starts::spawn(report, sides, &sides.echo()?)),
    ("restart_after_trap", |report, sides| starts::restart_after_trap(report, sides, &sides.crasher()?)),
];

type Workload = fn(&mut Report, &Sides) -> Outcome<()>;

pub(crate) fn measure(only: Option<&str>) -> Outcome<Report> {
    if let Some(workload) = only.filter(|only| WORKLOADS.iter().all(|(name, _)| name != only)) {
        let has = WORKLOADS.map(|(name, _)| name).join(", ");
        return Err(NoSuchWorkload { workload: workload.to_owned(), has }.into());
    }
    let mut report = Report::new("wasm", OURS, &[]);
    let options = EngineOptions { pool_instances: Some(POOL_INSTANCES), cache: None };
    let sides = Sides { engines: Engines::new(options)?, bare: bare::Engine::new(POOL_INSTANCES)? };
    for (name, workload) in WORKLOADS {
        if only.is_none_or(|only| only == name) {
            workload(&mut report, &sides)?;
        }
    }
    Ok(report)
}
