//! WASI 0.2 for components whose toolchain needs it: linked, and empty.
//!
//! No directory, no environment, no argument, no socket; standard input is at its end. What a guest prints becomes
//! lines of its log. Clocks and randomness are those of the machine.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{HostLinker, HostState};
use crate::router::{Router, Target};

/// The guest opens streams and pollables, so their number is bounded.
const RESOURCES_MAX: usize = 4096;
/// A line longer than this is cut into several.
const LINE_BYTES_MAX: usize = 8192;

/// The interfaces of WASI 0.2 that are linked, without their versions.
pub(crate) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The version that the linked interfaces have; any 0.2 fits.
pub(crate) const VERSION: &str = "0.2.12";

/// WASI state of one instance.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    /// Grants nothing. What the guest prints goes to the log of `target`.
    pub(crate) fn nothing(target: &Arc<Target>, router: &Router) -> Box<Self> {
        let stream = |level| LogStream { target: Arc::clone(target), router: router.clone(), level };
        let mut ctx = WasiCtx::builder();
        ctx.stdout(stream(tracing::Level::INFO)).stderr(stream(tracing::Level::WARN));
        ctx.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        Wasi::new(ctx.build())
    }

    fn new(ctx: WasiCtx) -> Box<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Box::new(Wasi { ctx, table })
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.as_mut().expect("an instance whose component imports WASI has a WASI context");
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

pub(super) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(&mut host.linker)?;
    for interface in INTERFACES {
        host.provided.insert(format!("{interface}@{VERSION}"), Default::default());
    }
    Ok(())
}

/// Turns what a guest prints into lines of its log.
struct LogStream {
    target: Arc<Target>,
    router: Router,
    level: tracing::Level,
}

struct LogWriter {
    target: Arc<Target>,
    router: Router,
    level: tracing::Level,
    line: Vec<u8>,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LogWriter {
            target: Arc::clone(&self.target),
            router: self.router.clone(),
            level: self.level,
            line: Vec::new(),
        })
    }
}

impl LogWriter {
    fn finish_line(&mut self) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            self.router.log(&self.target, self.level, text);
        }
    }
}

impl AsyncWrite for LogWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, io::Error>> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() >= LINE_BYTES_MAX {
                self.finish_line();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.finish_line();
        Poll::Ready(Ok(()))
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.finish_line();
    }
}
