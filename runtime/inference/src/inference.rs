//! The handle that callers hold.

use std::path::Path;
use std::sync::Arc;

use crate::api::{Event, ModelInfo, Open, Plan, SessionId, Task, Usage};
use crate::{InferenceError, InferenceOptions, ModelSource};

/// The engine: its models and their sessions. A clone is another handle to the same engine.
#[derive(Clone)]
pub struct Inference {
    options: Arc<InferenceOptions>,
}

impl Inference {
    /// Makes an engine without models.
    ///
    /// # Errors
    /// `InvalidRequest` names a limit that is zero.
    pub fn new(options: InferenceOptions) -> Result<Self, InferenceError> {
        if options.threads == 0 {
            return Err(InferenceError::invalid("threads", "must be at least 1"));
        }
        Ok(Self { options: Arc::new(options) })
    }

    /// Reads and checks a model without loading its weights. Its name is the file's stem.
    ///
    /// # Errors
    /// `Io` or `BadModel` with the file, the field and the reason.
    pub fn inspect(path: &Path) -> Result<ModelInfo, InferenceError> {
        Err(InferenceError::bad_model(path.display().to_string(), "format not supported"))
    }

    /// Loads a model and starts its thread. Blocks while it reads; replaces a model of that name.
    ///
    /// # Errors
    /// As [`Inference::inspect`]; `InvalidRequest` for a name that is empty or too long.
    pub fn add(&self, name: &str, source: ModelSource) -> Result<ModelInfo, InferenceError> {
        match source {
            ModelSource::Path(path) => Self::inspect(&path),
            ModelSource::Static(_) => Err(InferenceError::bad_model(name, "format not supported")),
        }
    }

    /// Stops a model. Its sessions end with `UnknownSession`. False when there is none.
    pub fn remove(&self, _name: &str) -> bool {
        false
    }

    /// All models, by name.
    pub fn models(&self) -> Vec<ModelInfo> {
        Vec::new()
    }

    /// One model.
    pub fn model(&self, _name: &str) -> Option<ModelInfo> {
        None
    }

    /// Opens a session.
    ///
    /// # Errors
    /// `ModelNotFound`, or `Overloaded` when `sessions_max` are open.
    pub async fn open(&self, request: Open) -> Result<SessionId, InferenceError> {
        std::future::ready(Err(InferenceError::ModelNotFound(request.model))).await
    }

    /// Counts and checks a task, and keeps it for [`Inference::submit`]; it replaces an earlier
    /// one that was not submitted.
    ///
    /// # Errors
    /// `InvalidRequest` with the field, `ContextLength`, `WrongKind`, `UnknownSession`,
    /// `Overloaded`, `WorkerDied`.
    pub async fn prepare(&self, _session: SessionId, _task: Task) -> Result<Plan, InferenceError> {
        std::future::ready(Err(InferenceError::UnknownSession)).await
    }

    /// Queues the prepared task.
    ///
    /// # Errors
    /// `InvalidRequest` when nothing is prepared, `Overloaded` when the queue is full,
    /// `UnknownSession`, `WorkerDied`.
    pub async fn submit(&self, _session: SessionId) -> Result<(), InferenceError> {
        std::future::ready(Err(InferenceError::UnknownSession)).await
    }

    /// Waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `InvalidRequest` when no task was submitted, `UnknownSession`, `WorkerDied`.
    pub async fn next(&self, _session: SessionId) -> Result<Event, InferenceError> {
        std::future::ready(Err(InferenceError::UnknownSession)).await
    }

    /// Stops the running task within one step; [`Event::Done`] with `Cancelled` follows.
    pub fn cancel(&self, _session: SessionId) {}

    /// Ends a session and frees all it holds. Closing twice is harmless.
    pub fn close(&self, _session: SessionId) {}

    /// Tokens of the current or last task: prefilled and delivered so far. Zero when unknown.
    pub fn usage(&self, _session: SessionId) -> Usage {
        Usage::default()
    }
}
