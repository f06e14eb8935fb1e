//! A command's request and answer, as streams.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncRead, AsyncWrite, empty};
use tokio::sync::mpsc;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::HeadSender;
use crate::{BodyError, RequestBody};

/// What a program may write at once, and how many such pieces may wait for the client.
const CHUNK_BYTES_MAX: usize = 32 << 10;
const CHUNKS_WAITING_MAX: usize = 16;

/// What answers a program gives: preview 1 has no way to say.
const ANSWER_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Standard input: the body of the request. All streams that the guest opens on it read the same.
#[derive(Clone)]
pub(super) struct Stdin {
    reader: Arc<Mutex<Reader>>,
}

struct Reader {
    body: RequestBody,
    chunk: Bytes,
    /// How it ended, once it did.
    end: Option<Result<(), BodyError>>,
}

impl Stdin {
    pub(super) fn new(body: RequestBody) -> Self {
        let reader = Reader { body, chunk: Bytes::new(), end: None };
        Self { reader: Arc::new(Mutex::new(reader)) }
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Ready when there is something to read, or nothing will come.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.chunk.is_empty() && self.end.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Trailers have no place in a stream of bytes.
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => self.end = Some(Err(error)),
                None => self.end = Some(Ok(())),
            }
        }
        Poll::Ready(())
    }

    fn read(&mut self, bytes_max: usize) -> StreamResult<Bytes> {
        if !self.chunk.is_empty() {
            return Ok(self.chunk.split_to(bytes_max.min(self.chunk.len())));
        }
        match &self.end {
            None => Ok(Bytes::new()),
            Some(Ok(())) => Err(StreamError::Closed),
            Some(Err(error)) => Err(StreamError::LastOperationFailed(error.clone().into())),
        }
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    /// Preview 1 reads from the other one.
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.reader().poll_ready(cx)).await;
    }
}

impl InputStream for Stdin {
    fn read(&mut self, bytes_max: usize) -> StreamResult<Bytes> {
        self.reader().read(bytes_max)
    }
}

/// Standard output: the body of the answer. Its head leaves with the first bytes.
#[derive(Clone)]
pub(super) struct Stdout {
    chunks: mpsc::Sender<Bytes>,
    unsent: Arc<Mutex<Option<Unsent>>>,
}

/// An answer whose head has not left.
struct Unsent {
    head: HeadSender,
    chunks: mpsc::Receiver<Bytes>,
}

impl Stdout {
    pub(super) fn new(head: HeadSender) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
        Self { chunks: sender, unsent: Arc::new(Mutex::new(Some(Unsent { head, chunks }))) }
    }

    /// Sends the head, unless it has left.
    pub(super) fn begin(&self) {
        let unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Unsent { head, mut chunks }) = unsent else { return };
        let chunks = futures::stream::poll_fn(move |cx| chunks.poll_recv(cx));
        let body = StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync();
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, ANSWER_TYPE);
        if head.send(Ok(response)).is_err() {
            tracing::debug!("the client left before the head of its answer");
        }
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    /// Preview 1 writes to the other one.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdout {
    /// Ready when a piece has room, or nobody reads any more.
    async fn ready(&mut self) {
        self.chunks.reserve().await.ok();
    }
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.begin();
        self.chunks.try_send(bytes).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
            full @ mpsc::error::TrySendError::Full(_) => StreamError::trap(&full.to_string()),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.chunks.is_closed() {
            return Err(StreamError::Closed);
        }
        Ok(if self.chunks.capacity() == 0 { 0 } else { CHUNK_BYTES_MAX })
    }
}
