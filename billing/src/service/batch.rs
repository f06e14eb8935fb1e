//! One batch: its operations are handed to the ledger together, and every answer is sent as soon
//! as it is known.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::voids::Voids;
use super::wire::{Batch, Decided, Done, Fault, Line, LooseBatch, Operation};
use crate::billing::Billing;
use crate::error::BillingError;
use crate::hold::{Hold, HoldEnd, HoldRequest};
use crate::ids::{CallId, OrgId};
use crate::order::Act;

/// Lines that go into one frame.
const LINES_PER_FRAME_MAX: usize = 256;

/// Who sent a request: the names in its certificate.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) names: Arc<[String]>,
}

impl Peer {
    /// Whether it may ask this. What the ledger does for one gateway must not be asked by
    /// another: a hold belongs to a process, and registering ends a process's holds.
    fn may(&self, operation: &Operation) -> Result<(), BillingError> {
        let gateway = match operation {
            Operation::Hold(request) => match &request.holder {
                Some(holder) => &holder.gateway,
                None => {
                    let reason = "holder: a hold over the service names its gateway";
                    return Err(BillingError::Invalid(reason.to_owned()));
                }
            },
            Operation::Order(order) => match &order.act {
                Act::RegisterGateway { gateway } => gateway,
                _ => return Ok(()),
            },
            // The ledger knows whose the hold is.
            Operation::Capture(_) | Operation::Void(_) => return Ok(()),
        };
        if self.names.contains(gateway) {
            return Ok(());
        }
        Err(BillingError::Invalid(format!(
            "gateway: the certificate is for {}, not for `{gateway}`",
            self.names.join(", ")
        )))
    }
}

/// The operations of a batch, each as it was read.
pub(super) type Operations = Vec<Result<Operation, BillingError>>;

/// Reads a batch. An operation that makes no sense spoils only itself.
///
/// # Errors
/// [`BillingError::Invalid`] where the batch as a whole makes no sense.
pub(super) fn parse(body: &[u8]) -> Result<Operations, BillingError> {
    let invalid = |error: serde_json::Error| BillingError::Invalid(format!("not a batch: {error}"));
    Ok(match serde_json::from_slice::<Batch>(body) {
        Ok(batch) => batch.operations.into_iter().map(Ok).collect(),
        Err(_) => {
            let loose: LooseBatch = serde_json::from_slice(body).map_err(invalid)?;
            let read = |value| {
                serde_json::from_value(value)
                    .map_err(|error| BillingError::Invalid(error.to_string()))
            };
            loose.operations.into_iter().map(read).collect()
        }
    })
}

/// What operations are done with, whichever batch they come in.
#[derive(Clone)]
pub(super) struct Works {
    pub(super) billing: Arc<dyn Billing>,
    pub(super) voids: Arc<Voids>,
}

/// What all operations of a batch share. Its end is the end of the answer.
struct Running {
    works: Works,
    /// The names of who asks.
    gateways: Arc<[String]>,
    lines: mpsc::Sender<Line>,
    operation_deadline: Duration,
    _place: OwnedSemaphorePermit,
}

/// Starts a batch. It goes on to its end whether or not somebody reads the lines: an operation
/// that was taken is done.
pub(super) fn start(
    works: Works,
    (operations, peer): (Operations, &Peer),
    operation_deadline: Duration,
    place: OwnedSemaphorePermit,
) -> Lines {
    // Two lines for each operation: no writer ever waits for a slow reader.
    let (lines, receiver) = mpsc::channel(operations.len().saturating_mul(2).max(1));
    let gateways = Arc::clone(&peer.names);
    let running = Arc::new(Running { works, gateways, lines, operation_deadline, _place: place });
    let mut groups: Vec<Vec<(u32, Operation)>> = Vec::with_capacity(operations.len());
    let mut group_of = HashMap::new();
    for (index, operation) in (0_u32..).zip(operations) {
        let permitted = operation.and_then(|operation| peer.may(&operation).map(|()| operation));
        match permitted {
            Ok(operation) => {
                let next = groups.len();
                let at = operation.call().map_or(next, |key| *group_of.entry(key).or_insert(next));
                match groups.get_mut(at) {
                    Some(group) => group.push((index, operation)),
                    None => groups.push(vec![(index, operation)]),
                }
            }
            // There is room for every line.
            Err(error) => drop(running.lines.try_send(Line {
                index,
                error: Some(Fault::from(&error)),
                ..Line::default()
            })),
        }
    }
    for group in groups {
        let running = Arc::clone(&running);
        tokio::spawn(async move { running.group(group).await });
    }
    Lines { receiver, ready: Vec::new() }
}

