use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use crate::call::NO_SLOT;
use crate::log::{LogBudget, LogStream};
use crate::meter::{Shared, thread_cpu};
use crate::nn::{NnCtx, NnView};
use crate::spend::Spend;
use crate::{Call, CallEnding, Grants, Limits, RequestBody, Stream};

/// What a guest may ask of the random generator at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// What a guest may write to its answer at once; twice this may wait for the client.
const RESPONSE_CHUNK_BYTES_MAX: usize = 256 << 10;

/// All that a request's store holds.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoEgress,
    limiter: Limiter,
    nn: NnCtx,
}

/// Makes a request's state, and takes the request out of its call.
pub(crate) fn prepare(
    call: Call,
    limits: &Limits,
    grants: &Grants,
    shared: Arc<Shared>,
) -> (Request<RequestBody>, State) {
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles_max as usize);
    let budget = LogBudget::new(limits.log_bytes_max);
    let log = |stream| LogStream::new(stream, Arc::clone(&call.logs), Arc::clone(&budget));
    let mut wasi = WasiCtx::builder();
    wasi.stdout(log(Stream::Stdout)).stderr(log(Stream::Stderr)).max_random_size(RANDOM_BYTES_MAX);
    for (name, value) in &grants.environment {
        wasi.env(name, value);
    }
    let limiter = Limiter::new(limits, Arc::clone(&shared));
    let nn = NnCtx::new(&call, limits, grants, shared);
    let state =
        State { table, wasi: wasi.build(), http: WasiHttpCtx::new(), hooks: NoEgress, limiter, nn };
    (call.request, state)
}

impl State {
    pub(crate) fn nn(&mut self) -> NnView<'_> {
        NnView { ctx: &mut self.nn, table: &mut self.table }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Refuses every request that a guest would send: nothing grants egress yet.
struct NoEgress;

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl WasiHttpHooks for NoEgress {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, HttpError>> + Send> {
        Box::new(std::future::ready(Err(HttpError::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        RESPONSE_CHUNK_BYTES_MAX
    }
}

/// Counts memories and tables together: a guest with ten memories gets no more than one with one.
struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    shared: Arc<Shared>,
}

impl Limiter {
    fn new(limits: &Limits, shared: Arc<Shared>) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX),
            table_elements: 0,
            table_elements_max: usize::try_from(limits.table_elements_max).unwrap_or(usize::MAX),
            core_instances_max: limits.core_instances_max as usize,
            shared,
        }
    }
}

#[async_trait]
impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            self.shared.refuse_memory();
            return Ok(false);
        }
        self.memory_bytes = total;
        self.shared.memory_is(total as u64);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_sub(current).saturating_add(desired);
        if total > self.table_elements_max {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }
}

type HeadSender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// All that a request's task needs.
pub(crate) struct Job {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) pre: ProxyPre<State>,
    pub(crate) request: Request<RequestBody>,
    pub(crate) state: State,
    pub(crate) head: HeadSender,
    pub(crate) limits: Limits,
    pub(crate) spend: Arc<dyn Spend>,
    pub(crate) deadline: Instant,
    pub(crate) shared: Arc<Shared>,
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
    let Job { engine, pre, request, state, head, limits, spend, deadline, shared, permit, alive } =
        job;
    let task_end = TaskEnd(Arc::clone(&shared));
    let mut store = Store::new(&engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(usize::try_from(limits.host_call_bytes_max).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let cpu_max = Duration::from_millis(limits.cpu_ms_max);
    let guest = Box::pin(handle(&mut store, &pre, request, head));
    match bounded(guest, &shared, (&*spend, cpu_max), deadline).await {
        Some(Ok(())) => shared.complete(),
        Some(Err(error)) => fail(&error, &limits, &shared),
        None => {}
    }
    // The reason is known before the store goes: whoever sees the store's end finds it.
    drop(store);
    drop(permit);
    drop(task_end);
    drop(alive);
}

async fn handle(
    store: &mut Store<State>,
    pre: &ProxyPre<State>,
    request: Request<RequestBody>,
    head: HeadSender,
) -> wasmtime::Result<()> {
    let proxy = pre.instantiate_async(&mut *store).await?;
    let request = request.map(|body| {
        body.map_err(|error| HttpError::InternalError(Some(error.to_string()))).boxed_unsync()
    });
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let head = http.new_response_outparam(head)?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, head).await
}

/// Polls the guest until it ends or must end; `None` when it was stopped. Epoch ticks make a
/// guest that computes return here, so the checks come at least once in a tick.
async fn bounded<F>(
    mut guest: Pin<Box<F>>,
    shared: &Shared,
    (spend, cpu_max): (&dyn Spend, Duration),
    deadline: Instant,
) -> Option<F::Output>
where
    F: Future,
{
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
            shared.stop(CallEnding::Deadline, Some(detail));
            return Poll::Ready(None);
        }
        if spend.compute(u64::try_from(used.as_micros()).unwrap_or(u64::MAX)).is_err() {
            let detail = "its CPU time reached what the call may cost";
            shared.stop(CallEnding::Budget, Some(detail.to_owned()));
            return Poll::Ready(None);
        }
        // A guest that always wants to go on leaves the runtime no time for its timers, so the
        // clock is read here as well.
        if Instant::now() >= deadline || sleep.as_mut().poll(cx).is_ready() {
            shared.stop(CallEnding::Deadline, Some("its wall-clock limit passed".to_owned()));
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

fn fail(error: &wasmtime::Error, limits: &Limits, shared: &Shared) {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        match exit.0 {
            0 => shared.complete(),
            code => shared.stop(CallEnding::Trap(format!("it exited with code {code}")), None),
        }
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
    if shared.memory_refused() {
        reason = format!("{reason} (its memory limit is {} bytes)", limits.memory_bytes_max);
    }
    shared.stop(CallEnding::Trap(reason), None);
}
