//! Models by name. A model is loaded when a task needs it, and leaves the memory for another when
//! no task does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use emberbox_kernels::pool::Pool;
use tokio::sync::Notify;

use crate::api::{ModelInfo, ModelState, ModelStatus};
use crate::models::load;
use crate::models::place::Place;
use crate::scheduler::lease::Lease;
use crate::scheduler::lock;
use crate::scheduler::model::{Model, Sessions, context};
use crate::{InferenceError, InferenceOptions, ModelSource};

pub(crate) use brought::NAME_START as BROUGHT_NAME_START;

/// Models that somebody has brought, known by their bytes.
mod brought;
/// Loading itself, on a thread of its own.
mod loading;
/// The memory that models share.
mod room;

/// Failures in a row after which the wait before the next attempt grows no more.
const DOUBLINGS_MAX: u32 = 6;

/// The models of an engine.
pub(crate) struct Store {
    options: Arc<InferenceOptions>,
    sessions: Arc<Sessions>,
    /// What models run on.
    place: Place,
    /// The threads of all models' kernels.
    pool: Arc<Pool>,
    /// Nothing else is locked, and no lease dropped, while this is.
    state: Mutex<State>,
    /// A model was loaded or not, or became idle.
    changed: Notify,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// Weights of models that are loaded under no name yet.
    reserved: u64,
    last_id: u64,
    /// Counts uses, to know the least recent.
    clock: u64,
    waiting: usize,
}

struct Entry {
    id: u64,
    source: ModelSource,
    info: ModelInfo,
    pinned: bool,
    phase: Phase,
    used: u64,
    loads: u64,
    /// In a row.
    failures: u32,
}

enum Phase {
    Registered,
    Loading,
    Loaded(Arc<Model>),
    /// Not to be tried before that time.
    Failed(String, Instant),
}

/// What a task finds.
enum Found {
    Ready(Lease),
    Wait,
}

impl Store {
    pub(crate) fn new(
        options: Arc<InferenceOptions>,
        sessions: Arc<Sessions>,
        place: Place,
    ) -> Self {
        let pool = Arc::new(Pool::new(options.threads));
        Self { options, sessions, place, pool, state: Mutex::default(), changed: Notify::new() }
    }

    /// Checks a model's files and makes its name known; gives what was known under it before.
    pub(crate) fn register(
        &self,
        name: &str,
        source: ModelSource,
        pinned: bool,
    ) -> Result<(ModelInfo, Option<Removed>), InferenceError> {
        let mut info = self.check(name, &source)?.info;
        info.context_length = context(&info, &self.options);
        let removed = self.insert((info.clone(), source), pinned, Phase::Registered);
        Ok((info, removed))
    }

    /// Loads a model on the calling thread and makes its name known.
    pub(crate) fn add(
        self: &Arc<Self>,
        name: &str,
        source: ModelSource,
    ) -> Result<(ModelInfo, Option<Removed>), InferenceError> {
        let checked = self.check(name, &source)?;
        let reserved = self.reserve(checked.info.weight_bytes)?;
        let model = self.start(checked)?;
        let info = model.info().clone();
        let removed = self.insert((info.clone(), source), false, Phase::Loaded(model));
        drop(reserved);
        Ok((info, removed))
    }

    fn check(&self, name: &str, source: &ModelSource) -> Result<load::Checked, InferenceError> {
        Ok(load::check(name, source, self.options.model_bytes_max)?.at(&self.place))
    }

    fn start(&self, checked: load::Checked) -> Result<Arc<Model>, InferenceError> {
        let (options, pool) = (Arc::clone(&self.options), Arc::clone(&self.pool));
        Model::start(checked, options, &self.sessions, (&self.place, pool))
    }

    fn insert(
        &self,
        (info, source): (ModelInfo, ModelSource),
        pinned: bool,
        phase: Phase,
    ) -> Option<Removed> {
        let mut state = lock(&self.state);
        state.last_id += 1;
        state.clock += 1;
        let loads = u64::from(matches!(phase, Phase::Loaded(_)));
        let (id, used, name) = (state.last_id, state.clock, info.name.clone());
        let entry = Entry { id, source, info, pinned, phase, used, loads, failures: 0 };
        let before = state.entries.insert(name, entry);
        drop(state);
        before.map(Removed::of)
    }

    /// Says whether a model is to stay in memory; false when there is none.
    pub(crate) fn pin(&self, name: &str, pinned: bool) -> bool {
        let mut state = lock(&self.state);
        let entry = state.entries.get_mut(name);
        entry.map(|entry| entry.pinned = pinned).is_some()
    }

    /// Forgets a name.
    pub(crate) fn remove(&self, name: &str) -> Option<Removed> {
        let removed = lock(&self.state).entries.remove(name);
        // Who waits for it finds that it is gone.
        self.changed.notify_waiters();
        removed.map(Removed::of)
    }

    /// All that are offered, which those that somebody has brought are not.
    pub(crate) fn all(&self) -> Vec<ModelStatus> {
        let state = lock(&self.state);
        let offered = state.entries.values().filter(|entry| !entry.is_brought());
        offered.map(Entry::status).collect()
    }

    pub(crate) fn info(&self, name: &str) -> Option<ModelInfo> {
        lock(&self.state).entries.get(name).map(|entry| entry.info.clone())
    }

    /// The registration that a name stands for now.
    pub(crate) fn registration(&self, name: &str) -> Option<u64> {
        lock(&self.state).entries.get(name).map(|entry| entry.id)
    }

