//! A component that answers through `wasi:http`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use super::idle::{Idle, Parked};
use super::limiter::Limiter;
use super::{Bounds, HeadSender, Limited, wasi_of};
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
    logs: [LogStream; 2],
}

/// A request, and the instance that it will run in.
pub(crate) struct Guest {
    pre: ProxyPre<State>,
    request: Request<RequestBody>,
    start: Start,
    head: HeadSender,
    /// Where the instance waits afterwards, and for whom.
    idle: Option<(Arc<Idle>, String)>,
}

/// What an instance starts from.
enum Start {
    Fresh(Box<State>),
    /// It has answered requests of the same payer.
    Waiting(Parked),
}

impl Guest {
    pub(super) fn new(
        pre: &ProxyPre<State>,
        call: Call,
        (limits, grants, idle): (&Limits, &Grants, &Arc<Idle>),
        (shared, head): (Arc<Shared>, HeadSender),
    ) -> Self {
        let waiting = if grants.reuse { idle.take(&call.tenant) } else { None };
        let start = match waiting {
            Some(mut waiting) => {
                waiting.store.data_mut().renew(&call, (limits, grants), shared);
                Start::Waiting(waiting)
            }
            None => Start::Fresh(Box::new(State::new(&call, (limits, grants), shared))),
        };
        let idle = grants.reuse.then(|| (Arc::clone(idle), call.tenant));
        Self { pre: pre.clone(), request: call.request, start, head, idle }
    }
}

/// Runs a request, and keeps its instance where that is allowed.
pub(super) async fn run(guest: Guest, engine: &wasmtime::Engine, bounds: &Bounds) {
    let Guest { pre, request, start, head, idle } = guest;
    let begun = match start {
        Start::Fresh(state) => bounds.store(engine, *state).map(|store| (store, None, 0)),
        Start::Waiting(Parked { mut store, proxy, calls, .. }) => {
            bounds.renew(&mut store).map(|()| (store, Some(proxy), calls))
        }
    };
    let (mut store, mut proxy, calls) = match begun {
        Ok(begun) => begun,
        Err(error) => return bounds.fail(&error),
    };
    bounds.run(Box::pin(handle(&mut store, (&pre, &mut proxy), request, head))).await;
    bounds.count_fuel(&mut store);
    let Some((idle, payer)) = idle else { return };
    if let Some(proxy) = proxy
        && bounds.shared.stopped().is_none()
        && store.data().holds_nothing()
    {
        store.data().end();
        idle.park(payer, (store, proxy), calls + 1);
    }
}

impl State {
    pub(super) fn new(
        call: &Call,
        (limits, grants): (&Limits, &Grants),
        shared: Arc<Shared>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles_max as usize);
        let logs = log::both(&call.logs, limits.log_bytes_max);
        let [stdout, stderr] = logs.clone();
        let egress = Egress::new(call.outbound.clone(), limits, Arc::clone(&shared));
        Self {
            table,
            wasi: wasi_of(grants).stdout(stdout).stderr(stderr.clone()).build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks { egress, log: stderr },
            limiter: Limiter::new(limits, Arc::clone(&shared)),
            nn: NnCtx::new(call, limits, grants, shared),
            logs,
        }
    }

    /// Everything that is a call's own, once more for the next call. What the guest has kept open
    /// leads to the next call too: its outputs do, for many keep them.
    fn renew(&mut self, call: &Call, (limits, grants): (&Limits, &Grants), shared: Arc<Shared>) {
        log::renew(&self.logs, &call.logs, limits.log_bytes_max);
        self.hooks.egress = Egress::new(call.outbound.clone(), limits, Arc::clone(&shared));
        self.limiter.renew(Arc::clone(&shared));
        self.nn = NnCtx::new(call, limits, grants, shared);
    }

    /// Whether nothing of the call goes on that must end with it: no context, whose task would hold
    /// what the call may spend, and no tensor, which counts as the call's.
    fn holds_nothing(&self) -> bool {
        self.nn.is_empty()
    }

    /// The call's last line, which has no end.
    fn end(&self) {
        self.logs.iter().for_each(LogStream::end_line);
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

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
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

/// Passes the request to the guest's handler. The instance is left behind when it ended well.
async fn handle(
    store: &mut Store<State>,
    (pre, instance): (&ProxyPre<State>, &mut Option<Proxy>),
    request: Request<RequestBody>,
    head: HeadSender,
) -> wasmtime::Result<()> {
    let proxy = match instance.take() {
        Some(proxy) => proxy,
        None => pre.instantiate_async(&mut *store).await?,
    };
    let request = request.map(|body| {
        body.map_err(|error| HttpError::InternalError(Some(error.to_string()))).boxed_unsync()
    });
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let head = http.new_response_outparam(head)?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, head).await?;
    *instance = Some(proxy);
    Ok(())
}
