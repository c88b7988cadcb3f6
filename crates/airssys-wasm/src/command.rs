//! Components that are programs: `wasi:cli/command`, run once, with nothing granted but the standard streams.
//!
//! No directory, no environment, no network. The program's memory, tables and instances are bounded like an actor's;
//! its time is not, because a person waits for it and can end it.

use wasmtime::Store;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::Command as Bindings;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::budget::Budget;
use crate::component::{Component, Kind, LoadError, check_import};
use crate::crash::{CrashCause, Frame, diagnose};
use crate::engine::Engines;
use crate::manifest::Limits;

/// A program, loaded.
#[derive(Debug)]
pub struct Command {
    component: Component,
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It could not be loaded.
    #[error("load the program")]
    Load(#[from] LoadError),
    /// It is not a program.
    #[error("the component is not a program: it does not export `wasi:cli/run`{hint}")]
    NotACommand {
        /// What it is instead, if that helps.
        hint: &'static str,
    },
    /// It crashed.
    #[error("the program crashed: {cause}")]
    Crashed {
        /// What happened.
        cause: CrashCause,
        /// The guest's stack, innermost first.
        backtrace: Vec<Frame>,
    },
    /// It was interrupted.
    #[error("the program was interrupted")]
    Interrupted,
}

/// Memory of a program: programs are larger than actors.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Streams, files and pollables that a program may hold at a time.
const RESOURCES_MAX: usize = 65_536;

struct CommandState {
    ctx: WasiCtx,
    table: ResourceTable,
    budget: Budget,
}

impl WasiView for CommandState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

impl Command {
    /// Checks and compiles.
    pub fn load(engines: &Engines, bytes: &[u8]) -> Result<Self, CommandError> {
        let component = Component::load(engines, bytes, false)?;
        let description = component.description();
        match description.kind {
            Kind::Command => {}
            Kind::Actor | Kind::AsyncActor => {
                return Err(CommandError::NotACommand { hint: "; it is an actor: run it with `airssys up`" });
            }
            Kind::Other => return Err(CommandError::NotACommand { hint: "" }),
        }
        for import in &description.imports {
            // Only WASI is linked for a program.
            if !import.interface.starts_with("wasi:") {
                let interface = import.interface.clone();
                let missing = import.functions.clone();
                return Err(LoadError::MissingImport { interface, missing, host_has: None }.into());
            }
            check_import(import)?;
        }
        Ok(Command { component })
    }

    /// Runs the program on the standard streams of this process and returns its exit code. `args[0]` is the program's
    /// name. Dropping the future ends the program.
    pub async fn run(&self, args: &[String]) -> Result<i32, CommandError> {
        let engine = self.component.loaded().engine();
        let mut linker = Linker::new(engine);
        let link = |error| CommandError::Load(LoadError::Link(error));
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(link)?;
        let mut ctx = WasiCtx::builder();
        ctx.inherit_stdio().args(args);
        ctx.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, ..Limits::default() };
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let state = CommandState { ctx: ctx.build(), table, budget: Budget::unhurried(&limits) };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.budget);
        // At each tick the program lets the rest of the process run, and a dropped future ends it.
        store.epoch_deadline_async_yield_and_update(1);
        let ran = async {
            let program =
                Bindings::instantiate_async(&mut store, self.component.loaded().compiled(), &linker).await?;
            program.wasi_cli_run().call_run(&mut store).await
        };
        match ran.await {
            Ok(Ok(())) => Ok(0),
            Ok(Err(())) => Ok(1),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(exit.0),
                None => Err(match diagnose(error, store.data().budget.memory_refused()) {
                    Some((cause, backtrace)) => CommandError::Crashed { cause, backtrace },
                    None => CommandError::Interrupted,
                }),
            },
        }
    }
}
