use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::heavy::Heavy;
use crate::instance::{CommandState, ComponentState};
use crate::{Metering, RuntimeError};

/// Most elements of one table; the pooling allocator reserves address space for them.
pub(crate) const TABLE_ELEMENTS_MAX: u64 = 100_000;
/// What a guest may use of the stack. The rest of the fiber's stack is the host's.
const GUEST_STACK_BYTES_MAX: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 2 << 20;
/// What one component may have of what the pool has slots for. The pool has as many for each
/// instance, so that no component can use up what another needs. A component made from one module
/// has one memory, two tables, and two or three adapters; one that links libraries has dozens of
/// core instances.
const MEMORIES_PER_COMPONENT: u32 = 2;
const TABLES_PER_COMPONENT: u32 = 8;
const TABLES_PER_MODULE: u32 = 4;
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
/// How many freed slots go back to the system with one call.
const DECOMMIT_BATCH: usize = 16;
/// What a slot keeps of its memory and tables from one instance to the next, overwritten with what
/// the next one starts with. Pages that stay mapped cost no faults, and no other processor has to be
/// told of a change: a small function answers half as many calls again. After a burst, every slot that
/// was used keeps as much, so all of them together are bounded too.
///
/// Scanning for the pages that were written to (`pagemap_scan`) would be faster still, and stays off:
/// in wasmtime 48 a page that was swapped out is neither overwritten nor given back, and the next
/// instance, another tenant's, would read it (bytecodealliance/wasmtime, pull request 14357).
const MEMORY_RESIDENT_BYTES: usize = 2 << 20;
const TABLE_RESIDENT_BYTES: usize = 16 << 10;
const ALL_RESIDENT_BYTES: usize = 2 << 30;
/// The same of the instances of each other flavour, which have a pool of their own.
const OTHER_RESIDENT_BYTES: usize = 512 << 20;

/// How an engine is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineOptions {
    /// Reserve all memory slots at the start, which makes instances cheap. It takes terabytes of
    /// address space and next to no memory; where that is refused, the engine goes without.
    pub pooling: bool,
    /// Most calls in progress at the same time; one more is `Overloaded`.
    pub instances_max: u32,
    /// Milliseconds after which a running guest lets others run.
    pub epoch_tick_ms: u64,
    /// The highest `Limits::memory_bytes_max` that a deployment may have.
    pub memory_bytes_max: u64,
    /// The largest component that is compiled.
    pub component_bytes_max: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            pooling: true,
            instances_max: 1_000,
            epoch_tick_ms: 5,
            memory_bytes_max: 256 << 20,
            component_bytes_max: 32 << 20,
        }
    }
}

/// The process's Wasm engine. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    usual: Linked,
    /// By flavour, the usual one left out; each is made when the first guest of it comes.
    others: [OnceLock<Linked>; 3],
    permits: Arc<Semaphore>,
    idle_places: Arc<Semaphore>,
    options: EngineOptions,
    heavy: Heavy,
}

impl Engine {
    /// Starts the engine and the thread that ticks for it.
    ///
    /// # Errors
    /// `Limit` for an option out of range, `Engine` when wasmtime refuses the configuration,
    /// `Timer` when no thread can be started.
    pub fn new(options: EngineOptions) -> Result<Self, RuntimeError> {
        check(&options)?;
        let usual = Linked::new(&options, Flavour::default())?;
        let permits = Arc::new(Semaphore::new(options.instances_max as usize));
        let idle_places = Arc::new(Semaphore::new(idle_max(&options) as usize));
        let inner = Inner {
            usual,
            others: [const { OnceLock::new() }; 3],
            permits,
            idle_places,
            options,
            heavy: Heavy::start().map_err(RuntimeError::Timer)?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the pooling allocator is in use; false after the fallback.
    pub fn pooling(&self) -> bool {
        self.inner.usual.pooling
    }

    /// The options that the engine was started with.
    pub fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    /// Calls in progress.
    pub fn instances(&self) -> usize {
        self.inner.options.instances_max as usize - self.inner.permits.available_permits()
    }

    /// Where most guests run.
    pub(crate) fn usual(&self) -> &Linked {
        &self.inner.usual
    }

    /// Where guests of a flavour run.
    pub(crate) fn of(&self, flavour: Flavour) -> Result<&Linked, RuntimeError> {
        let place = match (flavour.tasks, flavour.metering) {
            (Tasks::One, Metering::Cpu) => return Ok(&self.inner.usual),
            (Tasks::One, Metering::Fuel) => &self.inner.others[0],
            (Tasks::Several, Metering::Cpu) => &self.inner.others[1],
            (Tasks::Several, Metering::Fuel) => &self.inner.others[2],
        };
        if let Some(linked) = place.get() {
            return Ok(linked);
        }
        let made = Linked::new(&self.inner.options, flavour)?;
        Ok(place.get_or_init(|| made))
    }

    /// One place for each instance that may wait for a further request.
    pub(crate) fn idle_places(&self) -> &Arc<Semaphore> {
        &self.inner.idle_places
    }

    /// Where guests go on that compute for long.
    pub(crate) fn heavy(&self) -> &Handle {
        self.inner.heavy.handle()
    }

    pub(crate) fn permits(&self) -> &Arc<Semaphore> {
        &self.inner.permits
    }
}

/// An engine for guests of one flavour, and what they can import.
pub(crate) struct Linked {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) components: Linker<ComponentState>,
    pub(crate) commands: wasmtime::Linker<CommandState>,
    pooling: bool,
    _ticker: Ticker,
}

impl Linked {
    fn new(options: &EngineOptions, flavour: Flavour) -> Result<Self, RuntimeError> {
        let (wasmtime, pooling) = start(options, flavour).map_err(RuntimeError::Engine)?;
        let components = match flavour.tasks {
            Tasks::One => link(&wasmtime),
            Tasks::Several => link_services(&wasmtime),
        };
        let components = components.map_err(RuntimeError::Engine)?;
        let commands = link_core(&wasmtime).map_err(RuntimeError::Engine)?;
        let tick = Duration::from_millis(options.epoch_tick_ms);
        let _ticker = Ticker::start(wasmtime.weak(), tick).map_err(RuntimeError::Timer)?;
        Ok(Self { wasmtime, components, commands, pooling, _ticker })
    }
}

/// What sets guests of one engine apart from another's: compiled code fits one flavour only. Several
/// tasks, and fuel, cost those who use neither a part of their speed, so they have engines of their
/// own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flavour {
    pub(crate) tasks: Tasks,
    pub(crate) metering: Metering,
}

