use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::lock;
use super::model::Model;
use super::prepare::Prepared;
use crate::InferenceError;
use crate::api::{Event, FinishReason, Usage};

/// One client's sequence. The model's thread and the client meet here.
pub(crate) struct Session {
    pub(crate) model: Arc<Model>,
    /// Released before the inbox is locked, whose reader looks at sessions while it holds it.
    core: Mutex<Core>,
    changed: Notify,
}

struct Core {
    state: State,
    /// Counts submitted tasks, so that what belongs to an earlier one is known.
    task: u64,
    prepared: Option<Prepared>,
    events: VecDeque<Event>,
    usage: Usage,
    /// Why the task failed, told after the events before it.
    failure: Option<InferenceError>,
    touched: Instant,
    /// Calls that wait for an event now.
    waiting: usize,
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

impl Session {
    pub(crate) fn new(model: Arc<Model>) -> Self {
        let core = Core {
            state: State::Idle,
            task: 0,
            prepared: None,
            events: VecDeque::new(),
            usage: Usage::default(),
            failure: None,
            touched: Instant::now(),
            waiting: 0,
        };
        Self { model, core: Mutex::new(core), changed: Notify::new() }
    }

    /// Whether a task may be prepared now.
    pub(crate) fn ready_to_prepare(&self) -> Result<(), InferenceError> {
        let mut core = lock(&self.core);
        core.touched = Instant::now();
        match core.state {
            State::Closed => Err(InferenceError::UnknownSession),
            State::Dead => Err(InferenceError::WorkerDied),
            State::Idle => Ok(()),
            State::Ended if core.events.len() <= 1 => Ok(()),
            State::Running | State::Ended => {
                Err(InferenceError::invalid("session", "its last task has not ended"))
            }
        }
    }

    /// Keeps a prepared task.
    pub(crate) fn keep(&self, prepared: Prepared) -> Result<(), InferenceError> {
        self.ready_to_prepare()?;
        lock(&self.core).prepared = Some(prepared);
        Ok(())
    }

    /// Starts the prepared task.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Job, InferenceError> {
        self.ready_to_prepare()?;
        let mut core = lock(&self.core);
        let Some(prepared) = core.prepared.take() else {
            return Err(InferenceError::invalid("session", "no task is prepared"));
        };
        core.events.clear();
        core.failure = None;
        core.usage = Usage::default();
        core.state = State::Running;
        core.task += 1;
        let ticket = Ticket { session: Arc::clone(self), task: core.task };
        Ok(Job { ticket, prepared })
    }

    /// Takes a task back that could not be queued.
    pub(crate) fn retract(&self, prepared: Prepared) {
        let mut core = lock(&self.core);
        if core.state == State::Running {
            core.state = State::Idle;
            core.prepared = Some(prepared);
        }
    }

    /// Waits for an event.
    pub(crate) async fn next(&self) -> Result<Event, InferenceError> {
        let waiting = Waiting::new(self);
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

    fn take(&self) -> Result<Option<Event>, InferenceError> {
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
            Event::Embeddings { usage, .. } => *usage = core.usage,
            Event::Done { usage, .. } => {
                *usage = core.usage;
                core.state = State::Idle;
            }
        }
        drop(core);
        // The sequence may have been parked for want of room.
        self.model.wake();
        Ok(Some(event))
    }

    /// Ends the running task; what was not taken is dropped.
    pub(crate) fn cancel(&self) {
        let mut core = lock(&self.core);
        core.touched = Instant::now();
        if matches!(core.state, State::Running | State::Ended) {
            core.end(FinishReason::Cancelled, true);
            drop(core);
            self.wake_all();
        }
    }

    /// Ends the session.
    pub(crate) fn close(&self) {
        self.end(State::Closed);
    }

    /// Tells the client that the model's thread died.
    pub(crate) fn fail(&self) {
        self.end(State::Dead);
    }

    fn end(&self, state: State) {
        let mut core = lock(&self.core);
        if core.state != State::Closed {
            core.state = state;
            core.events.clear();
            core.prepared = None;
        }
        drop(core);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.changed.notify_waiters();
        self.model.wake();
    }

    pub(crate) fn usage(&self) -> Usage {
        lock(&self.core).usage
    }

    pub(crate) fn closed(&self) -> bool {
        matches!(lock(&self.core).state, State::Closed | State::Dead)
    }

    /// Closes the session if nobody has called for so long; says whether it is closed.
    pub(crate) fn expire(&self, idle_max: Duration) -> bool {
        let core = lock(&self.core);
        let idle = core.waiting == 0 && core.touched.elapsed() > idle_max;
        let closed = matches!(core.state, State::Closed | State::Dead);
        drop(core);
        if idle && !closed {
            self.close();
        }
        idle || closed
    }
}

impl Core {
    fn end(&mut self, finish_reason: FinishReason, discard: bool) {
        if discard {
            self.events.clear();
        }
        self.events.push_back(Event::Done { finish_reason, usage: self.usage });
        self.state = State::Ended;
    }
}

/// Counts a waiting call for as long as it lives, also when its future is dropped.
struct Waiting<'a> {
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

impl Ticket {
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the task is still wanted.
    pub(crate) fn live(&self) -> bool {
        let core = lock(&self.session.core);
        core.state == State::Running && core.task == self.task
    }

    /// Whether the client's stream has room.
    pub(crate) fn room(&self, events_max: usize) -> bool {
        lock(&self.session.core).events.len() < events_max
    }

    /// Notes how much of the input is done; it never goes back.
    pub(crate) fn computed(&self, input: usize, cached: usize) {
        self.write(|core| {
            core.usage.input_tokens = core.usage.input_tokens.max(input as u32);
            core.usage.cached_input_tokens = core.usage.cached_input_tokens.max(cached as u32);
        });
    }

    /// Queues an event.
    pub(crate) fn emit(&self, event: Event) {
        self.write(|core| core.events.push_back(event));
        self.session.changed.notify_waiters();
    }

    /// Queues the last events together: a client that took one may rely on the end being there.
    pub(crate) fn finish(&self, last: Vec<Event>, reason: FinishReason) {
        self.write(|core| {
            core.events.extend(last);
            core.end(reason, false);
        });
        self.session.changed.notify_waiters();
    }

    /// Ends the task with an error.
    pub(crate) fn fail(&self, error: InferenceError) {
        self.write(|core| {
            core.failure = Some(error);
            core.state = State::Ended;
        });
        self.session.changed.notify_waiters();
    }

    fn write(&self, change: impl FnOnce(&mut Core)) {
        let mut core = lock(&self.session.core);
        if core.state == State::Running && core.task == self.task {
            change(&mut core);
        }
    }
}
