use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock;
use crate::InferenceError;

/// A bounded queue that its one reader also sleeps on.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    jobs_max: usize,
    tokens_max: usize,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<(T, usize)>,
    tokens: usize,
    woken: bool,
    status: Status,
}

/// Whether the reader is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    /// Asked to end.
    Stopped,
    /// Ended by a panic.
    Dead,
    /// To panic, for tests.
    #[cfg(test)]
    Broken,
}

impl<T> Inbox<T> {
    /// Bounds: the number of jobs, and their tokens together.
    pub(crate) fn new(jobs_max: usize, tokens_max: usize) -> Self {
        let jobs = VecDeque::new();
        let state = State { jobs, tokens: 0, woken: false, status: Status::Open };
        Self { state: Mutex::new(state), ready: Condvar::new(), jobs_max, tokens_max }
    }

    /// Queues a job of so many tokens, or gives it back with the reason. An empty queue takes any.
    pub(crate) fn push(&self, job: T, tokens: usize) -> Result<(), (T, InferenceError)> {
        let mut state = lock(&self.state);
        let error = match state.status {
            Status::Dead => Some(InferenceError::WorkerDied),
            #[cfg(test)]
            Status::Broken => panic!("broken for a test"),
            Status::Stopped => Some(InferenceError::UnknownSession),
            Status::Open if state.jobs.len() >= self.jobs_max => {
                Some(InferenceError::Overloaded("too many tasks wait for the model"))
            }
            Status::Open
                if !state.jobs.is_empty()
                    && state.tokens.saturating_add(tokens) > self.tokens_max =>
            {
                Some(InferenceError::Overloaded("too many tokens wait for the model"))
            }
            Status::Open => None,
        };
        if let Some(error) = error {
            return Err((job, error));
        }
        state.jobs.push_back((job, tokens));
        state.tokens += tokens;
        self.notify(&mut state);
        Ok(())
    }

    /// Takes the first job if `take` likes it.
    pub(crate) fn pop_if(&self, take: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut state = lock(&self.state);
        if !state.jobs.front().is_some_and(|(job, _)| take(job)) {
            return None;
        }
        let (job, tokens) = state.jobs.pop_front()?;
        state.tokens -= tokens;
        Some(job)
    }

    /// Something of every job, such as whom it is for.
    pub(crate) fn map<U>(&self, part: impl Fn(&T) -> U) -> Vec<U> {
        lock(&self.state).jobs.iter().map(|(job, _)| part(job)).collect()
    }

    /// Drops the jobs that nobody waits for. `keep` must not come back to the inbox.
    pub(crate) fn retain(&self, keep: impl Fn(&T) -> bool) {
        let mut state = lock(&self.state);
        let jobs = std::mem::take(&mut state.jobs);
        let (kept, gone): (VecDeque<_>, VecDeque<_>) =
            jobs.into_iter().partition(|(job, _)| keep(job));
        state.tokens = kept.iter().map(|(_, tokens)| tokens).sum();
        state.jobs = kept;
        drop(state);
        // After the lock: the last job of a model may end the model, which comes back here.
        drop(gone);
    }

    /// Whether a job waits.
    pub(crate) fn waits(&self) -> bool {
        !lock(&self.state).jobs.is_empty()
    }

    /// Lets the reader look again.
    pub(crate) fn wake(&self) {
        self.notify(&mut lock(&self.state));
    }

    /// Ends the reader; `Dead` is for the reader itself to say.
    pub(crate) fn end(&self, status: Status) {
        let mut state = lock(&self.state);
        state.status = status;
        let gone = std::mem::take(&mut state.jobs);
        state.tokens = 0;
        self.notify(&mut state);
        drop(state);
        drop(gone);
    }

    /// Sleeps until something happened since the last call, or for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Status {
        let mut state = lock(&self.state);
        while !state.woken && state.status == Status::Open {
            let Some(limit) = limit else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.ready.wait_timeout(state, limit);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() {
                break;
            }
        }
        state.woken = false;
        state.status
    }

    /// Without sleeping.
    pub(crate) fn status(&self) -> Status {
        let status = lock(&self.state).status;
        #[cfg(test)]
        assert!(status != Status::Broken, "broken for a test");
        status
    }

    fn notify(&self, state: &mut State<T>) {
        state.woken = true;
        self.ready.notify_one();
    }
}
