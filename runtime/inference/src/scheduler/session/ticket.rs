use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Core, Fate, Ready, State, Ticket};
use crate::InferenceError;
use crate::api::{Event, FinishReason};
use crate::scheduler::lock;
use crate::scheduler::prepare::Prepared;

impl Ticket {
    pub(crate) fn payer(&self) -> &Arc<str> {
        &self.session.payer
    }

    /// Gives the task back that could not be queued.
    pub(crate) fn retract(&self, prepared: Prepared) {
        let mut core = lock(&self.session.core);
        if core.written_by(self) {
            core.state = State::Idle;
            core.ready = Some(Ready { prepared, deadline: core.deadline });
        }
    }

    /// Whether the task is still to be done.
    pub(crate) fn fate(&self, now: Instant, idle_max: Duration) -> Fate {
        let core = lock(&self.session.core);
        let live = core.state == State::Running && core.task == self.task;
        let (idle, late) = (core.idle(now, idle_max), core.deadline.is_some_and(|at| at <= now));
        drop(core);
        match (live, idle, late) {
            (false, ..) => Fate::Gone,
            (_, true, _) => {
                self.session.close();
                Fate::Gone
            }
            (.., true) => Fate::Late,
            _ => Fate::Wanted,
        }
    }

    /// When the task is no longer worth doing.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        lock(&self.session.core).deadline
    }

    /// Whether the client's stream has room.
    pub(crate) fn room(&self, events_max: usize) -> bool {
        lock(&self.session.core).events.len() < events_max
    }

    /// Notes how much of the input is done; it never goes back.
    pub(crate) fn computed(&self, input: usize, cached: usize) {
        let mut core = lock(&self.session.core);
        if core.written_by(self) {
            core.usage.input_tokens = core.usage.input_tokens.max(input as u32);
            core.usage.cached_input_tokens = core.usage.cached_input_tokens.max(cached as u32);
        }
    }

    /// Queues an event.
    pub(crate) fn emit(&self, event: Event) {
        let mut core = lock(&self.session.core);
        if core.written_by(self) {
            core.events.push_back(event);
        }
        drop(core);
        self.session.changed.notify_waiters();
    }

    /// Queues the last events together: a client that took one may rely on the end being there.
    pub(crate) fn finish(&self, last: Vec<Event>, reason: FinishReason) {
        self.end(|core| {
            core.events.extend(last);
            core.end(reason, false);
        });
    }

    /// Ends the task with an error, which is told after the events before it.
    pub(crate) fn fail(&self, error: InferenceError) {
        self.end(|core| {
            core.failure = Some(error);
            core.state = State::Ended;
        });
    }

    fn end(&self, change: impl FnOnce(&mut Core)) {
        let mut core = lock(&self.session.core);
        let lease = if core.written_by(self) { core.lease.take() } else { None };
        drop(core);
        // Before the client knows: what it does next finds the model as idle as it is.
        drop(lease);
        let mut core = lock(&self.session.core);
        if core.written_by(self) {
            change(&mut core);
        }
        drop(core);
        self.session.changed.notify_waiters();
    }
}
