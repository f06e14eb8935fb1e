use std::collections::HashMap;
use std::future::{Future, ready};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use emberbox_runtime::bridge::{BridgeError, Event, ModelInfo, SessionId};
use emberbox_runtime::models::{Models, Refusal};
use emberbox_runtime::outbound::{Egress, OutboundBody, OutboundError};
use emberbox_runtime::spend::Computed;
use emberbox_runtime::{
    BodyError, Call, CallError, CallReport, GuestBody, LogSink, RequestBody, Stream,
};
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use tokio::task::AbortHandle;
use tracing::{Instrument, Span};

use super::link::Link;
use super::{Spec, Waiting, worker_ended};
use crate::isolate::lock;
use crate::isolate::messages::{
    Ask, CallId, CallOrder, Chunk, ExchangeId, Head, Headers, News, Received, Sent, Tell, Want,
    chunks, next_chunk,
};
use crate::isolate::wire::{Lost, Peer, Reply};

/// How long after its limits a call may still take to end.
const GRACE: Duration = Duration::from_secs(20);
/// Of a request's body what goes with its head, where it is there.
const FIRST_BYTES: usize = 64 << 10;

/// A call's surroundings, which stay in this process.
pub(super) struct Hosted {
    models: Arc<dyn Models>,
    /// It counts once more what the worker counts: that one may have been taken over.
    egress: Mutex<Egress>,
    /// Bytes of models that the call may still load.
    load_bytes: AtomicU64,
    logs: Arc<dyn LogSink>,
    body: tokio::sync::Mutex<RequestBody>,
    exchanges: Mutex<HashMap<ExchangeId, Arc<Answered>>>,
    begun: AtomicBool,
    ends_within: Duration,
    /// What is done for the call stands below it.
    span: Span,
}

/// The answer to a request that a guest has sent.
struct Answered {
    body: tokio::sync::Mutex<OutboundBody>,
    connection: AbortHandle,
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A call in its worker; dropped before its end, it stops the guest.
struct Client {
    peer: Peer,
    call: CallId,
    waits: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.waits {
            self.peer.tell(&Tell::Leave(self.call));
        }
    }
}

/// What became of a call in a worker.
pub(super) enum Outcome {
    /// Whoever waited has an answer; this is what the call used.
    Answered(CallReport),
    /// The worker ended before the guest began.
    NotBegun,
    /// The worker ended while the guest ran.
    Lost,
}

impl Hosted {
    /// A call, and what a worker is told of it.
    pub(super) fn new(spec: &Spec, call: Call) -> (Arc<Self>, CallOrder) {
        let Call { request, tenant, request_id, models, outbound, logs } = call;
        let (parts, mut body) = request.into_parts();
        let nothing = Computed::nothing(spec.limits.metering());
        let ahead = nothing.ahead();
        let order = CallOrder {
            function: spec.function,
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            headers: Headers::from(&parts.headers),
            body: first_of(&mut body),
            tenant,
            request_id,
            models: spec.grants.models.iter().filter_map(|name| models.model(name)).collect(),
            paid: models.compute(ahead).map_or(nothing, |()| ahead),
            outbound: outbound.is_some(),
        };
        let hosted = Self {
            models,
            egress: Mutex::new(Egress::of_call_elsewhere(outbound, &spec.limits)),
            load_bytes: AtomicU64::new(match spec.grants.load {
                true => spec.limits.load_bytes_max,
                false => 0,
            }),
            logs,
            body: tokio::sync::Mutex::new(body),
            exchanges: Mutex::default(),
            begun: AtomicBool::new(false),
            // Its guest, and then the client that reads.
            ends_within: Duration::from_millis(spec.limits.wall_ms_max) * 2 + GRACE,
            span: Span::current(),
        };
        (Arc::new(hosted), order)
    }

