//! One batch, sent until every operation in it is answered or given up.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::super::wire::{Decided, Done, Fault, Line};
use super::link::{Failure, Pause};
use super::queue::{Waiter, Waiting};
use super::{Shared, another_kind};
use crate::error::{BillingError, Refusal};
use crate::hold::{Durability, Hold};

/// The most bytes of one line of an answer.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Sends batch after batch, several at a time, until the queue is closed and empty.
pub(super) async fn pump(shared: Arc<Shared>) {
    while let Some(batch) = shared.queue.next().await {
        let flight = Flight {
            shared: Arc::clone(&shared),
            operations: batch.into_iter().map(Some).collect(),
            most: usize::MAX,
        };
        tokio::spawn(flight.send());
    }
}

/// A batch on its way. Operations leave it as they are answered.
struct Flight {
    shared: Arc<Shared>,
    operations: Vec<Option<Waiting>>,
    /// How many of them the service takes at a time, as far as is known.
    most: usize,
}

/// However it ends, the next batch may go, and so may what waits behind its operations.
impl Drop for Flight {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.operations);
        for key in left.into_iter().flatten().filter_map(|waiting| waiting.key) {
            self.shared.queue.release(&key);
        }
        self.shared.queue.done();
    }
}

impl Flight {
    async fn send(mut self) {
        let mut pause = Pause::default();
        loop {
            let count = self.most.min(self.operations.len());
            let attempt_deadline = self.shared.limits.attempt_deadline;
            let attempt = tokio::time::timeout(attempt_deadline, self.attempt(count)).await;
            let sent = self.operations.iter().take(count);
            let all_answered = sent.into_iter().all(Option::is_none);
            self.operations.retain(Option::is_some);
            let (lost, at_once) = match attempt {
                Ok(Ok(())) => ("its answer was not complete".to_owned(), all_answered),
                Ok(Err(Failure::Lost(text))) => (text, false),
                Ok(Err(Failure::Answered(error))) => (self.answered(&error), false),
                Ok(Err(Failure::TooMuch(error))) => (self.too_much(count, &error), true),
                Err(_) => {
                    self.shared.link.forget().await;
                    ("it did not answer in time".to_owned(), false)
                }
            };
            self.give_up(&lost);
            if self.operations.is_empty() {
                return;
            }
            if at_once {
                continue;
            }
            tracing::debug!(operations = self.operations.len(), %lost, "a batch is sent again");
            pause.wait().await;
        }
    }

    /// Sends the first `count` of what is not answered, and takes the answers.
    async fn attempt(&mut self, count: usize) -> Result<(), Failure> {
        let body = self.shared.link.batch(self.body(count)).await?;
        self.read(body).await
    }

    fn body(&self, count: usize) -> Bytes {
        let waiting = || self.operations.iter().flatten().take(count);
        let bytes = waiting().map(|waiting| waiting.body.len().saturating_add(1));
        let mut body = BytesMut::with_capacity(bytes.sum::<usize>().saturating_add(32));
        body.extend_from_slice(b"{\"operations\":[");
        for (at, waiting) in waiting().enumerate() {
            if at > 0 {
                body.extend_from_slice(b",");
            }
            body.extend_from_slice(&waiting.body);
        }
        body.extend_from_slice(b"]}");
        body.freeze()
    }

