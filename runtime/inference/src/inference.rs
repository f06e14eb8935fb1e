//! The handle that callers hold.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::api::{Event, ModelInfo, ModelStatus, Open, Plan, SessionId, Task, Usage};
use crate::models::load;
use crate::models::place::Place;
use crate::scheduler::lock;
use crate::scheduler::model::Sessions;
use crate::scheduler::session::{Ready, Session};
use crate::store::{Removed, Store};
use crate::{InferenceError, InferenceOptions, ModelSource};

const NAME_BYTES_MAX: usize = 128;
/// Models that are checked at a time for those who have brought them.
const BRINGING_MAX: usize = 2;

/// The engine: its models and their sessions. A clone is another handle to the same engine.
#[derive(Clone)]
pub struct Inference {
    options: Arc<InferenceOptions>,
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    last_session: Arc<AtomicU64>,
    bringing: Arc<Semaphore>,
}

impl Inference {
    /// Makes an engine without models.
    ///
    /// # Errors
    /// `InvalidRequest` names a limit that is zero, or says why the device cannot be used.
    pub fn new(options: InferenceOptions) -> Result<Self, InferenceError> {
        options.check()?;
        let place = Place::open(options.device, options.encoder_weights)?;
        let (options, sessions) = (Arc::new(options), Arc::new(Mutex::new(HashMap::new())));
        let store = Arc::new(Store::new(Arc::clone(&options), Arc::clone(&sessions), place));
        let bringing = Arc::new(Semaphore::new(BRINGING_MAX));
        Ok(Self { options, store, sessions, last_session: Arc::default(), bringing })
    }

    /// Reads and checks a model without loading its weights. Its name is the file's stem.
    ///
    /// # Errors
    /// `Io` or `BadModel` with the file, the field and the reason.
    pub fn inspect(path: &Path) -> Result<ModelInfo, InferenceError> {
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let bytes_max = InferenceOptions::default().model_bytes_max;
        Ok(load::check(&name, &ModelSource::Path(path.to_owned()), bytes_max)?.info)
    }

    /// Loads a model now and starts its thread. Blocks while it reads; replaces a model of that
    /// name, whose sessions end.
    ///
    /// # Errors
    /// As [`Inference::register`]; `Overloaded` when the models in use leave no memory for it.
    pub fn add(&self, name: &str, source: ModelSource) -> Result<ModelInfo, InferenceError> {
        check_name(name)?;
        let (info, replaced) = self.store.add(name, source)?;
        self.end(replaced);
        Ok(info)
    }

    /// Reads and checks a model whose weights the first task that needs them will load; replaces a
    /// model of that name, whose sessions end. What is loaded leaves the memory when others need it
    /// and no task does, unless it is `pinned`; then it is loaded again from `source`, which must
    /// still be what was checked. Blocks while it reads.
    ///
    /// # Errors
    /// As [`Inference::inspect`]; `InvalidRequest` for a name that is empty or too long.
    pub fn register(
        &self,
        name: &str,
        source: ModelSource,
        pinned: bool,
    ) -> Result<ModelInfo, InferenceError> {
        check_name(name)?;
        let (info, replaced) = self.store.register(name, source, pinned)?;
        self.end(replaced);
        Ok(info)
    }

    /// Checks a model that somebody has brought as GGUF bytes, and makes it known by their digest:
    /// nobody finds it who does not have them. It is not listed, and leaves when room is needed and no
    /// session is open on it. The same bytes are checked once.
    ///
    /// # Errors
    /// `BadModel` with the field and the reason; `Overloaded` when others leave no room for it.
    pub async fn bring(&self, bytes: Arc<[u8]>) -> Result<ModelInfo, InferenceError> {
        let turn = self.bringing.acquire().await;
        let store = Arc::clone(&self.store);
        let brought = tokio::task::spawn_blocking(move || store.bring(bytes)).await;
        drop(turn);
        let (info, left) = brought.or(Err(InferenceError::WorkerDied))??;
        left.into_iter().for_each(|removed| self.end(Some(removed)));
        Ok(info)
    }

    /// Says whether a model is to stay in memory once it is loaded; false when there is none.
    pub fn pin(&self, name: &str, pinned: bool) -> bool {
        self.store.pin(name, pinned)
    }

