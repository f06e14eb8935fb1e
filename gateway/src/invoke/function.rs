//! A call of a function.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use emberbox_billing::{Ending, Hold, Meter};
use emberbox_runtime::models::Metered;
use emberbox_runtime::{
    BodyError, Call, CallEnding, CallError, CallReport, GuestBody, LimitKind, Report, RequestBody,
    Started,
};
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode, Uri, response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use self::failure::{broken, no_answer, tell_author};
use self::streaming::{Cut, Settled};
use super::spend::CallSpend;
use super::{Caller, Charged, Tab, quote};
use crate::app::App;
use crate::body::{self, Body};
use crate::deployments::{Live, Place};
use crate::errors::ApiError;
use crate::logs::CallLog;

/// What the client and the author are told of a call that went wrong.
mod failure;
/// The body of an answer that leaves while it is made.
mod streaming;

/// An answer that is complete within this time is sent whole, with its cost in the head. A longer
/// one streams, and its first byte is late by at most this.
const WHOLE_WITHIN: Duration = Duration::from_millis(4);
/// And only if it is no longer than this.
const WHOLE_BYTES_MAX: usize = 64 << 10;

/// How long after its guest's last moment an answer may still be read.
const UNREAD_GRACE: Duration = Duration::from_secs(10);

type Reply = Result<Response<Body>, ApiError>;

/// Runs one request in the function's sandbox and charges it.
pub(crate) async fn call(
    app: &Arc<App>,
    caller: Caller,
    live: Arc<Live>,
    request: http::Request<Body>,
) -> Reply {
    let (reply, replied) = oneshot::channel();
    let span = tracing::info_span!(
        "function_call",
        otel.name = format!("call {}/{}", live.owner, live.name),
        otel.kind = "internal",
        faas.name = live.name,
        faas.version = live.version,
        request_id = %caller.arrival.request_id,
        emberbox.ending = Empty,
        emberbox.cpu_us = Empty,
        emberbox.fuel = Empty,
        emberbox.inference_us = Empty,
        emberbox.memory_bytes_peak = Empty,
        emberbox.response_bytes = Empty,
    );
    let settling = app.settling.clone();
    let app = Arc::clone(app);
    settling
        .spawn(async move { work(&app, &caller, &live, (request, reply)).await }.instrument(span));
    replied.await.unwrap_or(Err(ApiError::Internal))
}

/// A call whose guest runs.
struct Begun {
    /// Among the calls of its function.
    place: Place,
    tab: Tab,
    hold: Hold,
    spend: Arc<CallSpend>,
    started: Started,
}

/// How far the answer has come when its guest is about to end.
enum Outcome {
    /// The head has left; the end of the body waits to hear of the charge.
    Streaming(oneshot::Sender<Settled>, Cut),
    /// Nothing has left: the whole answer is here.
    Whole(oneshot::Sender<Reply>, Box<response::Parts>, Bytes),
    /// There is no answer of the guest's.
    Refused(oneshot::Sender<Reply>, ApiError),
    /// The hold was lost, or no guest ran: nothing may be charged.
    Unpaid(oneshot::Sender<Reply>, ApiError),
    /// Nobody waits for an answer.
    Gone,
}

/// The call's task: it ends when the call is charged, with or without its client.
async fn work(
    app: &Arc<App>,
    caller: &Caller,
    live: &Live,
    (request, reply): (http::Request<Body>, oneshot::Sender<Reply>),
) {
    let log = app.logs.of_call(&live.org_id, &live.name, &caller.arrival.request_id);
    let log = Arc::new(log);
    let head_only = request.method() == Method::HEAD;
    let begun = match begin(app, caller, live, (request, &log)).await {
        Ok(begun) => begun,
        Err(error) => return send(reply, Err(error)),
    };
    let Begun { place, tab, hold, spend, started: Started { head, report } } = begun;
    let outcome = answer(reply, hold, head, head_only).await;
    if let Outcome::Unpaid(reply, error) = outcome {
        tab.release().await;
        return send(reply, Err(error));
    }
    let report = match &outcome {
        Outcome::Streaming(_, cut) => read_in_time(report, cut, live).await,
        _ => report.await,
    };
    note(&report);
    tell_author(&log, &report);
    let answered = matches!(outcome, Outcome::Streaming(..) | Outcome::Whole(..));
    drop(place);
    let charged = settle(tab, &spend, (&report, answered)).await;
    finish(outcome, charged, report.limit);
}

