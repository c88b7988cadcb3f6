//! The engines of one node, and the clock that interrupts guests.
//!
//! Support for component-model-async doubles the price of every call and fuel costs two to three times what epochs do,
//! so each component gets the engine of its [`Flavour`] and pays only for what it uses. Every flavour has two tiers: a
//! pool of reserved slots sized from the machine's memory, and on-demand allocation for what the pool cannot hold.
//! Engines are made at their first use and shared by every clone of [`Engines`].

mod cache;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

pub use self::cache::CacheError;
use self::cache::CodeCache;
use crate::manifest::TABLE_ELEMENTS_MAX;

/// How often a running guest is interrupted to look at its budget. Deadlines of guests are exact to this.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// What a guest's own frames may take of the stack.
const GUEST_STACK_BYTES: usize = 512 * 1024;
/// A fibre carries the guest's frames and those of the host functions it calls.
const FIBRE_STACK_BYTES: usize = 1024 * 1024;
/// Address space behind each memory of 4 GiB lets the compiler omit bounds checks.
const MEMORY_RESERVATION_BYTES: u64 = 1 << 32;
const MEMORY_GUARD_BYTES: u64 = 32 << 20;
/// What the machine's memory is divided by to size the pool: a small guest with its stack and tables.
const POOL_BYTES_PER_INSTANCE: u64 = 512 * 1024;
/// Each slot reserves 4 GiB of address space, of which a process has 128 TiB.
const POOL_INSTANCES_MAX: u32 = 16_000;
/// A component is several core instances: its own module, the adapters, the shims of its imports.
const CORE_INSTANCES_PER_COMPONENT: u32 = 4;

/// A module with more is refused when it is loaded, in every tier alike.
const TABLES_PER_MODULE_MAX: u32 = 8;
const MEMORIES_PER_MODULE_MAX: u32 = 4;

/// What an engine is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flavour {
    pub(crate) concurrency: bool,
    pub(crate) fuel: bool,
}

impl Flavour {
    fn index(self) -> usize {
        usize::from(self.concurrency) | usize::from(self.fuel) << 1
    }
}

/// Where an instance's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Pool,
    OnDemand,
}

impl Tier {
    fn index(self) -> usize {
        match self {
            Tier::Pool => 0,
            Tier::OnDemand => 1,
        }
    }
}

/// How the engines are sized and where compiled code is kept.
#[derive(Debug, Default)]
pub struct EngineOptions {
    /// Instances of each pool. None sizes it from the machine's memory: one per 512 KiB, at most 16,000.
    pub pool_instances: Option<u32>,
    /// A private directory for compiled code, which is read, created and written there. None compiles at every start.
    pub cache: Option<airssys_osl::OwnFiles>,
}

/// The engines of a node. Cloning shares them.
#[derive(Clone)]
pub struct Engines {
    shared: Arc<Shared>,
}

struct Shared {
    tiers: [[OnceLock<wasmtime::Engine>; 2]; 4],
    pool_instances: AtomicU32,
    cache: Option<CodeCache>,
    clocked: Arc<Mutex<Vec<wasmtime::Engine>>>,
}

