use std::pin::Pin;
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
    /// `None` once it was read to its end.
    guest: Option<GuestBody>,
    /// Bytes to come, where the guest announced its answer's length.
    remaining: Option<u64>,
    /// The bytes that complete the announced length.
    last: Option<Bytes>,
    /// `None` once the charge is known.
    settled: Option<oneshot::Receiver<Settled>>,
}

/// A body of what was read already and what the guest still writes.
pub(super) fn body(
    first: Bytes,
    guest: GuestBody,
    (length, settled): (Option<u64>, oneshot::Receiver<Settled>),
) -> Body {
    let first = Some(first).filter(|bytes| !bytes.is_empty());
    let settled = Some(settled);
    Streaming { first, guest: Some(guest), remaining: length, last: None, settled }.boxed_unsync()
}

impl Streaming {
    /// Passes bytes on, unless they are the last.
    fn pass(&mut self, data: Bytes) -> Option<Bytes> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(data.len() as u64);
            if *remaining == 0 {
                self.guest = None;
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
        while let Some(guest) = &mut self.guest {
            let data = match ready!(Pin::new(guest).poll_frame(context)) {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.guest = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    self.guest = None;
                    break;
                }
            };
            if let Some(data) = self.pass(data) {
                return Poll::Ready(Some(Ok(data)));
            }
        }
        Poll::Ready(None)
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
