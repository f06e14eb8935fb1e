//! Two processes that ask each other questions over one Unix socket.
//!
//! A message is its length in four bytes, what it is in one, the number of its question in eight
//! (all little-endian), and MessagePack. Whoever waits for an answer is one of the calls in
//! progress, so what waits to be written has their bound; a side that says what no message says, or
//! one that is too long, is not listened to any more.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::net::Shutdown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::lock;

/// The longest message. The largest tensors and prompts fit.
const MESSAGE_BYTES_MAX: usize = 96 << 20;
/// Questions of the other side that may wait for their answers at a time: a few for each of the most
/// calls that a server may have in progress.
const ASKED_MAX: usize = 100_000;
/// Length, kind and number.
const HEAD_BYTES: usize = 4 + 1 + 8;
/// What is read at once, at least.
const READ_BYTES: usize = 64 << 10;

const ASK: u8 = 0;
const ANSWER: u8 = 1;
const TELL: u8 = 2;

/// The other side is gone, or does not speak our language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other process is gone")]
pub(crate) struct Lost;

/// What a side does with what it hears.
pub(crate) trait Service: Send + Sync + 'static {
    /// Questions that it answers.
    type Ask: DeserializeOwned + Send;
    /// What it is told.
    type Tell: DeserializeOwned;

    /// Answers a question. It is dropped when the other side is gone.
    fn answer(self: Arc<Self>, ask: Self::Ask) -> impl Future<Output = Reply> + Send;

    /// Hears, in the order in which it was told; it must not block.
    fn hear(&self, tell: Self::Tell);
}

/// An answer on its way. Each question has answers of a type of its own.
pub(crate) struct Reply(Result<Vec<u8>, rmp_serde::encode::Error>);

impl Reply {
    pub(crate) fn new(answer: &impl Serialize) -> Self {
        Self(rmp_serde::to_vec_named(answer))
    }
}

/// The other side. A clone is another handle to it.
#[derive(Clone)]
pub(crate) struct Peer {
    shared: Arc<Shared>,
}

struct Shared {
    stream: UnixStream,
    /// Written as far as the socket takes it at once; the rest is the writer's.
    outgoing: Mutex<BytesMut>,
    unwritten: Notify,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    last_number: AtomicU64,
    asked: AtomicUsize,
    gone: CancellationToken,
}

/// An answer that is waited for.
pub(crate) struct Pending {
    peer: Peer,
    number: u64,
    answer: oneshot::Receiver<Bytes>,
}

impl Peer {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let shared = Shared {
            stream,
            outgoing: Mutex::default(),
            unwritten: Notify::new(),
            waiting: Mutex::default(),
            last_number: AtomicU64::new(0),
            asked: AtomicUsize::new(0),
            gone: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether both are handles to the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Listens to the other side until it is gone.
    pub(crate) async fn listen<S: Service>(&self, service: Arc<S>) {
        let ended = tokio::select! {
            ended = self.read(&service) => ended,
            ended = self.write() => ended,
            () = self.shared.gone.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a process's connection ended");
        }
        self.hang_up();
    }

    /// Ends the connection: whoever waits for an answer hears it.
    pub(crate) fn hang_up(&self) {
        self.shared.gone.cancel();
        // Handles may outlive the connection, and the other side is to hear of its end.
        rustix::net::shutdown(&self.shared.stream, Shutdown::Both).ok();
        self.waiting().clear();
    }

    /// Whether the other side is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.gone.is_cancelled()
    }

    /// Resolves when the other side is gone.
    pub(crate) async fn gone(&self) {
        self.shared.gone.cancelled().await;
    }

    /// Asks at once, and waits for the answer.
    pub(crate) fn ask<R: DeserializeOwned, A: Serialize>(
        &self,
        ask: &A,
    ) -> impl Future<Output = Result<R, Lost>> + Send + use<R, A> {
        let mut pending = self.begin(ask);
        async move { pending.answer().await }
    }

    /// Asks; the answer can be waited for more than once until it is there.
    pub(crate) fn begin(&self, ask: &impl Serialize) -> Pending {
        let number = self.shared.last_number.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(number, sender);
        if self.is_gone() {
            // It may have been cleared before this one came.
            self.waiting().remove(&number);
        } else {
            self.send((ASK, number), rmp_serde::to_vec_named(ask));
        }
        Pending { peer: self.clone(), number, answer }
    }

