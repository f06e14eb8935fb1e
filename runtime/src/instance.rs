//! One request's store and task, whatever kind of guest it runs.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Response;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;
use wasmtime::component::ResourceTableError;
use wasmtime::{InstancePre, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use self::limiter::Limiter;
use crate::call::NO_SLOT;
use crate::meter::{Shared, thread_cpu};
use crate::models::Models;
use crate::{Call, CallEnding, Grants, LimitKind, Limits, Metering};

/// A core module that answers on its standard output.
mod command;
/// A component that answers through `wasi:http`.
mod component;
/// Instances that wait for their payer's next request.
mod idle;
/// What a store may grow to.
mod limiter;
/// A component of WASI 0.3.
mod service;
/// A command's request and answer, as streams.
mod stdio;

pub(crate) use command::State as CommandState;
pub(crate) use component::State as ComponentState;
pub(crate) use idle::Idle;

/// What a guest may ask of the random generator at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// After how much fuel a guest lets others run, and its count is known.
const FUEL_INTERVAL: u64 = 1_000_000;

/// Where the head of an answer goes.
pub(crate) type HeadSender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// What every request of a deployment starts.
#[derive(Clone)]
pub(crate) enum Program {
    Component(ProxyPre<ComponentState>),
    Service(ServicePre<ComponentState>),
    Command(InstancePre<CommandState>),
}

/// One request's guest, before it runs.
pub(crate) enum Guest {
    Component(Box<component::Guest>),
    Service(Box<service::Guest>),
    Command(Box<command::Guest>),
}

impl Program {
    /// Where it runs.
    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::Component(pre) => pre.engine(),
            Self::Service(pre) => pre.engine(),
            Self::Command(pre) => pre.module().engine(),
        }
    }

    pub(crate) fn guest(
        &self,
        call: Call,
        (limits, grants, idle): (&Limits, &Grants, &Arc<Idle>),
        (shared, head): (&Arc<Shared>, HeadSender),
    ) -> Guest {
        let shared = Arc::clone(shared);
        match self {
            Self::Component(pre) => {
                let all = (limits, grants, idle);
                let guest = component::Guest::new(pre, call, all, (shared, head));
                Guest::Component(Box::new(guest))
            }
            Self::Service(pre) => {
                let guest = service::Guest::new(pre, call, (limits, grants), (shared, head));
                Guest::Service(Box::new(guest))
            }
            Self::Command(pre) => {
                let guest = command::Guest::new(pre, call, (limits, grants), (shared, head));
                Guest::Command(Box::new(guest))
            }
        }
    }
}

/// A guest's surroundings, as far as they are the same for all.
fn wasi_of(grants: &Grants) -> WasiCtxBuilder {
    let mut wasi = WasiCtx::builder();
    wasi.max_random_size(RANDOM_BYTES_MAX);
    for (name, value) in grants.variables() {
        wasi.env(name, value);
    }
    wasi
}

/// All that a request's task needs.
pub(crate) struct Job {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) guest: Guest,
    pub(crate) bounds: Bounds,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) alive: watch::Sender<()>,
}

/// Says that the task is over, also when it panics.
struct TaskEnd(Arc<Shared>);

impl Drop for TaskEnd {
    fn drop(&mut self) {
        self.0.end_task();
    }
}

/// One request from its fresh store to the store's end.
pub(crate) async fn run(job: Job) {
    let Job { engine, guest, bounds, permit, alive } = job;
    let task_end = TaskEnd(Arc::clone(&bounds.shared));
    match guest {
        Guest::Component(guest) => {
            component::run(*guest, &engine, &bounds).await;
        }
        Guest::Service(guest) => {
            service::run(*guest, &engine, &bounds).await;
        }
        Guest::Command(guest) => {
            command::run(*guest, &engine, &bounds).await;
        }
    }
    drop(permit);
    drop(task_end);
    drop(alive);
}

/// A store's state that says what the store may grow to.
trait Limited: Send + 'static {
    fn limiter(&mut self) -> &mut Limiter;
}

/// What bounds a guest while it runs.
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) models: Arc<dyn Models>,
    pub(crate) deadline: Instant,
    pub(crate) shared: Arc<Shared>,
}

impl Bounds {
    fn store<S: Limited>(&self, engine: &wasmtime::Engine, state: S) -> wasmtime::Result<Store<S>> {
        let limits = &self.limits;
        let mut store = Store::new(engine, state);
        store.limiter(|state| state.limiter());
        match limits.metering() {
            Metering::Cpu => store.epoch_deadline_async_yield_and_update(1),
            Metering::Fuel => store.epoch_deadline_callback(|mut store| {
                let left = store.get_fuel()?;
                store.data_mut().limiter().fuel_left(left);
                Ok(UpdateDeadline::Yield(1))
            }),
        }
        // What the host keeps has this bound in its own table, which tells of it better; the guest's
        // names for that, and its streams and futures, are kept elsewhere.
        store.set_max_component_handles((limits.handles_max as usize).saturating_mul(2));
        store.set_hostcall_fuel(usize::try_from(limits.host_call_bytes_max).unwrap_or(usize::MAX));
        self.renew(&mut store)?;
        Ok(store)
    }

