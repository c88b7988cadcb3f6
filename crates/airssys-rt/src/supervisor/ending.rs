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

/// One incarnation that was told to end. A later one in its place is neither waited for nor killed.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    incarnation: u32,
    at: Instant,
}

/// Ends a child in the time its terms give it.
pub(crate) async fn end(header: &Header, shutdown: Shutdown) -> Ended {
    ended(header, shutdown, ask(header, shutdown)).await
}

/// The first step of an end; the others follow from the time that it gives.
pub(crate) fn ask(header: &Header, shutdown: Shutdown) -> Asked {
    let incarnation = match shutdown {
        Shutdown::Brutal => {
            let incarnation = header.incarnation();
            header.kill(incarnation);
            incarnation
        }
        Shutdown::After(_) | Shutdown::Infinity => header.request_stop(ExitReason::Shutdown),
    };
    Asked { incarnation, at: Instant::now() }
}

/// As [`ask`], but its handler is not waited for and its end has this reason.
pub(crate) fn expel(header: &Header, incarnation: u32, reason: ExitReason) -> Asked {
    header.expel(incarnation, reason);
    Asked { incarnation, at: Instant::now() }
}

/// The rest of an end.
pub(crate) async fn ended(header: &Header, shutdown: Shutdown, asked: Asked) -> Ended {
    match limit(shutdown) {
        None => wait_for_ever(header, asked).await,
        Some(limit) => {
            if settles_within(header, asked, limit).await {
                return Ended::Gone;
            }
            mourn(header, kill(header, asked)).await
        }
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
pub(crate) async fn settles_within(header: &Header, asked: Asked, limit: Duration) -> bool {
    let settled = header.settled_as(asked.incarnation);
    match asked.at.checked_add(limit) {
        Some(deadline) => timeout_at(deadline, settled).await.is_ok(),
        None => {
            settled.await;
            true
        }
    }
}

/// The last step of an end.
pub(crate) fn kill(header: &Header, asked: Asked) -> Asked {
    header.kill(asked.incarnation);
    Asked { at: Instant::now(), ..asked }
}

/// Waits for one that was killed, for as long as a kill may take. Who is not gone then is reported.
pub(crate) async fn mourn(header: &Header, killed: Asked) -> Ended {
    if settles_within(header, killed, STUCK_AFTER).await {
        return Ended::Gone;
    }
    report_stuck(header, killed.at.elapsed());
    Ended::Stuck
}

/// Waits without a limit of time, but not for one that somebody killed and that is stuck.
pub(crate) async fn wait_for_ever(header: &Header, asked: Asked) -> Ended {
    loop {
        let killed_at = header.is_killed().then(Instant::now);
        if timeout(STUCK_AFTER, header.settled_as(asked.incarnation)).await.is_ok() {
            return Ended::Gone;
        }
        if let Some(killed_at) = killed_at {
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