    async fn read(&mut self, mut body: Incoming) -> Result<(), Failure> {
        let mut text = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::Lost(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line = text.split_to(end.saturating_add(1));
                let line: Line = serde_json::from_slice(&line)
                    .map_err(|error| Failure::Lost(format!("its answer is no line: {error}")))?;
                self.take(line);
            }
            if text.len() > LINE_BYTES_MAX {
                return Err(Failure::Lost("a line of its answer is too long".to_owned()));
            }
        }
        Ok(())
    }

    /// Passes one line on to whoever waits for it.
    fn take(&mut self, line: Line) {
        let at = usize::try_from(line.index).unwrap_or(usize::MAX);
        let Some(slot) = self.operations.get_mut(at) else { return };
        let Some(mut waiting) = slot.take() else { return };
        if let Some(fault) = line.error {
            return self.finish(waiting, fault);
        }
        if let Some(done) = line.done {
            let key = waiting.key.take();
            pass(waiting.waiter, done);
            return self.release(key);
        }
        if let Some(hold) = line.decided {
            decided(&mut waiting.waiter, &hold);
        }
        if !line.durable {
            // More is to come for it. Until then it may have to be sent again, so nothing else of
            // its call may go.
            if let Some(slot) = self.operations.get_mut(at) {
                *slot = Some(waiting);
            }
            return;
        }
        let key = waiting.key.take();
        match waiting.waiter {
            Waiter::Hold { sync: Some(sync), .. } => drop(sync.send(Ok(()))),
            waiter => waiter.fail(another_kind()),
        }
        self.release(key);
    }

    fn finish(&self, mut waiting: Waiting, fault: Fault) {
        let error = BillingError::from(fault);
        if let BillingError::Refused(Refusal::StaleGateway { epoch }) = &error {
            tracing::error!(epoch, "a newer process has this gateway's name: no holds any more");
        }
        let key = waiting.key.take();
        waiting.waiter.fail(error);
        self.release(key);
    }

    fn release(&self, key: Option<(crate::OrgId, crate::CallId)>) {
        if let Some(key) = key {
            self.shared.queue.release(&key);
        }
    }

    /// The service does not take so much at a time: from now on it gets half as many. What is too
    /// much by itself is given up. Gives back what to say of it.
    fn too_much(&mut self, count: usize, error: &BillingError) -> String {
        self.most = count.div_ceil(2);
        if count <= 1
            && !self.operations.is_empty()
            && let Some(waiting) = self.operations.remove(0)
        {
            self.finish(waiting, Fault::from(error));
        }
        error.to_string()
    }

    /// The batch as a whole was answered with an error. Where the service has no place, who can
    /// still turn back is told; what must be done is tried again. Gives back what to say of those
    /// that are given up.
    fn answered(&mut self, error: &BillingError) -> String {
        let again = matches!(error, BillingError::Overloaded);
        let left = std::mem::take(&mut self.operations);
        for waiting in left.into_iter().flatten() {
            let undecided = matches!(waiting.waiter, Waiter::Hold { decided: Some(_), .. });
            if again && !undecided {
                self.operations.push(Some(waiting));
            } else {
                self.finish(waiting, Fault::from(error));
            }
        }
        error.to_string()
    }

    /// Ends the wait of those whose time is over.
    fn give_up(&mut self, lost: &str) {
        let now = Instant::now();
        let left = std::mem::take(&mut self.operations);
        for waiting in left.into_iter().flatten() {
            if waiting.until > now && !waiting.waiter.has_left() {
                self.operations.push(Some(waiting));
            } else {
                let error = BillingError::Unreachable(lost.to_owned());
                self.finish(waiting, Fault::from(&error));
            }
        }
    }
}

/// Tells the caller of a hold what was decided. A line that comes again, after a retry, tells
/// nobody anything new.
fn decided(waiter: &mut Waiter, hold: &Decided) {
    let Waiter::Hold { decided, durable, .. } = waiter else { return };
    if let (Some(decided), Some(durable)) = (decided.take(), durable.take()) {
        let Decided { call, amount, price_version, expires_at_ms } = *hold;
        let durability = Durability::Pending(durable);
        let hold = Hold::decided(call, amount, (price_version, expires_at_ms), durability);
        drop(decided.send(Ok(hold)));
    }
}

fn pass(waiter: Waiter, done: Done) {
    // Who has left misses nothing: it is done.
    match (waiter, done) {
        (Waiter::Captured(waiter), Done::Captured(done)) => drop(waiter.send(Ok(*done))),
        (Waiter::Voided(waiter), Done::Voided) => drop(waiter.send(Ok(()))),
        (Waiter::Ordered(waiter), Done::Ordered(done)) => drop(waiter.send(Ok(*done))),
        (waiter, _) => waiter.fail(another_kind()),
    }
}