    /// Tells, and waits for nothing.
    pub(crate) fn tell(&self, tell: &impl Serialize) {
        if !self.is_gone() {
            self.send((TELL, 0), rmp_serde::to_vec_named(tell));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Bytes>>> {
        lock(&self.shared.waiting)
    }

    fn outgoing(&self) -> MutexGuard<'_, BytesMut> {
        lock(&self.shared.outgoing)
    }

    fn send(&self, (kind, number): (u8, u64), text: Result<Vec<u8>, rmp_serde::encode::Error>) {
        let text = match text {
            Ok(text) if text.len() <= MESSAGE_BYTES_MAX => text,
            Ok(text) => {
                tracing::error!(bytes = text.len(), "a message between processes is too long");
                return self.hang_up();
            }
            Err(error) => {
                tracing::error!(%error, "a message between processes cannot be written");
                return self.hang_up();
            }
        };
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut outgoing = self.outgoing();
        let is_first = outgoing.is_empty();
        outgoing.reserve(HEAD_BYTES + text.len());
        outgoing.put_u32_le(length);
        outgoing.put_u8(kind);
        outgoing.put_u64_le(number);
        outgoing.put_slice(&text);
        // Most messages fit into the socket at once, and need no other task.
        if is_first && let Ok(written) = self.shared.stream.try_write(&outgoing) {
            outgoing.advance(written);
        }
        if !outgoing.is_empty() {
            self.shared.unwritten.notify_one();
        }
    }

    /// Writes what did not fit at once.
    async fn write(&self) -> io::Result<()> {
        loop {
            self.shared.unwritten.notified().await;
            while !self.write_some()? {
                self.shared.stream.ready(Interest::WRITABLE).await?;
            }
        }
    }

    /// Whether everything is written.
    fn write_some(&self) -> io::Result<bool> {
        let mut outgoing = self.outgoing();
        while !outgoing.is_empty() {
            match self.shared.stream.try_write(&outgoing) {
                Ok(written) => outgoing.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(outgoing.is_empty())
    }

    async fn read<S: Service>(&self, service: &Arc<S>) -> io::Result<()> {
        let mut incoming = BytesMut::with_capacity(READ_BYTES);
        loop {
            self.shared.stream.readable().await?;
            match self.shared.stream.try_read_buf(&mut incoming) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            while let Some((kind, number, text)) = next_message(&mut incoming)? {
                self.take((kind, number), text, service)?;
            }
            incoming.reserve(READ_BYTES);
        }
    }

    fn take<S: Service>(
        &self,
        (kind, number): (u8, u64),
        text: Bytes,
        service: &Arc<S>,
    ) -> io::Result<()> {
        match kind {
            ANSWER => {
                if let Some(waiting) = self.waiting().remove(&number) {
                    // Who has asked may have gone.
                    waiting.send(text).ok();
                }
            }
            TELL => service.hear(decode(&text)?),
            ASK => self.spawn(number, Arc::clone(service).answer(decode(&text)?)),
            other => return Err(io::Error::other(format!("a message of kind {other}"))),
        }
        Ok(())
    }

    /// What can be answered at once is; the rest becomes a task.
    fn spawn(&self, number: u64, answer: impl Future<Output = Reply> + Send + 'static) {
        let mut answer = Box::pin(answer);
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(reply) = answer.as_mut().poll(&mut cx) {
            return self.send((ANSWER, number), reply.0);
        }
        let peer = self.clone();
        if peer.shared.asked.fetch_add(1, Ordering::Relaxed) >= ASKED_MAX {
            tracing::error!("a process asks too much at a time");
            return self.hang_up();
        }
        // Its first poll there makes up for the waker that it has not had here.
        tokio::spawn(async move {
            tokio::select! {
                reply = answer => peer.send((ANSWER, number), reply.0),
                () = peer.gone() => {}
            }
            peer.shared.asked.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Pending {
    /// The answer; dropping the future loses nothing.
    pub(crate) async fn answer<R: DeserializeOwned>(&mut self) -> Result<R, Lost> {
        let text = match pin!(&mut self.answer).await {
            Ok(text) => text,
            Err(_) => return Err(Lost),
        };
        decode(&text).map_err(|error| {
            tracing::error!(%error, "an answer of another process cannot be read");
            self.peer.hang_up();
            Lost
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.peer.waiting().remove(&self.number);
    }
}

fn decode<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    rmp_serde::from_slice(text).map_err(io::Error::other)
}

/// The first whole message, if there is one.
fn next_message(incoming: &mut BytesMut) -> io::Result<Option<(u8, u64, Bytes)>> {
    if incoming.len() < HEAD_BYTES {
        return Ok(None);
    }
    let mut head = &incoming[..HEAD_BYTES];
    let (length, kind, number) = (head.get_u32_le() as usize, head.get_u8(), head.get_u64_le());
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    if incoming.len() < HEAD_BYTES + length {
        incoming.reserve(HEAD_BYTES + length - incoming.len());
        return Ok(None);
    }
    incoming.advance(HEAD_BYTES);
    Ok(Some((kind, number, incoming.split_to(length).freeze())))
}

#[cfg(test)]
mod tests;
