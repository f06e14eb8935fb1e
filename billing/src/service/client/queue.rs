//! What waits to be sent. Operations on one call are never on their way in two batches at a time:
//! a void must not overtake its hold, nor a hold that is sent again come after its void. A hold is
//! on its way until it is durable or given up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::{RemoteLimits, gone};
use crate::capture::Captured;
use crate::error::BillingError;
use crate::hold::Hold;
use crate::ids::{CallId, OrgId};
use crate::order::Outcome;

/// A call within its organisation.
type Key = (OrgId, CallId);
type Answer<T> = oneshot::Sender<Result<T, BillingError>>;

/// Who waits for an operation.
#[derive(Debug)]
pub(super) enum Waiter {
    /// First for the decision, then, with the other end of `sync`, for durability.
    Hold {
        decided: Option<Answer<Hold>>,
        sync: Option<Answer<()>>,
        durable: Option<oneshot::Receiver<Result<(), BillingError>>>,
    },
    Captured(Answer<Captured>),
    Voided(Answer<()>),
    Ordered(Answer<Outcome>),
}

impl Waiter {
    /// Whether it need not be sent: a hold is for its caller only, all else is done for the
    /// ledger's sake.
    pub(super) fn has_left(&self) -> bool {
        matches!(self, Waiter::Hold { decided: Some(decided), .. } if decided.is_closed())
    }

    /// Ends the wait with an error.
    pub(super) fn fail(self, error: BillingError) {
        // Who has left misses nothing.
        match self {
            Waiter::Hold { decided: Some(decided), .. } => drop(decided.send(Err(error))),
            Waiter::Hold { sync: Some(sync), .. } => drop(sync.send(Err(error))),
            Waiter::Hold { .. } => {}
            Waiter::Captured(waiter) => drop(waiter.send(Err(error))),
            Waiter::Voided(waiter) => drop(waiter.send(Err(error))),
            Waiter::Ordered(waiter) => drop(waiter.send(Err(error))),
        }
    }
}

/// An operation that waits to be sent.
#[derive(Debug)]
pub(super) struct Waiting {
    /// It, in JSON.
    pub(super) body: Vec<u8>,
    pub(super) key: Option<Key>,
    pub(super) waiter: Waiter,
    /// When it is given up.
    pub(super) until: Instant,
    pub(super) _place: OwnedSemaphorePermit,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    is_empty: watch::Sender<bool>,
    holds: Arc<Semaphore>,
    others: Arc<Semaphore>,
    batches_max: usize,
    batch_operations_max: usize,
    batch_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Waiting>,
    /// Calls with an operation on its way, and what waits for its answer.
    busy: HashMap<Key, VecDeque<Waiting>>,
    batches: usize,
    closed: bool,
}

/// What a look at the queue finds.
enum Next {
    Batch(Vec<Waiting>),
    Nothing,
    End,
}

impl Queue {
    pub(super) fn new(limits: &RemoteLimits) -> Queue {
        Queue {
            state: Mutex::default(),
            changed: Notify::new(),
            is_empty: watch::Sender::new(false),
            holds: Arc::new(Semaphore::new(limits.holds_max)),
            others: Arc::new(Semaphore::new(limits.others_max)),
            batches_max: limits.batches_max,
            batch_operations_max: limits.batch_operations_max,
            batch_bytes_max: limits.batch_bytes_max,
        }
    }

    /// A place for a hold, if there is one.
    pub(super) fn hold_place(&self) -> Result<OwnedSemaphorePermit, BillingError> {
        Arc::clone(&self.holds).try_acquire_owned().map_err(|_none| BillingError::Overloaded)
    }

    /// A place for anything else, as soon as there is one.
    pub(super) async fn other_place(&self) -> Result<OwnedSemaphorePermit, BillingError> {
        Arc::clone(&self.others).acquire_owned().await.map_err(|_closed| gone())
    }

    /// Puts an operation at the end.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), BillingError> {
        let mut state = self.state();
        if state.closed {
            return Err(gone());
        }
        match waiting.key.as_ref().and_then(|key| state.busy.get_mut(key)) {
            Some(behind) => behind.push_back(waiting),
            None => state.ready.push_back(waiting),
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The next batch, as large as it has become: waits until there is something to send and a
    /// batch may be on its way. `None` once the queue is closed and all is answered.
    pub(super) async fn next(&self) -> Option<Vec<Waiting>> {
        loop {
            match self.look() {
                Next::Batch(batch) => return Some(batch),
                Next::End => return None,
                Next::Nothing => self.changed.notified().await,
            }
        }
    }

    fn look(&self) -> Next {
        let mut state = self.state();
        let batch = match state.batches < self.batches_max {
            true => self.take(&mut state),
            false => Vec::new(),
        };
        if !batch.is_empty() {
            state.batches = state.batches.saturating_add(1);
            return Next::Batch(batch);
        }
        if state.closed && state.batches == 0 && state.ready.is_empty() {
            self.is_empty.send_replace(true);
            return Next::End;
        }
        Next::Nothing
    }

    fn take(&self, state: &mut State) -> Vec<Waiting> {
        let now = Instant::now();
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        while let Some(waiting) = state.ready.pop_front() {
            if let Some(behind) = waiting.key.as_ref().and_then(|key| state.busy.get_mut(key)) {
                behind.push_back(waiting);
                continue;
            }
            if waiting.waiter.has_left() {
                continue;
            }
            if waiting.until <= now {
                let reason = "it did not answer in time".to_owned();
                waiting.waiter.fail(BillingError::Unreachable(reason));
                continue;
            }
            bytes = bytes.saturating_add(waiting.body.len()).saturating_add(1);
            let full = batch.len() >= self.batch_operations_max || bytes > self.batch_bytes_max;
            if full && !batch.is_empty() {
                state.ready.push_front(waiting);
                break;
            }
            if let Some(key) = &waiting.key {
                state.busy.insert(key.clone(), VecDeque::new());
            }
            batch.push(waiting);
        }
        batch
    }

    /// The operation of a call is answered: what waited behind it may go.
    pub(super) fn release(&self, key: &Key) {
        let mut state = self.state();
        if let Some(behind) = state.busy.remove(key)
            && !behind.is_empty()
        {
            state.ready.extend(behind);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// A batch is answered.
    pub(super) fn done(&self) {
        let mut state = self.state();
        state.batches = state.batches.saturating_sub(1);
        drop(state);
        self.changed.notify_one();
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until all is answered, once the queue is closed.
    pub(super) async fn empty(&self) {
        let mut is_empty = self.is_empty.subscribe();
        // The sender lives as long as the queue.
        drop(is_empty.wait_for(|empty| *empty).await);
    }

    /// A panic while the lock was held cannot leave the plain collections half-changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
