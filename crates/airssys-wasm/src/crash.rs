//! Why a component ended on its own: a typed report instead of a string.
//!
//! A report is the source of an [`airssys_rt::ExitReason`], so whoever watches the tree can downcast to it and finds
//! the cause, the guest's own stack with function names, and the message that was being handled.

use std::fmt;

use bytes::Bytes;

use crate::budget::Interrupted;
use crate::envelope::{Codec, ComponentId, Envelope};

/// How much of the message a report keeps.
const MESSAGE_BYTES_KEPT: usize = 4096;
const FRAMES_KEPT: usize = 64;

/// The end of one instance that nobody asked for.
#[derive(Debug)]
#[non_exhaustive]
pub struct CrashReport {
    /// Which component.
    pub component: ComponentId,
    /// What happened.
    pub cause: CrashCause,
    /// The guest's stack, innermost first, at most 64 frames. Empty where no guest code was running.
    pub backtrace: Vec<Frame>,
    /// The message being handled. None when the instance ended while it started or handled a callback.
    pub message: Option<CrashMessage>,
}

/// What ended an instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrashCause {
    /// WebAssembly trapped: a panic, an access out of bounds, a stack overflow, fuel used up.
    #[error("{0}")]
    Trap(wasmtime::Trap),
    /// WebAssembly trapped after it had been refused memory beyond its limit.
    #[error("{trap}, after it was refused memory beyond its limit of {bytes_max} bytes")]
    Memory {
        /// What it did when there was no more.
        trap: wasmtime::Trap,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// It ran longer than it may for one message.
    #[error("used its guest time of {ms_max} ms for one message")]
    GuestTime {
        /// The limit, in milliseconds.
        ms_max: u64,
    },
    /// It took longer than it may for one message, waiting included.
    #[error("did not finish one message within {ms_max} ms")]
    Deadline {
        /// The limit, in milliseconds.
        ms_max: u64,
    },
    /// The component said that it cannot go on.
    #[error("gave up: {reason}")]
    Fatal {
        /// The component's own words, cut to 4 KiB.
        reason: String,
    },
    /// It left with `wasi:cli/exit`.
    #[error("left with exit code {code}")]
    Exit {
        /// The exit code.
        code: i32,
    },
    /// It was crashed on purpose by the operator.
    #[error("crashed on purpose")]
    OnPurpose,
    /// The instance could not be made, or broke the rules of the component model.
    #[error("{0:#}")]
    Host(wasmtime::Error),
}

/// One function of the guest's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The demangled name, or the function's index where the component carries no names.
    pub function: String,
    /// The offset in the module's code, in bytes, where known.
    pub offset: Option<usize>,
}

/// What a report keeps of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashMessage {
    /// The sender's actor; None is the host.
    pub from: Option<airssys_rt::ActorId>,
    /// How to read the bytes.
    pub codec: Codec,
    /// How many bytes the message had.
    pub len: usize,
    /// The first 4 KiB of them.
    pub bytes: Bytes,
}

impl From<&Envelope> for CrashMessage {
    fn from(envelope: &Envelope) -> Self {
        let payload = &envelope.payload;
        CrashMessage {
            from: envelope.from,
            codec: payload.codec,
            len: payload.bytes.len(),
            bytes: Bytes::copy_from_slice(&payload.bytes[..payload.bytes.len().min(MESSAGE_BYTES_KEPT)]),
        }
    }
}

/// None says that the guest was interrupted because its actor must end, which is not the guest's crash.
pub(crate) fn diagnose(
    error: wasmtime::Error,
    memory_refused: Option<u64>,
) -> Option<(CrashCause, Vec<Frame>)> {
    let frames = error.downcast_ref::<wasmtime::WasmBacktrace>().map(frames).unwrap_or_default();
    let cause = match error.downcast_ref::<Interrupted>() {
        Some(Interrupted::MustEnd) => return None,
        Some(&Interrupted::GuestTime { ms_max }) => CrashCause::GuestTime { ms_max },
        None => match error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            Some(exit) => CrashCause::Exit { code: exit.0 },
            None => match error.downcast_ref::<wasmtime::Trap>() {
                Some(&trap) => match memory_refused {
                    Some(bytes_max) => CrashCause::Memory { trap, bytes_max },
                    None => CrashCause::Trap(trap),
                },
                None => CrashCause::Host(error),
            },
        },
    };
    Some((cause, frames))
}

fn frames(backtrace: &wasmtime::WasmBacktrace) -> Vec<Frame> {
    let frame = |frame: &wasmtime::FrameInfo| Frame {
        function: frame
            .symbols()
            .iter()
            .find_map(|symbol| symbol.name())
            .or(frame.func_name())
            .map_or_else(|| format!("function {}", frame.func_index()), demangle),
        offset: frame.module_offset(),
    };
    backtrace.frames().iter().take(FRAMES_KEPT).map(frame).collect()
}

fn demangle(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}

impl std::error::Error for CrashReport {}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.component, self.cause)?;
        // The panic machinery of the guest's language comes first; the first frame outside it is the one to look at.
        if let Some(frame) = self.backtrace.iter().find(|frame| !is_panic_machinery(&frame.function)) {
            write!(f, " in {}", frame.function)?;
        }
        if let Some(message) = &self.message {
            write!(f, " while handling {message}")?;
        }
        Ok(())
    }
}

/// Functions of Rust's own libraries, through which a panic passes on its way out.
fn is_panic_machinery(function: &str) -> bool {
    let function = function.trim_start_matches('<');
    let libraries = ["core::", "alloc::", "std::", "__rust", "rust_", "abort"];
    libraries.iter().any(|prefix| function.starts_with(prefix))
}

impl fmt::Display for CrashMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(256)];
        write!(f, "{} bytes of {}: \"{}\"", self.len, self.codec, shown.escape_ascii())?;
        if shown.len() < self.len { f.write_str("…") } else { Ok(()) }
    }
}
