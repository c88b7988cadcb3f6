//! For programs without tasks: a small runtime that waits for what is asynchronous.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// What still runs when the last user goes is waited for so long.
const END_WAIT: Duration = Duration::from_secs(5);

/// Waits for futures on a thread that may block. One thread beside it keeps effects going that nobody waits for.
#[derive(Debug)]
pub struct Blocking(Option<Runtime>);

/// Why nothing can be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The threads could not be started.
    #[error("start a thread to wait on")]
    Start(#[source] io::Error),
    /// This thread belongs to a runtime, whose tasks would wait as well.
    #[error("wait in a thread that runs tasks: use `.await` there")]
    InTask,
}

impl Blocking {
    /// Starts the thread.
    pub fn new() -> Result<Self, BlockingError> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("airssys-osl blocking").enable_all();
        Ok(Self(Some(builder.build().map_err(BlockingError::Start)?)))
    }

    /// Waits for a future.
    pub fn wait<F: Future>(&self, future: F) -> Result<F::Output, BlockingError> {
        if Handle::try_current().is_ok() {
            return Err(BlockingError::InTask);
        }
        let runtime = self.0.as_ref().expect("the runtime is there until it is dropped");
        Ok(runtime.block_on(future))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        match (self.0.take(), Handle::try_current()) {
            // A thread that runs tasks must not wait.
            (Some(runtime), Ok(_)) => runtime.shutdown_background(),
            (Some(runtime), Err(_)) => runtime.shutdown_timeout(END_WAIT),
            (None, _) => {}
        }
    }
}
