//! Lines into the system, with back-pressure: a bounded number waits for its answer, and no line is read before there
//! is room for it.
//!
//! Every line ends in exactly one way, so `read` is the sum of `accepted` and `rejected`.

use std::time::{Duration, Instant};

use airssys_osl::{FsError, Line, Lines};
use airssys_wasm::{CallError, ComponentHandle, Payload};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::application::Input;
use crate::node::Node;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Where the feed stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Lines read.
    pub read: u64,
    /// Of them accepted.
    pub accepted: u64,
    /// Of them rejected.
    pub rejected: u64,
    /// Bytes read of the input.
    pub bytes: u64,
    /// Size of the input, where it has one.
    pub bytes_total: Option<u64>,
}

/// How the feed ended.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct FeedSummary {
    /// Lines read: the sum of the next two.
    pub read: u64,
    /// Lines that the component answered.
    pub accepted: u64,
    /// Lines that it did not.
    pub rejected: u64,
    /// Why not.
    pub rejected_by: Rejections,
    /// Milliseconds from the first byte read to the last answer.
    pub elapsed_ms: u64,
    /// Milliseconds from the first byte read to the first answer.
    pub first_answer_ms: Option<u64>,
    /// Whether it was asked to stop before the end of the input.
    pub interrupted: bool,
}

/// Why lines were rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rejections {
    /// The component refused the line.
    pub refused: u64,
    /// The component crashed on the line.
    pub crashed: u64,
    /// No answer in time.
    pub timeout: u64,
    /// Longer than the application takes; not sent.
    pub too_long: u64,
    /// The component took no message.
    pub undelivered: u64,
}

/// Lines that are read ahead of the system.
const READ_AHEAD: usize = 64;

impl Rejections {
    fn sum(&self) -> u64 {
        let Rejections { refused, crashed, timeout, too_long, undelivered } = *self;
        refused + crashed + timeout + too_long + undelivered
    }
}

impl Node {
    /// Feeds lines to the component that the application names for them, until the input ends or `stop` turns true; then
    /// waits for the answers that are still out. An error of the input ends the feed in the same way and comes with what
    /// was done until then. None when the application takes no lines.
    pub async fn feed(
        &self,
        input: airssys_osl::Input,
        stop: watch::Receiver<bool>,
        progress: impl Fn(Progress),
    ) -> Option<(FeedSummary, Result<(), FsError>)> {
        let options = self.input()?;
        let to = self.component(options.to.as_str())?;
        Some(feed(input, to, options, stop, progress).await)
    }
}

async fn feed(
    input: airssys_osl::Input,
    to: &ComponentHandle,
    options: &Input,
    mut stop: watch::Receiver<bool>,
    progress: impl Fn(Progress),
) -> (FeedSummary, Result<(), FsError>) {
    let started = Instant::now();
    let mut told = started;
    let mut summary = FeedSummary::default();
    let lines = Lines::new(input, options.line_bytes_max);
    let bytes_total = lines.bytes_total();
    let mut bytes = 0;
    let mut lines = read_ahead(lines);
    let mut waiting = FuturesUnordered::new();
    let mut open = true;
    let mut result = Ok(());
    loop {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            progress(progress_of(&summary, bytes, bytes_total));
        }
        let room = waiting.len() < options.in_flight;
        tokio::select! {
            biased;
            () = stopped(&mut stop), if open => {
                summary.interrupted = true;
                open = false;
            }
            line = lines.recv(), if open && room => match line {
                Some(Ok(read)) => {
                    summary.read += 1;
                    bytes = read.bytes_read;
                    match read.line {
                        Line::Whole(text) => waiting.push(to.call(Payload::raw(text), Some(options.timeout))),
                        Line::TooLong { .. } => summary.rejected_by.too_long += 1,
                    }
                }
                Some(Err(error)) => {
                    result = Err(error);
                    open = false;
                }
                None => open = false,
            },
            Some(answer) = waiting.next() => settle(&mut summary, answer, started),
            else => break,
        }
    }
    summary.rejected = summary.rejected_by.sum();
    summary.elapsed_ms = ms(started.elapsed());
    progress(progress_of(&summary, bytes, bytes_total));
    (summary, result)
}

struct Read {
    line: Line,
    bytes_read: u64,
}

/// Reading blocks, so a thread of its own does it. It ends with the input, or when nobody takes its lines any more;
/// one that waits for a terminal ends with the process.
fn read_ahead(mut lines: Lines) -> mpsc::Receiver<Result<Read, FsError>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        while let Some(line) = lines.next_line().transpose() {
            let failed = line.is_err();
            let read = line.map(|line| Read { line, bytes_read: lines.bytes_read() });
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Ready once it is told to stop; never when nobody can tell any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn settle(summary: &mut FeedSummary, answer: Result<Payload, CallError>, started: Instant) {
    summary.first_answer_ms.get_or_insert_with(|| ms(started.elapsed()));
    let by = &mut summary.rejected_by;
    match answer {
        Ok(_) => summary.accepted += 1,
        Err(CallError::Rejected(_)) => by.refused += 1,
        Err(CallError::Died) => by.crashed += 1,
        Err(CallError::Timeout) => by.timeout += 1,
        Err(_) => by.undelivered += 1,
    }
}

fn progress_of(summary: &FeedSummary, bytes: u64, bytes_total: Option<u64>) -> Progress {
    let FeedSummary { read, accepted, rejected_by, .. } = *summary;
    Progress { read, accepted, rejected: rejected_by.sum(), bytes, bytes_total }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