    /// Runs the call in a worker to its end.
    pub(super) async fn run(
        self: &Arc<Self>,
        link: &Link,
        order: &CallOrder,
        waiting: &mut Waiting,
    ) -> Outcome {
        let peer = link.peer().clone();
        let call = link.enter(Arc::clone(self));
        let asked = self.in_time(&peer, peer.ask(&Ask::Call(call, Box::new(order.clone()))));
        let client = Client { peer: peer.clone(), call, waits: true };
        let head: Option<Result<Result<Head, CallError>, Lost>> = tokio::select! {
            head = asked => Some(head),
            () = waiting.gone() => None,
        };
        let known = match head {
            Some(Ok(head)) => hand_on(head, client, waiting),
            Some(Err(Lost)) => {
                link.leave(call);
                let begun = self.begun.load(Ordering::Acquire);
                return if begun { Outcome::Lost } else { Outcome::NotBegun };
            }
            // Nobody waits any more: the guest is stopped, and says what it has used.
            None => {
                drop(client);
                None
            }
        };
        let report = match known {
            Some(report) => report,
            None => {
                let asked = peer.ask(&Ask::Report(call));
                let report: Result<CallReport, Lost> = self.in_time(&peer, asked).await;
                report.unwrap_or_else(|Lost| worker_ended())
            }
        };
        link.leave(call);
        Outcome::Answered(report)
    }

    /// A worker that has not answered long after the call's own limits does not work any more: it is
    /// ended, and its other calls with it.
    async fn in_time<T>(
        &self,
        peer: &Peer,
        asked: impl Future<Output = Result<T, Lost>>,
    ) -> Result<T, Lost> {
        match tokio::time::timeout(self.ends_within, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::error!("a worker does not answer, and is ended");
                peer.hang_up();
                Err(Lost)
            }
        }
    }
}

/// Hands the head on; gives the report where it is known.
fn hand_on(
    head: Result<Head, CallError>,
    mut client: Client,
    waiting: &mut Waiting,
) -> Option<CallReport> {
    let answer = head.and_then(|Head { status, headers, body, report }| {
        client.waits = !body.ended;
        let response = response((status, headers), body, client);
        let response =
            response.map_err(|error| CallError::Fault(error.to_string().into(), worker_ended()))?;
        Ok((response, report))
    });
    let (response, report) = match answer {
        Ok((response, report)) => (Ok(response), report),
        // It never ran.
        Err(error @ (CallError::Overloaded | CallError::RequestInvalid(_))) => {
            (Err(error), Some(worker_ended()))
        }
        Err(error) => (Err(error), None),
    };
    waiting.answer(response);
    report
}

/// What is there of a body already.
fn first_of(body: &mut RequestBody) -> Chunk {
    let mut first = bytes::BytesMut::new();
    while !body.is_end_stream() && first.len() < FIRST_BYTES {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) => first.extend(frame.into_data()),
            Some(None) => return Chunk { data: first.freeze(), ended: true },
            Some(Some(Err(error))) => {
                // Who reads on hears of it.
                *body = chunks(Chunk::default(), move || ready(Err(error.clone()))).boxed_unsync();
                break;
            }
            None => break,
        }
    }
    Chunk { data: first.freeze(), ended: body.is_end_stream() }
}

/// An answer whose body comes from the worker.
fn response(
    (status, headers): (u16, Headers),
    first: Chunk,
    client: Client,
) -> Result<Response<GuestBody>, http::Error> {
    let client = Arc::new(Mutex::new(client));
    let is_whole = first.ended;
    let next = move || {
        let client = Arc::clone(&client);
        async move {
            let (peer, call) = {
                let client = lock(&client);
                (client.peer.clone(), client.call)
            };
            let next: Result<Result<Chunk, BodyError>, Lost> = peer.ask(&Ask::Body(call)).await;
            let next = next.unwrap_or_else(|Lost| Err(BodyError::Stopped(worker_ended().ending)));
            if !matches!(&next, Ok(chunk) if !chunk.ended) {
                lock(&client).waits = false;
            }
            next
        }
    };
    let body = match is_whole {
        true => {
            GuestBody::new(http_body_util::Full::new(first.data).map_err(|never| match never {}))
        }
        false => GuestBody::new(chunks(first, next)),
    };
    let mut response = Response::builder().status(StatusCode::from_u16(status)?).body(body)?;
    *response.headers_mut() = headers.into_map()?;
    Ok(response)
}

