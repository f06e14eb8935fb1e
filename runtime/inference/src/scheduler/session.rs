use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::lease::Lease;
use super::lock;
use super::model::Model;
use super::prepare::Prepared;
use crate::InferenceError;
use crate::api::{Event, FinishReason, Usage};

/// What a model's thread does with a session.
mod ticket;

/// One client's sequence. The model's thread and the client meet here.
pub(crate) struct Session {
    /// Which registration of a model it is for.
    pub(crate) registration: u64,
    pub(crate) payer: Arc<str>,
    /// Released before anything else is locked.
    core: Mutex<Core>,
    changed: Notify,
}

struct Core {
    state: State,
    /// Counts submitted tasks, so that what belongs to an earlier one is known.
    task: u64,
    ready: Option<Ready>,
    /// Keeps the model in memory while a task is prepared or runs.
    lease: Option<Lease>,
    deadline: Option<Instant>,
    events: VecDeque<Event>,
    usage: Usage,
    /// Why the task failed, told after the events before it.
    failure: Option<InferenceError>,
    touched: Instant,
    /// Calls that wait for something now.
    waiting: usize,
}

/// A prepared task, and until when it is worth doing.
pub(crate) struct Ready {
    pub(crate) prepared: Prepared,
    pub(crate) deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was submitted, or all of it was taken.
    Idle,
    /// Submitted, and the end is not in sight.
    Running,
    /// The last event is queued.
    Ended,
    /// Closed by the client, by time or with its model.
    Closed,
    /// The model's thread died.
    Dead,
}

/// A submitted task, as the model's thread knows it.
pub(crate) struct Job {
    pub(crate) ticket: Ticket,
    pub(crate) prepared: Prepared,
}

/// The right of a model's thread to write to a session: void once the task was cancelled.
#[derive(Clone)]
pub(crate) struct Ticket {
    session: Arc<Session>,
    task: u64,
}

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Wanted,
    /// Cancelled, or its session is closed.
    Gone,
    /// Its deadline has passed.
    Late,
}

impl Session {
    pub(crate) fn new(registration: u64, payer: &str) -> Self {
        let core = Core {
            state: State::Idle,
            task: 0,
            ready: None,
            lease: None,
            deadline: None,
            events: VecDeque::new(),
            usage: Usage::default(),
            failure: None,
            touched: Instant::now(),
            waiting: 0,
        };
        Self {
            registration,
            payer: Arc::from(payer),
            core: Mutex::new(core),
            changed: Notify::new(),
        }
    }

    /// Whether a task may be prepared now.
    pub(crate) fn ready_to_prepare(&self) -> Result<(), InferenceError> {
        lock(&self.core).ready_to_prepare()
    }

    /// Keeps a prepared task, and its model.
    pub(crate) fn keep(&self, ready: Ready, lease: Lease) -> Result<(), InferenceError> {
        let mut core = lock(&self.core);
        core.ready_to_prepare()?;
        core.ready = Some(ready);
        let before = core.lease.replace(lease);
        drop(core);
        drop(before);
        Ok(())
    }