    /// Before each call.
    fn renew<S>(&self, store: &mut Store<S>) -> wasmtime::Result<()> {
        store.set_epoch_deadline(1);
        if let Some(fuel_max) = self.limits.fuel_max {
            store.set_fuel(fuel_max)?;
            // A loop keeps its count to itself until then.
            store.fuel_async_yield_interval(Some(FUEL_INTERVAL))?;
        }
        Ok(())
    }

    /// Runs the guest and notes how it ended. The reason is known before the store goes: whoever
    /// sees the store's end finds it.
    async fn run<F>(&self, guest: Pin<Box<F>>)
    where
        F: Future<Output = wasmtime::Result<()>>,
    {
        match self.bounded(guest).await {
            Some(Ok(())) => self.shared.complete(),
            Some(Err(error)) => self.fail(&error),
            None => {}
        }
    }

    /// After each call: how much fuel it has taken, to the unit.
    fn count_fuel<S: Limited>(&self, store: &mut Store<S>) {
        if self.limits.metering() == Metering::Fuel
            && let Ok(left) = store.get_fuel()
        {
            store.data_mut().limiter().fuel_left(left);
        }
    }

    /// Polls the guest until it ends or must end; `None` when it was stopped. Epoch ticks make a
    /// guest that computes return here, so the checks come at least once in a tick.
    async fn bounded<F: Future>(&self, mut guest: Pin<Box<F>>) -> Option<F::Output> {
        let (shared, models, deadline) = (&*self.shared, &*self.models, self.deadline);
        let cpu_max = Duration::from_millis(self.limits.cpu_ms_max);
        let mut stopping = pin!(shared.stopping());
        let mut sleep = pin!(tokio::time::sleep_until(deadline));
        std::future::poll_fn(|cx| {
            if stopping.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let before = thread_cpu();
            let polled = guest.as_mut().poll(cx);
            let used = shared.add_cpu(thread_cpu().saturating_sub(before));
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Some(output));
            }
            if used > cpu_max {
                let detail = format!("it used its {} ms of CPU time", cpu_max.as_millis());
                shared.stop_at(LimitKind::Cpu, CallEnding::Deadline, Some(detail));
                return Poll::Ready(None);
            }
            if models.compute(shared.computed(used)).is_err() {
                let detail = "what it computed reached what the call may cost";
                shared.stop(CallEnding::Budget, Some(detail.to_owned()));
                return Poll::Ready(None);
            }
            // A guest that always wants to go on leaves the runtime no time for its timers, so the
            // clock is read here as well.
            if Instant::now() >= deadline || sleep.as_mut().poll(cx).is_ready() {
                let detail = "its wall-clock limit passed".to_owned();
                shared.stop_at(LimitKind::Wall, CallEnding::Deadline, Some(detail));
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    fn fail(&self, error: &wasmtime::Error) {
        let shared = &self.shared;
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            match exit.0 {
                0 => shared.complete(),
                code => shared.stop(CallEnding::Trap(format!("it exited with code {code}")), None),
            }
            return;
        }
        if error.downcast_ref() == Some(&Trap::OutOfFuel) {
            let fuel_max = self.limits.fuel_max.unwrap_or(0);
            let detail = format!("it used its {fuel_max} units of fuel");
            shared.stop_at(LimitKind::Fuel, CallEnding::Deadline, Some(detail));
            return;
        }
        if error.is::<PoolConcurrencyLimitError>() {
            shared.stop(CallEnding::Fault(NO_SLOT.to_owned()), None);
            return;
        }
        if shared.budget_refused() {
            shared.stop(CallEnding::Budget, Some(error.root_cause().to_string()));
            return;
        }
        let mut reason = error.root_cause().to_string();
        if let Some(limit) = limit_of(error) {
            shared.stop_at(limit, CallEnding::Trap(reason), None);
            return;
        }
        if shared.refused() == Some(LimitKind::Memory) {
            let bytes_max = self.limits.memory_bytes_max;
            reason = format!("{reason} (its memory limit is {bytes_max} bytes)");
        }
        shared.stop(CallEnding::Trap(reason), None);
    }
}

/// The limit behind a trap that wasmtime makes of it. Of two of them it says so in words only; tests
/// hold the words to the version that is used.
fn limit_of(error: &wasmtime::Error) -> Option<LimitKind> {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(ResourceTableError::Full))
    };
    if error.chain().any(is_full) {
        return Some(LimitKind::Handles);
    }
    let words = error.root_cause().to_string();
    if words.contains("store handle limit exceeded") {
        return Some(LimitKind::Handles);
    }
    if words.contains("fuel allocated for hostcalls has been exhausted") {
        return Some(LimitKind::HostCall);
    }
    words.contains("instance count too high").then_some(LimitKind::CoreInstances)
}

#[cfg(test)]
mod tests;