/// What the call used, on its span.
fn note(report: &CallReport) {
    let ending = match &report.ending {
        CallEnding::Normal => "normal",
        CallEnding::ClientLeft => "client_left",
        CallEnding::Deadline => "deadline",
        CallEnding::Budget => "budget",
        CallEnding::Trap(_) => "trap",
        CallEnding::Fault(_) => "fault",
    };
    let span = Span::current();
    span.record("emberbox.ending", ending);
    span.record("emberbox.cpu_us", report.cpu_us);
    if let Some(fuel) = report.fuel {
        span.record("emberbox.fuel", fuel.get());
    }
    span.record("emberbox.inference_us", report.inference_us);
    span.record("emberbox.memory_bytes_peak", report.memory_bytes_peak);
    span.record("emberbox.response_bytes", report.response_bytes);
}

/// Everything that can refuse the call: the balance, the sandbox's room, the request itself.
async fn begin(
    app: &Arc<App>,
    caller: &Caller,
    live: &Live,
    (request, log): (http::Request<Body>, &Arc<CallLog>),
) -> Result<Begun, ApiError> {
    let place = app.deployments.place(live).ok_or(ApiError::FunctionBusy)?;
    let quote = quote::function(app, &caller.org(), live, caller.max_cost).await?;
    let (book, author) = (Arc::clone(&quote.book), quote.author.clone());
    let (tab, hold) = Tab::open(app, caller, (quote, lasts_ms_max(live))).await?;
    let spend = Arc::new(CallSpend::new(book, (caller.org(), author), hold.amount));
    let started = live.function.start(Call {
        request: inner_request(request),
        tenant: caller.principal.org.id.clone(),
        request_id: caller.arrival.request_id.to_string(),
        models: Arc::new(Metered::new(
            Arc::clone(&app.bridge),
            Arc::<CallSpend>::clone(&spend),
            caller.principal.org.id.clone(),
        )),
        outbound: live.door(&app.egress),
        logs: Arc::<CallLog>::clone(log),
    });
    match started {
        Ok(started) => Ok(Begun { place, tab, hold, spend, started }),
        Err(error) => {
            tab.release().await;
            Err(no_answer(error))
        }
    }
}

/// The request as the function sees it: below its own root.
fn inner_request(request: http::Request<Body>) -> http::Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    parts.uri = inner_uri(&parts.uri);
    parts.extensions.clear();
    let body = body.map_err(|error| BodyError::Request(error.to_string())).boxed_unsync();
    http::Request::from_parts(parts, body)
}

