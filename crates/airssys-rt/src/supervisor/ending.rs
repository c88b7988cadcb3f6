//! How a child is ended: it is asked, has its time, is killed, and is reported when it does not notice even that.
//!
//! A killed actor ends at its next await. One that never awaits holds its place for as long as it likes, so nobody waits for
//! it longer than [`STUCK_AFTER`]: it is called stuck and left behind, and its place is taken again when it is gone.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::exit::ExitReason;
use crate::observe::Event;
use crate::slot::Header;

use super::spec::Shutdown;

/// What a killed actor has to notice the kill, before it is called stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(1);

/// What became of a child that was to end.
#[derive(Debug)]
#[must_use = "a stuck child still holds its place"]
pub(crate) enum Ended {
    Gone,
    /// It was killed and is still there.
    Stuck,
}

/// Ends a child in the time its specification gives it.
pub(crate) async fn end(header: &Header, shutdown: Shutdown) -> Ended {
    let asked_at = Instant::now();
    ask(header, shutdown);
    match limit(shutdown) {
        None => wait_for_ever(header).await,
        Some(limit) => {
            if settles_by(header, asked_at, limit).await {
                return Ended::Gone;
            }
            kill(header).await
        }
    }
}

/// The first step of an end; the others follow from the time that it gives.
pub(crate) fn ask(header: &Header, shutdown: Shutdown) {
    match shutdown {
        Shutdown::Brutal => drop(header.exit(ExitReason::Killed)),
        Shutdown::After(_) | Shutdown::Infinity => header.request_stop(ExitReason::Shutdown),
    }
}

/// How long a child that was asked has until it is killed. `None`: it is not.
pub(crate) fn limit(shutdown: Shutdown) -> Option<Duration> {
    match shutdown {
        Shutdown::Brutal => Some(Duration::ZERO),
        Shutdown::After(limit) => Some(limit),
        Shutdown::Infinity => None,
    }
}

/// Whether a child is gone when its time is over. An unlimited time ends after any clock does.
pub(crate) async fn settles_by(header: &Header, asked_at: Instant, limit: Duration) -> bool {
    match asked_at.checked_add(limit) {
        Some(deadline) => timeout_at(deadline, header.settled()).await.is_ok(),
        None => {
            header.settled().await;
            true
        }
    }
}

/// Kills, and waits for as long as a kill may take.
pub(crate) async fn kill(header: &Header) -> Ended {
    header.exit(ExitReason::Killed);
    let killed_at = Instant::now();
    mourn(header, killed_at).await
}

/// Waits for one that was killed. Who is not gone in time is reported.
pub(crate) async fn mourn(header: &Header, killed_at: Instant) -> Ended {
    if settles_by(header, killed_at, STUCK_AFTER).await {
        return Ended::Gone;
    }
    report_stuck(header, killed_at.elapsed());
    Ended::Stuck
}

/// Waits without a limit of time, but not for one that somebody killed and that is stuck.
pub(crate) async fn wait_for_ever(header: &Header) -> Ended {
    loop {
        let killed = header.is_killed().then(Instant::now);
        if timeout(STUCK_AFTER, header.settled()).await.is_ok() {
            return Ended::Gone;
        }
        if let Some(killed_at) = killed {
            report_stuck(header, killed_at.elapsed());
            return Ended::Stuck;
        }
    }
}

/// Waits until nobody lives in a place. Who was killed and holds it for long is reported once, and waited for.
pub(crate) async fn vacated(header: &Header) {
    if header.is_settled() {
        return;
    }
    let since = Instant::now();
    if timeout(STUCK_AFTER, header.settled()).await.is_err() {
        if header.is_killed() {
            report_stuck(header, since.elapsed());
        }
        header.settled().await;
    }
}

/// As [`vacated`], but for no longer than a kill may take. Whether the place is free then is for the caller to see.
pub(crate) async fn vacated_soon(header: &Header) {
    if is_leaving(header) {
        drop(timeout(STUCK_AFTER, header.settled()).await);
    }
}

/// Somebody still holds the place, and has to go.
pub(crate) fn is_leaving(header: &Header) -> bool {
    !header.is_settled() && (header.is_killed() || !header.lock().is_alive())
}

/// Runs beside its supervisor, and ends with the actor it is about.
pub(crate) fn beside(of: &Header, task: impl Future<Output = ()> + Send + 'static) {
    of.start_task(task);
}

fn report_stuck(header: &Header, since: Duration) {
    tracing::warn!(actor = %header.name, id = header.id.as_u64(), ?since, "killed actor is stuck: it does not await");
    header.system.emit(|| Event::Stuck { id: header.id, name: header.name.clone(), since });
}
