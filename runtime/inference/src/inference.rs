//! The handle that callers hold.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use emberbox_kernels::pool::Pool;

use crate::api::{Event, ModelInfo, Open, Plan, SessionId, Task, Usage};
use crate::models::load;
use crate::scheduler::lock;
use crate::scheduler::model::{Model, Sessions};
use crate::scheduler::session::Session;
use crate::{InferenceError, InferenceOptions, ModelSource};

const NAME_BYTES_MAX: usize = 128;

/// The engine: its models and their sessions. A clone is another handle to the same engine.
#[derive(Clone)]
pub struct Inference {
    options: Arc<InferenceOptions>,
    models: Arc<Mutex<BTreeMap<String, Arc<Model>>>>,
    sessions: Arc<Sessions>,
    last_session: Arc<AtomicU64>,
    /// The threads of all models' kernels.
    pool: Arc<Pool>,
}

impl Inference {
    /// Makes an engine without models.
    ///
    /// # Errors
    /// `InvalidRequest` names a limit that is zero.
    pub fn new(options: InferenceOptions) -> Result<Self, InferenceError> {
        options.check()?;
        Ok(Self {
            pool: Arc::new(Pool::new(options.threads)),
            options: Arc::new(options),
            models: Arc::default(),
            sessions: Arc::new(Mutex::new(HashMap::new())),
            last_session: Arc::default(),
        })
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

    /// Loads a model and starts its thread. Blocks while it reads; replaces a model of that name,
    /// whose sessions end.
    ///
    /// # Errors
    /// As [`Inference::inspect`]; `InvalidRequest` for a name that is empty or too long.
    pub fn add(&self, name: &str, source: ModelSource) -> Result<ModelInfo, InferenceError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let reason = format!("must have 1 to {NAME_BYTES_MAX} bytes");
            return Err(InferenceError::invalid("name", reason));
        }
        let checked = load::check(name, &source, self.options.model_bytes_max)?;
        drop(source);
        let model = self.start(checked)?;
        let info = model.info().clone();
        let replaced = lock(&self.models).insert(name.to_owned(), model);
        if let Some(replaced) = replaced {
            self.end(&replaced);
        }
        Ok(info)
    }

    fn start(&self, checked: load::Checked) -> Result<Arc<Model>, InferenceError> {
        Model::start(checked, Arc::clone(&self.options), &self.sessions, Arc::clone(&self.pool))
    }

    /// Stops a model. Its sessions end with `UnknownSession`. False when there is none.
    pub fn remove(&self, name: &str) -> bool {
        let removed = lock(&self.models).remove(name);
        removed.inspect(|model| self.end(model)).is_some()
    }

    fn end(&self, model: &Arc<Model>) {
        model.stop();
        let sessions: Vec<_> = lock(&self.sessions)
            .extract_if(|_, session| Arc::ptr_eq(&session.model, model))
            .map(|(_, session)| session)
            .collect();
        sessions.iter().for_each(|session| session.close());
    }

    /// All models, by name.
    pub fn models(&self) -> Vec<ModelInfo> {
        lock(&self.models).values().map(|model| model.info().clone()).collect()
    }

    /// One model.
    pub fn model(&self, name: &str) -> Option<ModelInfo> {
        lock(&self.models).get(name).map(|model| model.info().clone())
    }

    /// Opens a session.
    ///
    /// # Errors
    /// `ModelNotFound`, or `Overloaded` when `sessions_max` are open.
    pub async fn open(&self, request: Open) -> Result<SessionId, InferenceError> {
        // Ready at once; async as the engine may one day be another process.
        std::future::ready(self.open_now(request)).await
    }

    fn open_now(&self, request: Open) -> Result<SessionId, InferenceError> {
        let model = lock(&self.models).get(&request.model).map(Arc::clone);
        let Some(model) = model else {
            return Err(InferenceError::ModelNotFound(request.model));
        };
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.options.sessions_max {
            sessions.retain(|_, session| !session.expire(self.options.session_idle_max));
        }
        if sessions.len() >= self.options.sessions_max {
            return Err(InferenceError::Overloaded("too many sessions are open"));
        }
        let id = SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1);
        sessions.insert(id.0, Arc::new(Session::new(model)));
        Ok(id)
    }

    fn session(&self, id: SessionId) -> Result<Arc<Session>, InferenceError> {
        let session = lock(&self.sessions).get(&id.0).map(Arc::clone);
        session.ok_or(InferenceError::UnknownSession)
    }

    /// Counts and checks a task, and keeps it for [`Inference::submit`]; it replaces an earlier
    /// one that was not submitted.
    ///
    /// # Errors
    /// `InvalidRequest` with the field, `ContextLength`, `WrongKind`, `UnknownSession`,
    /// `Overloaded`, `WorkerDied`.
    pub async fn prepare(&self, session: SessionId, task: Task) -> Result<Plan, InferenceError> {
        let session = self.session(session)?;
        session.ready_to_prepare()?;
        let prepared = session.model.prepare(task).await?;
        let plan = prepared.plan();
        session.keep(prepared)?;
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
            let job = session.begin()?;
            session.model.submit(job)
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
        if let Some(model) = lock(&self.models).get(name) {
            model.break_worker();
        }
    }
}
