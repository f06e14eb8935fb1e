use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode, header, response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use serde::{Deserialize, Serialize};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::call::{BodyRules, Client};
use crate::{CallEnding, LimitKind};

/// The body of a request, as the guest will read it.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BodyError {
    /// The client stopped sending, or sent what is not HTTP.
    #[error("the request's body could not be read: {0}")]
    Request(String),
    /// The guest failed, or was stopped, in the middle of its answer.
    #[error("the function stopped in the middle of its answer: {0:?}")]
    Stopped(CallEnding),
    /// The answer is longer than the limit.
    #[error("the answer is longer than the limit of {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
}

/// The body of a guest's answer. Frames come as the guest writes them.
pub struct GuestBody(UnsyncBoxBody<Bytes, BodyError>);

impl GuestBody {
    /// A body that is an answer's already, and keeps to its limits.
    pub fn new(body: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self(UnsyncBoxBody::new(body))
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl std::fmt::Debug for GuestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestBody")
    }
}

/// What a guest writes, held to the rules. Trailers are dropped: they could carry what is removed
/// from the head.
pub(crate) struct WrittenBody {
    inner: HyperOutgoingBody,
    /// `None` once the answer is complete or has failed.
    client: Option<Client>,
    bytes: u64,
    bytes_max: u64,
    /// From the head, where the guest has stated it.
    bytes_expected: Option<u64>,
}

impl WrittenBody {
    pub(crate) fn new(
        inner: HyperOutgoingBody,
        client: Client,
        head: &response::Parts,
        rules: &BodyRules,
    ) -> Self {
        let length = head.headers.get(header::CONTENT_LENGTH);
        let bytes_expected = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let mut body = Self {
            inner,
            client: Some(client),
            bytes: 0,
            bytes_max: rules.response_bytes_max,
            bytes_expected,
        };
        // Nobody reads the body of these, so that not reading it does not mean leaving.
        let unread = rules.method == Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if unread && let Some(client) = &mut body.client {
            client.satisfied();
        }
        if body.inner.is_end_stream() || bytes_expected == Some(0) {
            body.complete();
        }
        body
    }

    fn complete(&mut self) {
        if let Some(mut client) = self.client.take() {
            client.satisfied();
        }
    }

    fn data(&mut self, data: Bytes) -> Result<Frame<Bytes>, BodyError> {
        let added = data.len() as u64;
        self.bytes = self.bytes.saturating_add(added);
        if self.bytes > self.bytes_max {
            let error = BodyError::TooLarge { bytes_max: self.bytes_max };
            if let Some(client) = &self.client {
                let ending = CallEnding::Trap(error.to_string());
                client.shared().stop_at(LimitKind::Response, ending, None);
            }
            self.complete();
            return Err(error);
        }
        if self.bytes_expected.is_some_and(|expected| self.bytes > expected) {
            let reason = "its answer is longer than its `content-length`".to_owned();
            let ending = CallEnding::Trap(reason);
            self.fail(ending.clone());
            return Err(BodyError::Stopped(ending));
        }
        if let Some(client) = &self.client {
            client.shared().add_response_bytes(added);
        }
        // A server that knows the length drops the body without asking for its end.
        if self.bytes_expected.is_some_and(|expected| self.bytes >= expected) {
            self.complete();
        }
        Ok(Frame::data(data))
    }

    fn fail(&mut self, ending: CallEnding) {
        if let Some(client) = &self.client {
            client.shared().stop(ending, None);
        }
        self.complete();
    }

    /// The stream is over: by the guest's word, or because its store is gone.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        let stopped = self.client.as_ref().and_then(|client| client.shared().stopped().cloned());
        self.complete();
        stopped.map(|ending| Err(BodyError::Stopped(ending)))
    }
}

impl Body for WrittenBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.client.is_none() {
            return Poll::Ready(None);
        }
        let next = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(this.data(data)),
                Err(_trailers) => this.end(),
            },
            Some(Err(error)) => {
                let ending = CallEnding::Trap(format!("its answer's body failed: {error}"));
                this.fail(ending.clone());
                Some(Err(BodyError::Stopped(ending)))
            }
            None => this.end(),
        };
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.client.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.bytes_expected {
            Some(expected) => SizeHint::with_exact(expected.saturating_sub(self.bytes)),
            None => SizeHint::default(),
        }
    }
}
