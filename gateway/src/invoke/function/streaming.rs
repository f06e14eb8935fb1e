use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use emberbox_runtime::GuestBody;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use crate::body::{Body, BoxError};

/// Whether the call was charged, or why it could not be.
pub(super) type Settled = Result<(), String>;

/// A guest's body whose end waits until the call is charged.
///
/// The end is the last byte where the length was announced, since a client stops reading there;
/// else it is the terminator that follows the last byte. Dropping it stops the guest.
struct Streaming {
    first: Option<Bytes>,
    source: Cut,
    /// Bytes to come, where the guest announced its answer's length.
    remaining: Option<u64>,
    /// The bytes that complete the announced length.
    last: Option<Bytes>,
    /// `None` once the charge is known.
    settled: Option<oneshot::Receiver<Settled>>,
}

/// Where the bytes come from.
enum Source {
    Guest(GuestBody),
    /// It was read to its end.
    Over,
    /// It was taken away from a client that does not read.
    Cut,
}

/// Takes a body away from a client that keeps its connection and does not read: nothing else
/// would end such a call.
#[derive(Clone)]
pub(super) struct Cut(Arc<Mutex<Source>>);

impl Cut {
    /// Drops the guest's body, which stops the guest; the client's answer breaks off.
    pub(super) fn cut(&self) {
        let mut source = self.lock();
        if matches!(*source, Source::Guest(_)) {
            *source = Source::Cut;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // The call's task may hold the other handle: the guest must hear of it now.
        *self.source.lock() = Source::Over;
    }
}

/// A body of what was read already and what the guest still writes.
pub(super) fn body(
    first: Bytes,
    guest: GuestBody,
    (length, settled): (Option<u64>, oneshot::Receiver<Settled>),
) -> (Body, Cut) {
    let source = Cut(Arc::new(Mutex::new(Source::Guest(guest))));
    let streaming = Streaming {
        first: Some(first).filter(|bytes| !bytes.is_empty()),
        source: source.clone(),
        remaining: length,
        last: None,
        settled: Some(settled),
    };
    (streaming.boxed_unsync(), source)
}

impl Streaming {
    /// Passes bytes on, unless they are the last.
    fn pass(&mut self, data: Bytes) -> Option<Bytes> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(data.len() as u64);
            if *remaining == 0 {
                *self.source.lock() = Source::Over;
                self.last = Some(data);
                return None;
            }
        }
        Some(data)
    }

    /// The guest's next bytes; `None` at the end.
    fn poll_guest(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let Some(data) = self.first.take().and_then(|first| self.pass(first)) {
            return Poll::Ready(Some(Ok(data)));
        }
        while let Some(data) = ready!(self.poll_source(context)) {
            match data.map(|data| self.pass(data)) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                // The last bytes wait for the charge.
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let mut source = self.source.lock();
        let frame = match &mut *source {
            Source::Guest(guest) => ready!(Pin::new(guest).poll_frame(context)),
            Source::Over => None,
            Source::Cut => return Poll::Ready(Some(Err("the client did not read".into()))),
        };
        if !matches!(frame, Some(Ok(_))) {
            *source = Source::Over;
        }
        let data = |frame: Frame<Bytes>| frame.into_data().unwrap_or_default();
        Poll::Ready(frame.map(|frame| frame.map(data).map_err(BoxError::from)))
    }

    /// Waits for the charge.
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let Some(settled) = &mut self.settled else { return Poll::Ready(Ok(())) };
        let outcome = ready!(Pin::new(settled).poll(context));
        self.settled = None;
        // Without a charge there is no end: the connection breaks, and the client knows.
        Poll::Ready(match outcome {
            Ok(charged) => charged.map_err(BoxError::from),
            Err(_) => Err("the call's task ended early".into()),
        })
    }
}

impl HttpBody for Streaming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(next) = ready!(self.poll_guest(context)) {
            return Poll::Ready(Some(next.map(Frame::data)));
        }
        if let Err(error) = ready!(self.poll_settled(context)) {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(self.last.take().map(|data| Ok(Frame::data(data))))
    }
}