/// Whether a guest may have tasks that run side by side, as WASI 0.3 wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tasks {
    #[default]
    One,
    Several,
}

fn check(options: &EngineOptions) -> Result<(), RuntimeError> {
    let gib: u64 = 1 << 30;
    for (field, value, max) in [
        ("instances_max", u64::from(options.instances_max), 10_000),
        ("epoch_tick_ms", options.epoch_tick_ms, 1_000),
        ("memory_bytes_max", options.memory_bytes_max, 4 * gib),
        ("component_bytes_max", options.component_bytes_max as u64, gib),
    ] {
        if value == 0 || value > max {
            let reason = format!("must be between 1 and {max}, not {value}");
            return Err(RuntimeError::Limit { field, reason });
        }
    }
    Ok(())
}

/// The pool's reservation fails where address space is limited (`RLIMIT_AS`, some containers);
/// a slower engine is better there than none.
fn start(options: &EngineOptions, flavour: Flavour) -> wasmtime::Result<(wasmtime::Engine, bool)> {
    if options.pooling {
        let mut config = config(flavour);
        let resident = match flavour == Flavour::default() {
            true => ALL_RESIDENT_BYTES,
            false => OTHER_RESIDENT_BYTES,
        };
        let pool = pool(options, resident);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        match wasmtime::Engine::new(&config) {
            Ok(engine) => return Ok((engine, true)),
            Err(error) => {
                tracing::warn!(%error, "no pooling allocator; instances are allocated on demand");
            }
        }
    }
    Ok((wasmtime::Engine::new(&config(flavour))?, false))
}

/// An engine that compiles for all others, and takes no address space for instances.
pub(crate) fn compiler(flavour: Flavour) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&config(flavour))
}

/// GC, threads and Winch are not compiled in at all; what remains is switched off here.
fn config(flavour: Flavour) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES_MAX)
        .async_stack_size(FIBER_STACK_BYTES)
        .concurrency_support(flavour.tasks == Tasks::Several)
        .consume_fuel(flavour.metering == Metering::Fuel)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        // Data that lies far apart is not spread out over an image of the whole: an upload of a
        // few bytes would become one of megabytes.
        .memory_guaranteed_dense_image_size(1 << 20);
    config
}

/// Instances that may wait for a further request, beside those that answer one.
fn idle_max(options: &EngineOptions) -> u32 {
    options.instances_max.div_ceil(4)
}

fn pool(options: &EngineOptions, resident_bytes_max: usize) -> PoolingAllocationConfig {
    let instances_max = options.instances_max.saturating_add(idle_max(options));
    let slots = |per_component: u32| instances_max.saturating_mul(per_component);
    let share = resident_bytes_max / instances_max as usize;
    let resident = MEMORY_RESIDENT_BYTES.min(share);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances_max)
        .total_stacks(instances_max)
        .total_memories(slots(MEMORIES_PER_COMPONENT))
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .total_core_instances(slots(CORE_INSTANCES_PER_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .total_tables(slots(TABLES_PER_COMPONENT))
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_tables_per_module(TABLES_PER_MODULE)
        .max_memory_size(usize::try_from(options.memory_bytes_max).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS_MAX as usize)
        .decommit_batch_size(DECOMMIT_BATCH)
        .pagemap_scan(Enabled::No)
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        .linear_memory_keep_resident(resident);
    pool
}

/// The whole command world, since guests for wasip2 import parts of it even to answer HTTP; the
/// context behind it is empty.
fn link(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<ComponentState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::nn::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Both versions: what a guest's language brings is often older than what it answers through.
fn link_services(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<ComponentState>> {
    let mut linker = link(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn link_core(engine: &wasmtime::Engine) -> wasmtime::Result<wasmtime::Linker<CommandState>> {
    let mut linker = wasmtime::Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, CommandState::wasi)?;
    crate::nn::add_core_to_linker(&mut linker)?;
    Ok(linker)
}

/// Advances the epoch until it is dropped. It is a thread of the system, so that it ticks when
/// every executor thread is inside a guest.
struct Ticker {
    _stop: SyncSender<()>,
}

impl Ticker {
    fn start(engine: EngineWeak, tick: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(0);
        let run = move || {
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        };
        std::thread::Builder::new().name("epoch".to_owned()).spawn(run)?;
        Ok(Self { _stop: stop })
    }
}
