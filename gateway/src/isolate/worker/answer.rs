use std::time::Duration;

use bytes::{Bytes, BytesMut};
use emberbox_runtime::{BodyError, CallReport, GuestBody, Report};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::isolate::messages::Chunk;

/// What is handed over at once.
const PART_BYTES: usize = 64 << 10;

/// A call whose guest runs.
#[derive(Default)]
pub(super) struct Running {
    left: CancellationToken,
    body: Mutex<Rest>,
    report: Mutex<Option<Report>>,
}

/// What is left of an answer.
#[derive(Default)]
enum Rest {
    #[default]
    Nothing,
    Body(Box<GuestBody>),
    Broken(BodyError),
}

impl Running {
    pub(super) fn keep_report(&self, report: Report) {
        // Nobody else has it yet.
        if let Ok(mut slot) = self.report.try_lock() {
            *slot = Some(report);
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn leave(&self) {
        self.left.cancel();
        // One that is being read hears of it there.
        if let Ok(mut body) = self.body.try_lock() {
            *body = Rest::Nothing;
        }
    }

    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }

    /// What the call has used, once.
    pub(super) async fn report(&self) -> Option<CallReport> {
        let mut slot = self.report.lock().await;
        let report = slot.as_mut()?.await;
        *slot = None;
        Some(report)
    }

    /// What comes of a body within a moment. The rest is kept.
    pub(super) async fn begin(&self, mut body: GuestBody, within: Duration) -> Chunk {
        let mut rest = self.body.lock().await;
        let mut data = BytesMut::new();
        let until = tokio::time::Instant::now() + within;
        while !body.is_end_stream() && data.len() < PART_BYTES {
            match tokio::time::timeout_at(until, body.frame()).await {
                Ok(Some(Ok(frame))) => data.extend(frame.into_data()),
                Ok(Some(Err(error))) => {
                    *rest = Rest::Broken(error);
                    return Chunk { data: data.freeze(), ended: false };
                }
                Ok(None) => return Chunk { data: data.freeze(), ended: true },
                Err(_) => break,
            }
        }
        let ended = body.is_end_stream();
        if !ended && !self.left.is_cancelled() {
            *rest = Rest::Body(Box::new(body));
        }
        Chunk { data: data.freeze(), ended }
    }

    /// The next of the body.
    pub(super) async fn next(&self) -> Result<Chunk, BodyError> {
        let mut rest = self.body.lock().await;
        let next = match &mut *rest {
            Rest::Nothing => return Ok(Chunk { data: Bytes::new(), ended: true }),
            Rest::Broken(error) => Some(Err(error.clone())),
            Rest::Body(body) => tokio::select! {
                next = body.frame() => next,
                () = self.left.cancelled() => None,
            },
        };
        let chunk = match next {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                let ended = matches!(&*rest, Rest::Body(body) if body.is_end_stream());
                Ok(Chunk { data, ended })
            }
            Some(Err(error)) => Err(error),
            None => Ok(Chunk { data: Bytes::new(), ended: true }),
        };
        if !matches!(&chunk, Ok(chunk) if !chunk.ended) {
            *rest = Rest::Nothing;
        }
        chunk
    }
}
