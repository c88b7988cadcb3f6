//! What one instance of a component may use. Every limit has a default and a hard maximum; neither file can exceed it.
//!
//! `Component.toml` chooses within the maximum; the application file may only tighten what was chosen.

use std::ops::RangeInclusive;
use std::time::Duration;

use airssys_osl::document::{Located, Problem};
use airssys_osl::document::{Section, bytes_text};

/// The effective limits of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes, the sum over all memories.
    pub memory_bytes_max: u64,
    /// Elements, the sum over all tables.
    pub table_elements_max: u64,
    /// Guest time per message.
    pub cpu_max: Duration,
    /// Wall clock per message; a message that carries an earlier deadline keeps it.
    pub deadline: Duration,
    /// Fuel per message; none: fuel is not metered.
    pub fuel_max: Option<u64>,
    /// The largest payload that the component takes or sends.
    pub payload_bytes_max: u64,
}

impl Default for Limits {
    /// 16 MiB of memory, 10,000 table elements, 1 s of guest time and 30 s of wall clock per message, no fuel metering,
    /// payloads of 1 MiB.
    fn default() -> Self {
        Limits {
            memory_bytes_max: 16 << 20,
            table_elements_max: 10_000,
            cpu_max: Duration::from_secs(1),
            deadline: Duration::from_secs(30),
            fuel_max: None,
            payload_bytes_max: 1 << 20,
        }
    }
}

const MEMORY_BYTES: RangeInclusive<u64> = 64 << 10..=4 << 30;
/// The most elements that the tables of one component can have: what a slot of the instance pool has room for.
pub(crate) const TABLE_ELEMENTS_MAX: u64 = 100_000;
const TABLE_ELEMENTS: RangeInclusive<u64> = 1..=TABLE_ELEMENTS_MAX;
const CPU_MS: RangeInclusive<u64> = 1..=600_000;
const DEADLINE_MS: RangeInclusive<u64> = 1..=3_600_000;
const FUEL: RangeInclusive<u64> = 1..=1_000_000_000_000_000;
const PAYLOAD_BYTES: RangeInclusive<u64> = 1..=64 << 20;

/// The limits that one file writes down, each within its hard maximum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenLimits {
    memory_bytes_max: Option<Located<u64>>,
    table_elements_max: Option<Located<u64>>,
    cpu_ms_max: Option<Located<u64>>,
    deadline_ms: Option<Located<u64>>,
    fuel_max: Option<Located<u64>>,
    payload_bytes_max: Option<Located<u64>>,
}

impl WrittenLimits {
    /// Reads a table of limits.
    pub fn read(section: &mut Section<'_>) -> Self {
        WrittenLimits {
            memory_bytes_max: section.bytes("memory_bytes_max", MEMORY_BYTES),
            table_elements_max: section.integer("table_elements_max", TABLE_ELEMENTS),
            cpu_ms_max: section.integer("cpu_ms_max", CPU_MS),
            deadline_ms: section.integer("deadline_ms", DEADLINE_MS),
            fuel_max: section.integer("fuel_max", FUEL),
            payload_bytes_max: section.bytes("payload_bytes_max", PAYLOAD_BYTES),
        }
    }

    /// The written limits, and the defaults for the rest.
    pub fn or_default(&self) -> Limits {
        let rest = Limits::default();
        let written = |limit: &Option<Located<u64>>, rest| limit.as_ref().map_or(rest, |limit| limit.value);
        let time = |limit: &Option<Located<u64>>, rest| {
            limit.as_ref().map_or(rest, |limit| Duration::from_millis(limit.value))
        };
        Limits {
            memory_bytes_max: written(&self.memory_bytes_max, rest.memory_bytes_max),
            table_elements_max: written(&self.table_elements_max, rest.table_elements_max),
            cpu_max: time(&self.cpu_ms_max, rest.cpu_max),
            deadline: time(&self.deadline_ms, rest.deadline),
            fuel_max: self.fuel_max.as_ref().map(|limit| limit.value).or(rest.fuel_max),
            payload_bytes_max: written(&self.payload_bytes_max, rest.payload_bytes_max),
        }
    }

    /// `chosen` tightened by what is written here; a limit that would widen is a problem and leaves `chosen` as it was.
    pub fn tighten(&self, chosen: &Limits, problems: &mut Vec<Problem>) -> Limits {
        let mut tighten = |key, written: &Option<Located<u64>>, chosen: u64, show: fn(u64) -> String| {
            let Some(limit) = written else { return chosen };
            if limit.value <= chosen {
                return limit.value;
            }
            let message = format!(
                "`{key}` is {}, but Component.toml has {}: an application may only tighten a limit",
                show(limit.value),
                show(chosen)
            );
            problems.push(Problem::new(limit.at, message));
            chosen
        };
        let number: fn(u64) -> String = |number| number.to_string();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let fuel = tighten("fuel_max", &self.fuel_max, chosen.fuel_max.unwrap_or(u64::MAX), number);
        Limits {
            memory_bytes_max: tighten(
                "memory_bytes_max",
                &self.memory_bytes_max,
                chosen.memory_bytes_max,
                bytes_text,
            ),
            table_elements_max: tighten(
                "table_elements_max",
                &self.table_elements_max,
                chosen.table_elements_max,
                number,
            ),
            cpu_max: Duration::from_millis(tighten(
                "cpu_ms_max",
                &self.cpu_ms_max,
                ms(chosen.cpu_max),
                number,
            )),
            deadline: Duration::from_millis(tighten(
                "deadline_ms",
                &self.deadline_ms,
                ms(chosen.deadline),
                number,
            )),
            fuel_max: (fuel != u64::MAX).then_some(fuel),
            payload_bytes_max: tighten(
                "payload_bytes_max",
                &self.payload_bytes_max,
                chosen.payload_bytes_max,
                bytes_text,
            ),
        }
    }
}