    /// Starts the prepared task.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<(Job, Arc<Model>), InferenceError> {
        let mut core = lock(&self.core);
        core.ready_to_prepare()?;
        let model = core.lease.as_ref().map(|lease| Arc::clone(lease.model()));
        let (Some(ready), Some(model)) = (core.ready.take(), model) else {
            return Err(InferenceError::invalid("session", "no task is prepared"));
        };
        Ok((self.start(core, ready), model))
    }

    fn start(self: &Arc<Self>, mut core: MutexGuard<'_, Core>, ready: Ready) -> Job {
        core.events.clear();
        core.failure = None;
        core.usage = Usage::default();
        core.state = State::Running;
        core.deadline = ready.deadline;
        core.task += 1;
        let ticket = Ticket { session: Arc::clone(self), task: core.task };
        Job { ticket, prepared: ready.prepared }
    }

    /// Starts a task without a model, for tests that run a model's thread themselves.
    #[cfg(test)]
    pub(crate) fn begin_alone(self: &Arc<Self>, ready: Ready) -> Job {
        self.start(lock(&self.core), ready)
    }

    /// Counts the calling task as a waiting one until what this gives is dropped.
    pub(crate) fn call(&self) -> Waiting<'_> {
        Waiting::new(self)
    }

    /// Waits for an event.
    pub(crate) async fn next(&self) -> Result<Event, InferenceError> {
        let waiting = self.call();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no notice is missed, although the state is looked at first.
            changed.as_mut().enable();
            if let Some(event) = waiting.session.take()? {
                return Ok(event);
            }
            changed.await;
        }
    }

    /// The next event, if one is there.
    pub(crate) fn take(&self) -> Result<Option<Event>, InferenceError> {
        let mut core = lock(&self.core);
        match core.state {
            State::Closed => return Err(InferenceError::UnknownSession),
            State::Dead => return Err(InferenceError::WorkerDied),
            State::Idle => {
                return Err(InferenceError::invalid("session", "no task was submitted"));
            }
            State::Running | State::Ended => {}
        }
        let Some(mut event) = core.events.pop_front() else {
            let Some(failure) = core.failure.take() else { return Ok(None) };
            core.state = State::Idle;
            return Err(failure);
        };
        match &mut event {
            Event::Piece { tokens, .. } => core.usage.output_tokens += tokens.len() as u32,
            Event::ToolCalls(_) => {}
            Event::Answer { usage, .. } => *usage = core.usage,
            Event::Done { usage, .. } => {
                *usage = core.usage;
                core.state = State::Idle;
            }
        }
        let model = core.model();
        drop(core);
        // The sequence may have been parked for want of room.
        wake(model);
        Ok(Some(event))
    }

    /// Ends the running task; what was not taken is dropped.
    pub(crate) fn cancel(&self) {
        let mut core = lock(&self.core);
        core.touched = Instant::now();
        if matches!(core.state, State::Running | State::Ended) {
            let lease = core.end(FinishReason::Cancelled, true);
            drop(core);
            self.let_go(lease);
        }
    }

    /// Ends the session.
    pub(crate) fn close(&self) {
        self.end(State::Closed, |_| true);
    }

    /// Tells the client that the model's thread died, if its task is there.
    pub(crate) fn fail(&self, model: &Arc<Model>) {
        let there = |lease: &Lease| Arc::ptr_eq(lease.model(), model);
        self.end(State::Dead, |core| core.lease.as_ref().is_some_and(there));
    }

    fn end(&self, state: State, applies: impl FnOnce(&Core) -> bool) {
        let mut core = lock(&self.core);
        if core.state == State::Closed || !applies(&core) {
            return;
        }
        core.state = state;
        core.events.clear();
        let (ready, lease) = (core.ready.take(), core.lease.take());
        drop(core);
        drop(ready);
        self.let_go(lease);
    }

    /// Tells both sides that the task is over.
    fn let_go(&self, lease: Option<Lease>) {
        self.changed.notify_waiters();
        let model = lease.as_ref().map(|lease| Arc::clone(lease.model()));
        drop(lease);
        wake(model);
    }

    pub(crate) fn usage(&self) -> Usage {
        lock(&self.core).usage
    }

    /// Closes the session if nobody has called for so long; says whether it is closed.
    pub(crate) fn expire(&self, idle_max: Duration) -> bool {
        let core = lock(&self.core);
        let (idle, closed) = (core.idle(Instant::now(), idle_max), core.closed());
        drop(core);
        if idle && !closed {
            self.close();
        }
        idle || closed
    }
}

fn wake(model: Option<Arc<Model>>) {
    if let Some(model) = model {
        model.wake();
    }
}

impl Core {
    fn ready_to_prepare(&mut self) -> Result<(), InferenceError> {
        self.touched = Instant::now();
        match self.state {
            State::Closed => Err(InferenceError::UnknownSession),
            State::Dead => Err(InferenceError::WorkerDied),
            State::Idle => Ok(()),
            State::Ended if self.events.len() <= 1 => Ok(()),
            State::Running | State::Ended => {
                Err(InferenceError::invalid("session", "its last task has not ended"))
            }
        }
    }

    /// Queues the end; what it gives is to be dropped outside the lock.
    fn end(&mut self, finish_reason: FinishReason, discard: bool) -> Option<Lease> {
        if discard {
            self.events.clear();
        }
        self.events.push_back(Event::Done { finish_reason, usage: self.usage });
        self.state = State::Ended;
        self.lease.take()
    }

    fn model(&self) -> Option<Arc<Model>> {
        self.lease.as_ref().map(|lease| Arc::clone(lease.model()))
    }

    fn closed(&self) -> bool {
        matches!(self.state, State::Closed | State::Dead)
    }

    fn idle(&self, now: Instant, idle_max: Duration) -> bool {
        self.waiting == 0 && now.saturating_duration_since(self.touched) > idle_max
    }
}

/// Counts a waiting call for as long as it lives, also when its future is dropped.
pub(crate) struct Waiting<'a> {
    session: &'a Session,
}

impl<'a> Waiting<'a> {
    fn new(session: &'a Session) -> Self {
        let mut core = lock(&session.core);
        core.waiting += 1;
        core.touched = Instant::now();
        drop(core);
        Self { session }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut core = lock(&self.session.core);
        core.waiting -= 1;
        core.touched = Instant::now();
    }
}

impl Core {
    fn written_by(&self, ticket: &Ticket) -> bool {
        self.state == State::Running && self.task == ticket.task
    }
}
