use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock;
use crate::{InferenceError, InferenceOptions};

/// What is on its way to a model's thread, and a bound on all that waits there: what was taken out
/// still counts until it is started or dropped. The one reader also sleeps on it.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    limits: Limits,
}

/// Most jobs and tokens that wait, of one payer and of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) payer: Load,
    pub(crate) all: Load,
}

/// Jobs, and their tokens together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) jobs: usize,
    pub(crate) tokens: usize,
}

/// A job that waits, and for whom.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) job: T,
    pub(crate) payer: Arc<str>,
    pub(crate) tokens: usize,
}

#[derive(Debug)]
struct State<T> {
    arrived: Vec<Queued<T>>,
    payers: HashMap<Arc<str>, Load>,
    all: Load,
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

impl Limits {
    pub(crate) fn of(options: &InferenceOptions) -> Self {
        Self {
            payer: Load { jobs: options.queue_payer_max, tokens: options.queue_payer_tokens_max },
            all: Load { jobs: options.queue_max, tokens: options.queue_tokens_max },
        }
    }
}

impl Load {
    /// Whether a job of so many tokens may come to it. Where nothing waits, any may.
    fn takes(self, tokens: usize, max: Self) -> bool {
        let fits = self.tokens.saturating_add(tokens) <= max.tokens;
        self.jobs < max.jobs && (self.jobs == 0 || fits)
    }
}

impl<T> Inbox<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            arrived: Vec::new(),
            payers: HashMap::new(),
            all: Load::default(),
            woken: false,
            status: Status::Open,
        };
        Self { state: Mutex::new(state), ready: Condvar::new(), limits }
    }

    /// Queues a job, or gives it back with the reason.
    pub(crate) fn push(&self, queued: Queued<T>) -> Result<(), (T, InferenceError)> {
        let mut state = lock(&self.state);
        let payer = state.payers.get(&queued.payer).copied().unwrap_or_default();
        let error = match state.status {
            Status::Dead => Some(InferenceError::WorkerDied),
            #[cfg(test)]
            Status::Broken => Some(InferenceError::WorkerDied),
            Status::Stopped => Some(InferenceError::UnknownSession),
            Status::Open if !payer.takes(queued.tokens, self.limits.payer) => {
                Some(InferenceError::Overloaded("too much of this caller waits for the model"))
            }
            Status::Open if !state.all.takes(queued.tokens, self.limits.all) => {
                Some(InferenceError::Overloaded("too much waits for the model"))
            }
            Status::Open => None,
        };
        if let Some(error) = error {
            return Err((queued.job, error));
        }
        let payer = state.payers.entry(Arc::clone(&queued.payer)).or_default();
        payer.jobs += 1;
        payer.tokens += queued.tokens;
        state.all.jobs += 1;
        state.all.tokens += queued.tokens;
        state.arrived.push(queued);
        self.notify(&mut state);
        Ok(())
    }

    /// Takes out all that has come.
    pub(crate) fn drain(&self) -> Vec<Queued<T>> {
        std::mem::take(&mut lock(&self.state).arrived)
    }

    /// Something that was taken out waits no longer.
    pub(crate) fn release(&self, queued: Queued<T>) -> T {
        let Queued { job, payer, tokens } = queued;
        let mut state = lock(&self.state);
        state.all.jobs = state.all.jobs.saturating_sub(1);
        state.all.tokens = state.all.tokens.saturating_sub(tokens);
        if let Some(load) = state.payers.get_mut(&payer) {
            load.jobs = load.jobs.saturating_sub(1);
            load.tokens = load.tokens.saturating_sub(tokens);
            if load.jobs == 0 {
                state.payers.remove(&payer);
            }
        }
        job
    }

    /// Lets the reader look again.
    pub(crate) fn wake(&self) {
        self.notify(&mut lock(&self.state));
    }

    /// Ends the reader; `Dead` is for the reader itself to say.
    pub(crate) fn end(&self, status: Status) {
        let mut state = lock(&self.state);
        state.status = status;
        let gone = std::mem::take(&mut state.arrived);
        self.notify(&mut state);
        drop(state);
        // After the lock: the last job of a model may end the model, which comes back here.
        drop(gone);
    }

    /// Sleeps until something happened since the last call, or for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_for_each_payer_and_for_all() {
        let limits =
            Limits { payer: Load { jobs: 2, tokens: 10 }, all: Load { jobs: 3, tokens: 14 } };
        let inbox = Inbox::new(limits);
        let push = |payer: &str, tokens| {
            let queued = Queued { job: tokens, payer: Arc::from(payer), tokens };
            inbox.push(queued).map_err(|(_, error)| error.to_string())
        };
        let refused = |payer: &str, tokens| push(payer, tokens).unwrap_err();
        // An empty queue takes any job, however long.
        push("a", 11).unwrap();
        assert!(refused("a", 1).contains("this caller"), "its tokens");
        push("b", 2).unwrap();
        push("b", 1).unwrap();
        assert!(refused("b", 0).contains("this caller"), "its jobs");
        assert!(!refused("c", 0).contains("this caller"), "all jobs");
        let mut all = inbox.drain();
        assert!(!refused("c", 0).contains("this caller"), "taken out, and not yet started");
        assert_eq!(inbox.release(all.remove(1)), 2);
        assert!(!refused("c", 3).contains("this caller"), "all tokens");
        push("c", 2).unwrap();
        all.extend(inbox.drain());
        for queued in all {
            inbox.release(queued);
        }
        assert_eq!(lock(&inbox.state).all, Load::default());
        assert!(lock(&inbox.state).payers.is_empty());
        push("a", 99).unwrap();
    }
}
