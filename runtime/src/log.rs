use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 8 << 10;
/// What a guest may hand over with one write.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Which of a guest's outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes a call's log lines. It is called from the guest's task, so it must not block.
pub trait LogSink: Send + Sync {
    /// One line without its end. Bytes that are not UTF-8 are replaced.
    fn line(&self, stream: Stream, line: &str);
}

/// What both outputs of a call may still write.
pub(crate) struct LogBudget {
    bytes_max: u64,
    bytes: AtomicU64,
}

impl LogBudget {
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicU64::new(0) })
    }

    /// Whether a line fits; `Err(true)` for the first one that does not.
    fn take(&self, bytes: usize) -> Result<(), bool> {
        let bytes = bytes as u64;
        let before = self.bytes.load(Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.bytes_max {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        }
        // From here on nothing fits, not even a shorter line: a log with holes misleads.
        Err(self.bytes.swap(u64::MAX, Ordering::Relaxed) != u64::MAX)
    }
}

/// Both outputs of a call, standard output first.
pub(crate) fn both(sink: &Arc<dyn LogSink>, bytes_max: u64) -> [LogStream; 2] {
    let budget = LogBudget::new(bytes_max);
    [Stream::Stdout, Stream::Stderr]
        .map(|stream| LogStream::new(stream, Arc::clone(sink), Arc::clone(&budget)))
}

/// The same for the next call of the same instance: what its guest has kept open writes there.
pub(crate) fn renew(streams: &[LogStream; 2], sink: &Arc<dyn LogSink>, bytes_max: u64) {
    let budget = LogBudget::new(bytes_max);
    for stream in streams {
        let mut lines = stream.lines();
        (lines.sink, lines.budget) = (Arc::clone(sink), Arc::clone(&budget));
    }
}

/// One output of a guest. All streams that the guest opens on it share the line in progress.
#[derive(Clone)]
pub(crate) struct LogStream {
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    stream: Stream,
    sink: Arc<dyn LogSink>,
    budget: Arc<LogBudget>,
    partial: Vec<u8>,
}

impl LogStream {
    pub(crate) fn new(stream: Stream, sink: Arc<dyn LogSink>, budget: Arc<LogBudget>) -> Self {
        let lines = Lines { stream, sink, budget, partial: Vec::new() };
        Self { lines: Arc::new(Mutex::new(lines)) }
    }

    /// A line of the host's own, which counts as the guest's.
    pub(crate) fn note(&self, text: &str) {
        self.lines().write(format!("{text}\n").as_bytes());
    }

    /// Gives out a line that has no end yet.
    pub(crate) fn end_line(&self) {
        let mut lines = self.lines();
        if !lines.partial.is_empty() {
            lines.emit();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(LINE_BYTES_MAX) {
                self.extend(part);
            }
            if ended {
                self.emit();
            }
        }
    }

    fn extend(&mut self, part: &[u8]) {
        if self.partial.len() + part.len() > LINE_BYTES_MAX {
            self.emit();
        }
        self.partial.extend_from_slice(part);
    }

    fn emit(&mut self) {
        match self.budget.take(self.partial.len() + 1) {
            Ok(()) => self.sink.line(self.stream, &String::from_utf8_lossy(&self.partial)),
            Err(true) => {
                let note = format!(
                    "[the log limit of {} bytes is reached; the rest is dropped]",
                    self.budget.bytes_max
                );
                self.sink.line(self.stream, &note);
            }
            Err(false) => {}
        }
        self.partial.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.emit();
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lines().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
