//! A component that answers through `wasi:http`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

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
use crate::log::LogStream;
use crate::meter::Shared;
use crate::nn::{NnCtx, NnView};
use crate::outbound::{Egress, Exchange, OutboundError};
use crate::{Call, Grants, Limits, RequestBody, log};

/// What a guest may write to its answer at once; twice this may wait for the client.
const RESPONSE_CHUNK_BYTES_MAX: usize = 256 << 10;

/// How long a guest waits at most for a connection, and for the head of an answer; the call's own
/// limit is often nearer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// All that a request's store holds.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
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
            wasi: wasi_of(grants).stdout(stdout).stderr(stderr.clone()).build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks { egress: Egress::new(call.outbound.clone(), limits), log: stderr },
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

/// A guest's own requests. It reads of an error what `wasi:http` has a word for; its author finds
/// the rest in the log.
struct Hooks {
    egress: Egress,
    log: LogStream,
}

type Answered = Result<Sent, HttpError>;
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let broken = |error: HttpError| OutboundError::Protocol(format!("{error:?}"));
        let exchange = self.egress.send(request.map(|body| body.map_err(broken).boxed_unsync()));
        let patience = options.map_or(ANSWER_WITHIN, |options| {
            let of = |wish: Option<Duration>| wish.unwrap_or(ANSWER_WITHIN).min(ANSWER_WITHIN);
            of(options.connect_timeout).saturating_add(of(options.first_byte_timeout))
        });
        let log = self.log.clone();
        Box::new(async move {
            let exchange = tokio::time::timeout(patience, exchange).await;
            let Exchange { response, connection } = exchange
                .unwrap_or(Err(OutboundError::Timeout))
                .inspect_err(|error| log.note(&format!("outbound request: {error}")))
                .map_err(for_guest)?;
            let response = response.map(|body| body.map_err(for_guest).boxed_unsync());
            let connection = async move {
                connection.await;
                Ok(())
            };
            Ok((response, Box::new(connection) as Box<_>))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        RESPONSE_CHUNK_BYTES_MAX
    }
}

/// An error as `wasi:http` has it.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn for_guest(error: OutboundError) -> HttpError {
    match error {
        OutboundError::Denied(_) => HttpError::HttpRequestDenied,
        OutboundError::Invalid(_) => HttpError::HttpRequestUriInvalid,
        OutboundError::NameNotFound(_) => HttpError::DestinationNotFound,
        OutboundError::AddressProhibited => HttpError::DestinationIpProhibited,
        OutboundError::Refused(_) => HttpError::ConnectionRefused,
        OutboundError::Tls(_) => HttpError::TlsCertificateError,
        OutboundError::Timeout => HttpError::ConnectionTimeout,
        OutboundError::Protocol(_) => HttpError::HttpProtocolError,
        OutboundError::TooMany(_) => HttpError::ConnectionLimitReached,
        OutboundError::TooLarge(bytes_max) => HttpError::HttpResponseBodySize(Some(bytes_max)),
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
