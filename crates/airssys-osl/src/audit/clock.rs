//! Time as records have it: beside the time of day, which people and networks set, a clock that only goes forward.

use std::time::Duration;

/// How long the machine is up, sleep included. Nobody sets it.
pub(crate) fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// One opening of a log: which one it is, and since when.
#[derive(Debug)]
pub(super) struct Run {
    id: Box<str>,
    began: Duration,
}

impl Run {
    /// One that begins now.
    pub(super) fn begin() -> std::io::Result<Self> {
        let mut bytes = [0; 8];
        crate::host::random_bytes(&mut bytes)?;
        Ok(Self { id: format!("{:016x}", u64::from_be_bytes(bytes)).into(), began: uptime() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(uptime().saturating_sub(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}