    /// Makes a model's thread panic, for tests.
    #[cfg(test)]
    pub(crate) fn break_worker(&self, name: &str) {
        if let Some(Entry { phase: Phase::Loaded(model), .. }) = lock(&self.state).entries.get(name)
        {
            model.break_worker();
        }
    }

    /// Closes the sessions that nobody has called for long.
    pub(crate) fn expire_sessions(&self) {
        let all: Vec<_> =
            lock(&self.sessions).iter().map(|(id, session)| (*id, Arc::clone(session))).collect();
        let idle_max = self.options.session_idle_max;
        for (id, _) in all.into_iter().filter(|(_, session)| session.expire(idle_max)) {
            lock(&self.sessions).remove(&id);
        }
    }

    /// A loaded model, for a task that waits for it until `deadline` if it must.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        registration: u64,
        deadline: Instant,
    ) -> Result<Lease, InferenceError> {
        let mut failures = None;
        let mut waiter = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no notice is missed.
            changed.as_mut().enable();
            match self.find(registration, &mut failures)? {
                Found::Ready(lease) => return Ok(lease),
                Found::Wait => {}
            }
            if waiter.is_none() {
                waiter = Some(Waiter::new(self)?);
                // What they hold may be what is missing.
                self.expire_sessions();
            }
            if tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
                return Err(InferenceError::Overloaded("the model was not loaded in time"));
            }
        }
    }

    /// Looks for a registration's model and has it loaded if it is not there. `failures` is what
    /// the caller has seen: one more is the answer to what it waited for.
    fn find(
        self: &Arc<Self>,
        registration: u64,
        failures: &mut Option<u32>,
    ) -> Result<Found, InferenceError> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let State { entries, clock, .. } = &mut *state;
        let entry = entries.values_mut().find(|entry| entry.id == registration);
        let entry = entry.ok_or(InferenceError::UnknownSession)?;
        let mut dead = None;
        if let Phase::Loaded(model) = &entry.phase {
            if !model.dead() {
                *clock += 1;
                entry.used = *clock;
                return Ok(Found::Ready(Lease::new(model, self)));
            }
            let until = entry.failed(now, self.options.load_retry_after, true);
            let died = Phase::Failed("its worker died".to_owned(), until);
            dead = Some(std::mem::replace(&mut entry.phase, died));
            *failures = Some(entry.failures);
        }
        let seen = *failures.get_or_insert(entry.failures);
        let outcome = match &entry.phase {
            Phase::Failed(reason, until) if *until > now || entry.failures > seen => {
                let (model, reason) = (entry.info.name.clone(), reason.clone());
                Err(InferenceError::LoadFailed { model, reason })
            }
            Phase::Loading => Ok(Found::Wait),
            _ => self.begin(&mut state, registration).map(|()| Found::Wait),
        };
        drop(state);
        // A dead model's last handle, outside the lock.
        drop(dead);
        outcome
    }

    /// A task has given a model back; `last` when no other has it.
    pub(crate) fn returned(&self, model: &Arc<Model>, last: bool) {
        if !model.dead() {
            let mut state = lock(&self.state);
            let entry = state.entries.get_mut(&model.info().name);
            let entry = entry.filter(|entry| entry.failures > 0);
            // A model that has done its work is not one that fails.
            entry.into_iter().for_each(|entry| entry.failures = 0);
        }
        if last {
            self.changed.notify_waiters();
        }
    }
}

impl Entry {
    fn is_brought(&self) -> bool {
        matches!(self.source, ModelSource::Brought(_))
    }

    fn status(&self) -> ModelStatus {
        let state = match &self.phase {
            Phase::Registered => ModelState::Registered,
            Phase::Loading => ModelState::Loading,
            Phase::Loaded(model) if model.dead() => ModelState::Failed,
            Phase::Loaded(_) => ModelState::Loaded,
            Phase::Failed(..) => ModelState::Failed,
        };
        let info = self.info.clone();
        ModelStatus { info, state, pinned: self.pinned, loads: self.loads }
    }

    /// Counts a failure; gives the time before which it is not to be tried again. A first `death`
    /// is forgiven: the task may have been at fault.
    fn failed(&mut self, now: Instant, after: Duration, death: bool) -> Instant {
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(DOUBLINGS_MAX);
        if death && self.failures == 1 { now } else { now + after * 2u32.pow(doublings) }
    }
}

/// A name that stands for nothing any more, or for another model.
pub(crate) struct Removed {
    pub(crate) registration: u64,
    pub(crate) model: Option<Arc<Model>>,
}

impl Removed {
    fn of(entry: Entry) -> Self {
        let model = match entry.phase {
            Phase::Loaded(model) => Some(model),
            Phase::Registered | Phase::Loading | Phase::Failed(..) => None,
        };
        Self { registration: entry.id, model }
    }
}

/// Counts a task that waits for a model.
struct Waiter<'a> {
    store: &'a Store,
}

impl<'a> Waiter<'a> {
    fn new(store: &'a Store) -> Result<Self, InferenceError> {
        let mut state = lock(&store.state);
        if state.waiting >= store.options.load_waiting_max {
            return Err(InferenceError::Overloaded("too many tasks wait for models to be loaded"));
        }
        state.waiting += 1;
        Ok(Self { store })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        lock(&self.store.state).waiting -= 1;
    }
}
