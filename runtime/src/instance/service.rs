//! A component of WASI 0.3 that answers through `wasi:http/handler`. It has a store's state and
//! everything that it reaches in common with components of 0.2; only the call is another.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as ServiceError;
use wasmtime_wasi_http::{Error as HttpError, WasiHttpView};

use super::component::State;
use super::{Bounds, HeadSender};
use crate::meter::Shared;
use crate::{Call, Grants, Limits, RequestBody};

/// What the engine keeps for a handle of a task, a stream or a future, and for the calls between them.
const ENTRIES_PER_HANDLE: usize = 8;

/// A request, and the instance that it will run in.
pub(crate) struct Guest {
    pre: ServicePre<State>,
    request: Request<RequestBody>,
    state: State,
    head: HeadSender,
}

impl Guest {
    pub(super) fn new(
        pre: &ServicePre<State>,
        call: Call,
        (limits, grants): (&Limits, &Grants),
        (shared, head): (Arc<Shared>, HeadSender),
    ) -> Self {
        let state = State::new(&call, (limits, grants), shared);
        Self { pre: pre.clone(), request: call.request, state, head }
    }
}

/// Runs a request from its fresh store to the store's end.
pub(super) async fn run(guest: Guest, engine: &wasmtime::Engine, bounds: &Bounds) {
    let Guest { pre, request, state, head } = guest;
    let mut store = match bounds.store(engine, state) {
        Ok(store) => store,
        Err(error) => return bounds.fail(&error),
    };
    let entries_max = (bounds.limits.handles_max as usize).saturating_mul(ENTRIES_PER_HANDLE);
    if let Some(entries) = store.concurrent_resource_table() {
        entries.set_max_capacity(entries_max);
    }
    bounds.run(Box::pin(handle(&mut store, &pre, request, head))).await;
    bounds.count_fuel(&mut store);
}

/// Passes the request to the guest's handler, and lets its tasks go on until the answer's body has
/// been read or left.
async fn handle(
    store: &mut Store<State>,
    pre: &ServicePre<State>,
    request: Request<RequestBody>,
    head: HeadSender,
) -> wasmtime::Result<()> {
    let service = pre.instantiate_async(&mut *store).await?;
    let request =
        request.map(|body| body.map_err(|error| HttpError::InternalError(Some(error.to_string()))));
    let hooks = store.data_mut().http().hooks;
    let (request, sent) = wasmtime_wasi_http::p3::Request::from_http(hooks, request);
    let answer = async |accessor: &Accessor<State>| {
        let response = match service.handle(accessor, request).await? {
            Ok(response) => response,
            Err(error) => {
                refuse(head, &error);
                return Ok(());
            }
        };
        let response = accessor.with(|store| response.into_http(store, sent))?;
        let (read, is_read) = oneshot::channel();
        let response = response.map(|body| Watched { body, read: Some(read) }.boxed_unsync());
        // Who waits for it may have left, and then the body goes at once.
        head.send(Ok(response)).ok();
        // Nobody sends: it is the end of the other side that is waited for.
        is_read.await.ok();
        Ok(())
    };
    store.run_concurrent(answer).await?
}

fn refuse(head: HeadSender, error: &ServiceError) {
    head.send(Err(ErrorCode::InternalError(Some(format!("{error:?}"))))).ok();
}

/// A body that says when it is read or left.
struct Watched {
    body: UnsyncBoxBody<Bytes, HttpError>,
    /// Dropped at the end.
    read: Option<oneshot::Sender<()>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.read = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
