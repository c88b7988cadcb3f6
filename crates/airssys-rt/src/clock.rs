//! The monotonic clock as a number: nanoseconds since the first look, so that a deadline fits beside a message.
//!
//! It follows tokio's clock, also where a test pauses it.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Later than every deadline.
pub(crate) const NEVER: i64 = i64::MAX;

#[inline]
pub(crate) fn now() -> i64 {
    nanos(Instant::now())
}

#[inline]
pub(crate) fn nanos(at: Instant) -> i64 {
    let at = at.into_std();
    let epoch = epoch();
    match at.checked_duration_since(epoch) {
        Some(since) => as_nanos(since),
        None => -as_nanos(epoch.duration_since(at)),
    }
}

/// `None` for [`NEVER`] and for what no clock can show.
pub(crate) fn instant(nanos: i64) -> Option<Instant> {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos == NEVER {
        return None;
    }
    let at = if nanos < 0 { epoch().checked_sub(distance) } else { epoch().checked_add(distance) };
    at.map(Instant::from_std)
}

/// The number `after` a moment; [`NEVER`] where it would overflow.
#[inline]
pub(crate) fn add(nanos: i64, after: Duration) -> i64 {
    nanos.saturating_add(as_nanos(after))
}

#[inline]
fn as_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[inline]
fn epoch() -> std::time::Instant {
    #[cfg(feature = "testing")]
    if let Some(epoch) = OWN_EPOCH.get() {
        return epoch;
    }
    static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}

#[cfg(feature = "testing")]
thread_local! {
    static OWN_EPOCH: std::cell::Cell<Option<std::time::Instant>> = const { std::cell::Cell::new(None) };
}

/// Lets the clock of this thread begin now, until it is dropped. What is rounded to ticks of this clock would else depend on
/// how long the process has run, and a seeded run must not.
#[cfg(feature = "testing")]
pub(crate) struct OwnEpoch(Option<std::time::Instant>);

#[cfg(feature = "testing")]
impl OwnEpoch {
    pub(crate) fn begin() -> Self {
        Self(OWN_EPOCH.replace(Some(Instant::now().into_std())))
    }
}

#[cfg(feature = "testing")]
impl Drop for OwnEpoch {
    fn drop(&mut self) {
        OWN_EPOCH.set(self.0);
    }
}