    /// Stops a model. Its sessions end with `UnknownSession`. False when there is none.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.store.remove(name);
        let known = removed.is_some();
        self.end(removed);
        known
    }

    fn end(&self, removed: Option<Removed>) {
        let Some(Removed { registration, model }) = removed else { return };
        model.into_iter().for_each(|model| model.stop());
        let sessions: Vec<_> = lock(&self.sessions)
            .extract_if(|_, session| session.registration == registration)
            .map(|(_, session)| session)
            .collect();
        sessions.iter().for_each(|session| session.close());
    }

    /// All models, by name.
    pub fn models(&self) -> Vec<ModelStatus> {
        self.store.all()
    }

    /// One model, loaded or not.
    pub fn model(&self, name: &str) -> Option<ModelInfo> {
        self.store.info(name)
    }

    /// Opens a session. It takes no memory of its model: the first task has that loaded.
    ///
    /// # Errors
    /// `ModelNotFound`, or `Overloaded` when `sessions_max` are open, or `sessions_payer_max` of
    /// this payer.
    pub async fn open(&self, request: Open) -> Result<SessionId, InferenceError> {
        // Ready at once; async as the engine may one day be another process.
        std::future::ready(self.open_now(request)).await
    }

    fn open_now(&self, request: Open) -> Result<SessionId, InferenceError> {
        let Some(registration) = self.store.registration(&request.model) else {
            return Err(InferenceError::ModelNotFound(request.model));
        };
        let all = lock(&self.sessions).len();
        if all >= self.options.sessions_max || self.payer_is_full(&request.tenant) {
            self.store.expire_sessions();
        }
        if lock(&self.sessions).len() >= self.options.sessions_max {
            return Err(InferenceError::Overloaded("too many sessions are open"));
        }
        if self.payer_is_full(&request.tenant) {
            return Err(InferenceError::Overloaded("this caller has too many sessions open"));
        }
        let id = SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1);
        let session = Arc::new(Session::new(registration, &request.tenant));
        lock(&self.sessions).insert(id.0, session);
        Ok(id)
    }

    fn payer_is_full(&self, payer: &str) -> bool {
        let sessions = lock(&self.sessions);
        let max = self.options.sessions_payer_max;
        sessions.len() >= max
            && sessions.values().filter(|session| *session.payer == *payer).count() >= max
    }

    fn session(&self, id: SessionId) -> Result<Arc<Session>, InferenceError> {
        let session = lock(&self.sessions).get(&id.0).map(Arc::clone);
        session.ok_or(InferenceError::UnknownSession)
    }

    /// Counts and checks a task, and keeps it for [`Inference::submit`]; it replaces an earlier
    /// one that was not submitted. Waits until the model is loaded, for `load_wait_max` or the
    /// task's deadline at most.
    ///
    /// # Errors
    /// `InvalidRequest` with the field, `ContextLength`, `WrongKind`, `UnknownSession`,
    /// `Overloaded`, `LoadFailed`, `WorkerDied`.
    pub async fn prepare(&self, session: SessionId, task: Task) -> Result<Plan, InferenceError> {
        let session = self.session(session)?;
        session.ready_to_prepare()?;
        let _calling = session.call();
        let now = Instant::now();
        let deadline = deadline(&task, now);
        let wait = now + self.options.load_wait_max;
        let wait = deadline.map_or(wait, |deadline| deadline.min(wait));
        let lease = self.store.acquire(session.registration, wait).await?;
        let prepared = lease.model().prepare(task).await?;
        let plan = prepared.plan();
        session.keep(Ready { prepared, deadline }, lease)?;
        Ok(plan)
    }

    /// Queues the prepared task.
    ///
    /// # Errors
    /// `InvalidRequest` when nothing is prepared, `Overloaded` when the queue is full,
    /// `UnknownSession`, `WorkerDied`.
    pub async fn submit(&self, session: SessionId) -> Result<(), InferenceError> {
        let submit = || {
            let session = self.session(session)?;
            let (job, model) = session.begin()?;
            model.submit(job)
        };
        std::future::ready(submit()).await
    }

    /// Waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `InvalidRequest` when no task was submitted, `UnknownSession`, `WorkerDied`.
    pub async fn next(&self, session: SessionId) -> Result<Event, InferenceError> {
        self.session(session)?.next().await
    }

    /// Stops the running task within one step; [`Event::Done`] with `Cancelled` follows.
    pub fn cancel(&self, session: SessionId) {
        if let Ok(session) = self.session(session) {
            session.cancel();
        }
    }

    /// Ends a session and frees all it holds. Closing twice is harmless.
    pub fn close(&self, session: SessionId) {
        let session = lock(&self.sessions).remove(&session.0);
        if let Some(session) = session {
            session.close();
        }
    }

    /// Tokens of the current or last task: prefilled and delivered so far. Zero when unknown.
    pub fn usage(&self, session: SessionId) -> Usage {
        self.session(session).map_or_else(|_| Usage::default(), |session| session.usage())
    }

    /// Makes a model's thread panic, for tests.
    #[cfg(test)]
    pub(crate) fn break_worker(&self, name: &str) {
        self.store.break_worker(name);
    }
}

fn check_name(name: &str) -> Result<(), InferenceError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let reason = format!("must have 1 to {NAME_BYTES_MAX} bytes");
        return Err(InferenceError::invalid("name", reason));
    }
    Ok(())
}

/// When a task that is prepared now has to be over. One beyond the clock's end has no deadline.
fn deadline(task: &Task, now: Instant) -> Option<Instant> {
    match task {
        Task::Generate { options, .. } => {
            now.checked_add(Duration::from_millis(options.deadline_ms?))
        }
        Task::Embed { .. } | Task::Classify { .. } | Task::Rerank { .. } | Task::Run { .. } => None,
    }
}
