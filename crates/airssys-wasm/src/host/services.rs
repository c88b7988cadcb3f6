//! `airssys:core/logging`, `clock`, `sleep`, `async-sleep`, `random` and `config`.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::wire::LogLevel;
use super::{HostLinker, HostState, Path};

/// The guest chooses the length, so it is clamped.
const RANDOM_BYTES_MAX: usize = 65_536;

pub(super) fn link(host: &mut HostLinker, path: Path, concurrent: bool) -> wasmtime::Result<()> {
    host.interface("logging")?.function("log", |store, (level, text): (LogLevel, String)| {
        store.data().log(level, text);
        Ok(())
    })?;

    let mut clock = host.interface("clock")?;
    clock.function("now-ns", |_, ()| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok((u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),))
    })?;
    clock.function("monotonic-ns", |_, ()| Ok((monotonic_ns(),)))?;

    if path == Path::Suspending {
        host.interface("sleep")?.waiting("sleep-ms", |store, (ms,): (u64,)| {
            Box::new(async move {
                tokio::time::sleep_until(store.data().wake_at(ms)).await;
                Ok(())
            })
        })?;
    }
    if concurrent {
        host.interface("async-sleep")?.awaited("sleep-ms", |state, (ms,): (u64,)| {
            let until = state.wake_at(ms);
            Ok(async move {
                tokio::time::sleep_until(until).await;
                Ok(())
            })
        })?;
    }

    let mut random = host.interface("random")?;
    random.function("bytes", |_, (len,): (u32,)| {
        let mut bytes = vec![0; (len as usize).min(RANDOM_BYTES_MAX)];
        airssys_osl::random_bytes(&mut bytes)?;
        Ok((bytes,))
    })?;
    random.function("number", |_, ()| {
        let mut bytes = [0; 8];
        airssys_osl::random_bytes(&mut bytes)?;
        Ok((u64::from_ne_bytes(bytes),))
    })?;

    let mut config = host.interface("config")?;
    config.function("entry", |store, (key,): (String,)| {
        let entries = &store.data().identity.config;
        Ok((entries.iter().find(|(held, _)| *held == key).map(|(_, value)| value.clone()),))
    })?;
    config.function("entries", |store, ()| Ok((store.data().identity.config.clone(),)))
}

fn monotonic_ns() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(std::time::Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl HostState {
    /// Never past the deadline of the message being handled.
    fn wake_at(&self, ms: u64) -> Instant {
        let now = Instant::now();
        let until = now.checked_add(Duration::from_millis(ms)).unwrap_or(now + Duration::from_secs(86_400));
        self.handling.deadline.map_or(until, |deadline| deadline.min(until))
    }

    fn log(&self, level: LogLevel, text: String) {
        let level = match level {
            LogLevel::Trace => tracing::Level::TRACE,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Error => tracing::Level::ERROR,
        };
        self.identity.router.log(&self.identity.target, level, text);
    }
}
