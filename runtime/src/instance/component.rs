//! A component that answers through `wasi:http`.

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use super::limiter::Limiter;
use super::{HeadSender, Limited, wasi_of};
use crate::meter::Shared;
use crate::nn::{NnCtx, NnView};
use crate::{Call, Grants, Limits, RequestBody, log};

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

/// A request, and the store it will run in.
pub(crate) struct Guest {
    pub(super) pre: ProxyPre<State>,
    pub(super) request: Request<RequestBody>,
    pub(super) state: State,
    pub(super) head: HeadSender,
}

impl Guest {
    pub(super) fn new(
        pre: &ProxyPre<State>,
        call: Call,
        (limits, grants): (&Limits, &Grants),
        (shared, head): (Arc<Shared>, HeadSender),
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles_max as usize);
        let [stdout, stderr] = log::both(&call.logs, limits.log_bytes_max);
        let limiter = Limiter::new(limits, Arc::clone(&shared));
        let state = State {
            table,
            wasi: wasi_of(grants).stdout(stdout).stderr(stderr).build(),
            http: WasiHttpCtx::new(),
            hooks: NoEgress,
            limiter,
            nn: NnCtx::new(&call, limits, grants, shared),
        };
        Self { pre: pre.clone(), request: call.request, state, head }
    }
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

impl Limited for State {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

pub(super) async fn handle(
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