/// `/f/{owner}/{function}/a?b` becomes `/a?b`.
fn inner_uri(uri: &Uri) -> Uri {
    let path = uri.path();
    let start = path.match_indices('/').nth(3).map_or(path.len(), |(at, _)| at);
    let rest = path.get(start..).filter(|rest| !rest.is_empty()).unwrap_or("/");
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    // A part of a valid path with a valid query is valid again.
    parts.path_and_query = format!("{rest}{query}").parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// Waits for the guest's head and the hold's sync, and sends what may be sent.
async fn answer(
    mut reply: oneshot::Sender<Reply>,
    mut hold: Hold,
    head: emberbox_runtime::Head,
    head_only: bool,
) -> Outcome {
    let (durable, head) = tokio::select! {
        both = async { tokio::join!(hold.durable(), head) } => both,
        // Dropping the head stops the guest.
        () = reply.closed() => return Outcome::Gone,
    };
    if let Err(error) = durable {
        return Outcome::Unpaid(reply, error.into());
    }
    let response = match head {
        Ok(response) => response,
        Err(error @ (CallError::Overloaded | CallError::RequestInvalid(_))) => {
            return Outcome::Unpaid(reply, no_answer(error));
        }
        Err(error) => return Outcome::Refused(reply, no_answer(error)),
    };
    let (parts, guest) = response.into_parts();
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if head_only || bodiless || guest.is_end_stream() {
        return Outcome::Whole(reply, Box::new(parts), Bytes::new());
    }
    match collect(guest).await {
        Collected::Whole(bytes) => {
            let mut parts = Box::new(parts);
            parts.headers.remove(CONTENT_LENGTH);
            Outcome::Whole(reply, parts, bytes)
        }
        Collected::Failed(error) => Outcome::Refused(reply, broken(&error)),
        Collected::Part(bytes, guest) => stream(reply, parts, bytes, guest),
    }
}

/// What came of an answer's body within a moment.
enum Collected {
    Whole(Bytes),
    Part(Bytes, GuestBody),
    Failed(BodyError),
}

async fn collect(mut guest: GuestBody) -> Collected {
    let mut bytes = BytesMut::new();
    let until = tokio::time::Instant::now() + WHOLE_WITHIN;
    while bytes.len() <= WHOLE_BYTES_MAX {
        match tokio::time::timeout_at(until, guest.frame()).await {
            Ok(Some(Ok(frame))) => bytes.extend(frame.into_data()),
            Ok(Some(Err(error))) => return Collected::Failed(error),
            Ok(None) => return Collected::Whole(bytes.freeze()),
            Err(_) => break,
        }
    }
    Collected::Part(bytes.freeze(), guest)
}

fn stream(
    reply: oneshot::Sender<Reply>,
    parts: response::Parts,
    bytes: Bytes,
    guest: GuestBody,
) -> Outcome {
    let length = parts.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let (settled, waits) = oneshot::channel();
    let (body, cut) = streaming::body(bytes, guest, (length, waits));
    send(reply, Ok(Response::from_parts(parts, body)));
    Outcome::Streaming(settled, cut)
}

/// Waits for the report, and cuts the answer off when it is not read long after its guest's end.
async fn read_in_time(mut report: Report, cut: &Cut, live: &Live) -> CallReport {
    let wall = Duration::from_millis(live.function.limits().wall_ms_max);
    tokio::select! {
        report = &mut report => return report,
        () = tokio::time::sleep(wall + UNREAD_GRACE) => cut.cut(),
    }
    report.await
}

/// From the hold to the charge: the guest until its head, and then the client that reads.
fn lasts_ms_max(live: &Live) -> u64 {
    let grace_ms = u64::try_from(UNREAD_GRACE.as_millis()).unwrap_or(u64::MAX);
    live.function.limits().wall_ms_max.saturating_mul(2).saturating_add(grace_ms)
}

/// Ends the hold by the table of endings. `None`: nothing was charged.
async fn settle(
    tab: Tab,
    spend: &CallSpend,
    (report, answered): (&CallReport, bool),
) -> Result<Option<Charged>, ApiError> {
    let ending = match report.ending {
        CallEnding::Normal => Ending::Normal,
        CallEnding::ClientLeft => Ending::ClientLeft,
        CallEnding::Deadline => Ending::Deadline,
        CallEnding::Budget => Ending::Budget,
        CallEnding::Trap(_) => Ending::GuestTrap,
        CallEnding::Fault(_) => Ending::PlatformFault,
    };
    let delivered = answered && report.response_bytes > 0;
    if ending == Ending::PlatformFault && !delivered {
        tab.release().await;
        return Ok(None);
    }
    let mut tally = spend.used();
    tally.add(None, Meter::Calls, 1);
    tally.add_computed(report.computed());
    tab.charge(tally.lines(), ending).await.map(Some)
}

/// Lets the end of the answer go, now that the charge is known.
fn finish(outcome: Outcome, charged: Result<Option<Charged>, ApiError>, limit: Option<LimitKind>) {
    match outcome {
        Outcome::Streaming(settled, _) => {
            let charged = charged.map(|_| ()).map_err(|error| error.to_string());
            if settled.send(charged).is_err() {
                tracing::debug!("the client left before the end of its answer");
            }
        }
        Outcome::Whole(reply, parts, bytes) => {
            let response = charged.map(|charged| {
                let mut response = Response::from_parts(*parts, body::full(bytes));
                charged.iter().for_each(|charged| charged.write(response.headers_mut()));
                response
            });
            send(reply, response);
        }
        Outcome::Refused(reply, error) => {
            let mut response = Response::from(error.reached(limit));
            let charged = charged.ok().flatten();
            charged.iter().for_each(|charged| charged.write(response.headers_mut()));
            send(reply, Ok(response));
        }
        Outcome::Unpaid(reply, error) => send(reply, Err(error)),
        Outcome::Gone => {}
    }
}

fn send(reply: oneshot::Sender<Reply>, answer: Reply) {
    if reply.send(answer).is_err() {
        tracing::debug!("the client left before its answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_sees_paths_below_its_own_root() {
        let rows = [
            ("/f/a/b", "/"),
            ("/f/a/b/", "/"),
            ("/f/a/b/c/d?e=f&g", "/c/d?e=f&g"),
            ("/f/a/b?e=f", "/?e=f"),
            ("/f/a/b//c", "//c"),
            ("http://host:1/f/a/b/c", "http://host:1/c"),
        ];
        for (outer, inner) in rows {
            assert_eq!(inner_uri(&outer.parse().unwrap()).to_string(), inner, "{outer}");
        }
    }
}