/// Why the engines could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Wasmtime refused the configuration on this machine.
    #[error("start the WebAssembly engine")]
    Start(#[source] wasmtime::Error),
    /// The thread that interrupts guests could not be started.
    #[error("start the thread that interrupts guests")]
    Ticker(#[source] std::io::Error),
    /// The directory for compiled code cannot be used.
    #[error("open the cache of compiled code")]
    Cache(#[source] CacheError),
}

impl Engines {
    /// Starts the clock thread; the engines themselves are made at their first use.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let cache = options.cache.map(CodeCache::open).transpose().map_err(EngineError::Cache)?;
        let pool_instances = options.pool_instances.unwrap_or_else(pool_instances_of_this_machine);
        let clocked = Arc::new(Mutex::new(Vec::new()));
        start_ticker(Arc::downgrade(&clocked)).map_err(EngineError::Ticker)?;
        let shared = Shared {
            tiers: Default::default(),
            pool_instances: AtomicU32::new(pool_instances),
            cache,
            clocked,
        };
        Ok(Engines { shared: Arc::new(shared) })
    }

    /// How many instances a pool holds before the on-demand tier takes over.
    pub fn pool_instances(&self) -> u32 {
        self.shared.pool_instances.load(Ordering::Relaxed)
    }

    pub(crate) fn engine(&self, flavour: Flavour, tier: Tier) -> Result<wasmtime::Engine, EngineError> {
        let cell = &self.shared.tiers[flavour.index()][tier.index()];
        if let Some(engine) = cell.get() {
            return Ok(engine.clone());
        }
        let made = self.make(flavour, tier)?;
        let engine = cell.get_or_init(|| {
            lock(&self.shared.clocked).push(made.clone());
            made
        });
        Ok(engine.clone())
    }

    /// The compiled form of `bytes` for `engine`, from the cache where it is there and authentic.
    pub(crate) fn compile(
        &self,
        engine: &wasmtime::Engine,
        bytes: &[u8],
        digest: &blake3::Hash,
    ) -> wasmtime::Result<wasmtime::component::Component> {
        let Some(cache) = &self.shared.cache else {
            return wasmtime::component::Component::from_binary(engine, bytes);
        };
        if let Some(component) = cache.load(engine, digest) {
            return Ok(component);
        }
        let component = wasmtime::component::Component::from_binary(engine, bytes)?;
        if let Err(error) = cache.store(engine, digest, &component) {
            tracing::warn!(%error, "compiled code is not kept; the next start compiles again");
        }
        Ok(component)
    }

    /// The same component for the other tier of its flavour, without compiling it again.
    pub(crate) fn transfer(
        &self,
        component: &wasmtime::component::Component,
        to: &wasmtime::Engine,
    ) -> wasmtime::Result<wasmtime::component::Component> {
        cache::transfer(component, to)
    }

    /// A pool that does not fit the address space the process may use is halved until it does.
    fn make(&self, flavour: Flavour, tier: Tier) -> Result<wasmtime::Engine, EngineError> {
        let mut config = base_config(flavour);
        if tier == Tier::OnDemand {
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            return wasmtime::Engine::new(&config).map_err(EngineError::Start);
        }
        loop {
            let instances = self.pool_instances().max(1);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
            match wasmtime::Engine::new(&config) {
                Ok(engine) => return Ok(engine),
                Err(error) if instances <= 16 => return Err(EngineError::Start(error)),
                Err(error) => {
                    tracing::warn!(instances, %error, "the instance pool does not fit; halving it");
                    self.shared.pool_instances.store(instances / 2, Ordering::Relaxed);
                }
            }
        }
    }
}

fn base_config(flavour: Flavour) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .concurrency_support(flavour.concurrency)
        .wasm_component_model_async(flavour.concurrency)
        .consume_fuel(flavour.fuel)
        .epoch_interruption(true)
        .shared_memory(false)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBRE_STACK_BYTES)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        // Names come from the name section; looking lines up in DWARF at each trap would cost milliseconds.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let core = instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT);
    pool.total_component_instances(instances)
        .total_core_instances(core)
        .total_memories(instances.max(MEMORIES_PER_MODULE_MAX))
        .total_tables(core)
        .table_elements(TABLE_ELEMENTS_MAX as usize)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        .max_memories_per_module(MEMORIES_PER_MODULE_MAX)
        .total_stacks(instances)
        .max_memory_size(MEMORY_RESERVATION_BYTES as usize);
    pool
}

fn pool_instances_of_this_machine() -> u32 {
    let bytes = airssys_osl::memory_bytes().unwrap_or(1 << 30);
    u32::try_from(bytes / POOL_BYTES_PER_INSTANCE).unwrap_or(u32::MAX).clamp(64, POOL_INSTANCES_MAX)
}

/// The thread ends when the last clone of the engines is gone.
fn start_ticker(engines: Weak<Mutex<Vec<wasmtime::Engine>>>) -> Result<(), std::io::Error> {
    std::thread::Builder::new().name("airssys-epoch".into()).spawn(move || {
        while let Some(engines) = engines.upgrade() {
            for engine in lock(&engines).iter() {
                engine.increment_epoch();
            }
            drop(engines);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