impl Running {
    /// Operations on one call, one after the other; then the syncs of its holds.
    async fn group(&self, operations: Vec<(u32, Operation)>) {
        let mut held = Vec::new();
        for (index, operation) in operations {
            let answer = self.answer(index, operation);
            match tokio::time::timeout(self.operation_deadline, answer).await {
                Ok(hold) => held.extend(hold.map(|hold| (index, hold))),
                Err(_) => self.fault(index, &late()).await,
            }
        }
        for (index, mut hold) in held {
            match tokio::time::timeout(self.operation_deadline, hold.durable()).await {
                Ok(Ok(())) => self.line(Line { index, durable: true, ..Line::default() }).await,
                Ok(Err(error)) => self.fault(index, &error).await,
                Err(_) => self.fault(index, &late()).await,
            }
        }
    }

    /// Does one operation and says so. A hold is given back, to be waited for.
    async fn answer(&self, index: u32, operation: Operation) -> Option<Hold> {
        let done = match operation {
            Operation::Hold(request) => {
                let gateways = Arc::clone(&self.gateways);
                return match self.works.hold(gateways, *request).await {
                    Ok(hold) => {
                        let decided = Decided {
                            call: hold.call,
                            amount: hold.amount,
                            price_version: hold.price_version,
                            expires_at_ms: hold.expires_at_ms,
                        };
                        let decided = Some(decided);
                        self.line(Line { index, decided, ..Line::default() }).await;
                        Some(hold)
                    }
                    Err(error) => {
                        self.fault(index, &error).await;
                        None
                    }
                };
            }
            Operation::Capture(request) => {
                let gateways = Arc::clone(&self.gateways);
                let captured = self.works.billing.capture_for(gateways, request).await;
                captured.map(|done| Done::Captured(Box::new(done)))
            }
            Operation::Void(void) => {
                let gateways = Arc::clone(&self.gateways);
                self.works.void(gateways, (void.org, void.call)).await.map(|()| Done::Voided)
            }
            Operation::Order(order) => {
                self.works.billing.order(*order).await.map(|done| Done::Ordered(Box::new(done)))
            }
        };
        match done {
            Ok(done) => self.line(Line { index, done: Some(done), ..Line::default() }).await,
            Err(error) => self.fault(index, &error).await,
        }
        None
    }

    async fn fault(&self, index: u32, error: &BillingError) {
        self.line(Line { index, error: Some(Fault::from(error)), ..Line::default() }).await;
    }

    /// Where nobody reads any more, the operation is done all the same.
    async fn line(&self, line: Line) {
        drop(self.lines.send(line).await);
    }
}

impl Works {
    /// Takes a hold, unless its void was here before.
    async fn hold(
        &self,
        gateways: Arc<[String]>,
        request: HoldRequest,
    ) -> Result<Hold, BillingError> {
        let key = (gateways, request.org.clone(), request.call);
        if self.voids.has(&key) {
            return Err(BillingError::HoldEnded(HoldEnd::Voided));
        }
        let hold = self.billing.hold(request).await?;
        // The void may have passed by between the look and the ledger's queue.
        if self.voids.has(&key) {
            let (_, org, call) = key;
            self.billing.void(org, call).await?;
            return Err(BillingError::HoldEnded(HoldEnd::Voided));
        }
        Ok(hold)
    }

    async fn void(
        &self,
        gateways: Arc<[String]>,
        (org, call): (OrgId, CallId),
    ) -> Result<(), BillingError> {
        let voiding = self.voids.begin((Arc::clone(&gateways), org.clone(), call));
        let voided = self.billing.void_for(gateways, org, call).await;
        let unclear = matches!(voided, Err(BillingError::Unreachable(_) | BillingError::Store(_)));
        if !unclear && !matches!(voided, Err(BillingError::UnknownHold)) {
            voiding.knew();
        }
        voided
    }
}

fn late() -> BillingError {
    BillingError::Unreachable("the ledger did not answer the service in time".to_owned())
}

/// The lines as a body: whatever is known by now goes into one frame.
#[derive(Debug)]
pub(super) struct Lines {
    receiver: mpsc::Receiver<Line>,
    ready: Vec<Line>,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        let Lines { receiver, ready } = &mut *self;
        match receiver.poll_recv_many(cx, ready, LINES_PER_FRAME_MAX) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(None),
            Poll::Ready(_) => {
                let mut text = Vec::with_capacity(ready.len().saturating_mul(256));
                let written = ready.drain(..).try_for_each(|line| {
                    serde_json::to_writer(&mut text, &line).map(|()| text.push(b'\n'))
                });
                Poll::Ready(Some(written.map(|()| Frame::data(text.into()))))
            }
        }
    }
}