impl Hosted {
    /// Answers what the worker asks for the call.
    pub(super) async fn answer(self: Arc<Self>, peer: Peer, (call, want): (CallId, Want)) -> Reply {
        let span = self.span.clone();
        async move {
            let models = &self.models;
            match want {
                Want::Body => Reply::new(&next_chunk(&mut *self.body.lock().await).await),
                Want::Open(model) => Reply::new(&models.open(&model).await),
                Want::Bring(model) => Reply::new(&self.bring(model).await),
                Want::Run(session, task, delivery) => {
                    Reply::new(&models.run(session, *task, delivery).await)
                }
                Want::Next(session) => Reply::new(&models.next(session).await),
                Want::Compute(computed) => Reply::new(&self.compute(computed)),
                Want::Send(exchange, sent) => {
                    Reply::new(&self.send(peer, (call, exchange), *sent).await)
                }
                Want::Received(exchange) => Reply::new(&self.received(exchange).await),
            }
        }
        .instrument(span)
        .await
    }

    /// What is asked for a call that has ended.
    pub(super) fn unknown(want: &Want) -> Reply {
        let gone = || "the call has ended".to_owned();
        match want {
            Want::Body => Reply::new(&Err::<Chunk, _>(BodyError::Request(gone()))),
            Want::Open(_) => Reply::new(&Err::<SessionId, _>(BridgeError::Cancelled)),
            Want::Bring(_) => Reply::new(&Err::<ModelInfo, _>(BridgeError::Cancelled)),
            Want::Run(..) => {
                Reply::new(&Err::<Vec<Event>, _>(Refusal::Inference(BridgeError::Cancelled)))
            }
            Want::Next(_) => Reply::new(&Err::<Event, _>(BridgeError::Cancelled)),
            Want::Compute(_) => Reply::new(&Err::<u64, ()>(())),
            Want::Send(..) => Reply::new(&Received::Err(OutboundError::Protocol(gone()))),
            Want::Received(_) => Reply::new(&Err::<Chunk, _>(OutboundError::Protocol(gone()))),
        }
    }

    pub(super) fn hear(&self, news: &News) {
        match news {
            News::Begun => self.begun.store(true, Ordering::Release),
            News::Log { stderr, line } => {
                let stream = if *stderr { Stream::Stderr } else { Stream::Stdout };
                self.logs.line(stream, line);
            }
            News::Close(session) => self.models.close(*session),
            News::Drop(exchange) => {
                lock(&self.exchanges).remove(exchange);
            }
        }
    }

    /// The worker has counted the bytes already, if it is still its own.
    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError> {
        let bytes = model.len() as u64;
        let take = |left: u64| left.checked_sub(bytes);
        let taken = self.load_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        if taken.is_err() {
            return Err(BridgeError::BadModel("the call may not load so much".to_owned()));
        }
        self.models.bring(model).await
    }

    /// How much computing is paid now, if it is so much.
    fn compute(&self, computed: Computed) -> Result<u64, ()> {
        let mut steps = [computed.ahead(), computed].into_iter();
        let paid = steps.find(|computed| self.models.compute(*computed).is_ok());
        paid.map(|paid| paid.quantity).ok_or(())
    }

    async fn send(
        &self,
        peer: Peer,
        (call, exchange): (CallId, ExchangeId),
        sent: Sent,
    ) -> Received {
        let body = match sent.bodiless {
            true => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            false => chunks(Chunk::default(), move || {
                let peer = peer.clone();
                async move {
                    let next: Result<Result<Chunk, OutboundError>, Lost> =
                        peer.ask(&Ask::Sent(call, exchange)).await;
                    next.unwrap_or_else(|lost| Err(OutboundError::Protocol(lost.to_string())))
                }
            })
            .boxed_unsync(),
        };
        let invalid = |error: http::Error| OutboundError::Invalid(error.to_string());
        let request = Request::builder().method(sent.method.as_str()).uri(&sent.uri);
        let mut request = request.body(body).map_err(invalid)?;
        *request.headers_mut() = sent.headers.into_map().map_err(invalid)?;
        let sending = lock(&self.egress).send(request);
        let answer = sending.await?;
        let (parts, body) = answer.response.into_parts();
        let connection = tokio::spawn(answer.connection).abort_handle();
        let body = tokio::sync::Mutex::new(body);
        lock(&self.exchanges).insert(exchange, Arc::new(Answered { body, connection }));
        Ok((parts.status.as_u16(), Headers::from(&parts.headers)))
    }

    async fn received(&self, exchange: ExchangeId) -> Result<Chunk, OutboundError> {
        let answered = lock(&self.exchanges).get(&exchange).cloned();
        match answered {
            Some(answered) => next_chunk(&mut *answered.body.lock().await).await,
            None => Err(OutboundError::Protocol("there is no such exchange".to_owned())),
        }
    }
}
