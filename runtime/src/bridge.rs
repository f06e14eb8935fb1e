//! The one place where Wasm and inference meet. Everything here is an owned message that could
//! cross a process boundary: no tensor type of an engine, no callback, no shared pointer.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use emberbox_inference::{Inference, InferenceError};

pub use emberbox_inference::api::*;

/// Why inference did not do what was asked; what the guest is told is made from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum BridgeError {
    /// No model of this name.
    #[error("there is no model `{0}`")]
    ModelNotFound(String),
    /// The request itself is wrong.
    #[error("`{field}`: {reason}")]
    InvalidRequest {
        /// The field at fault.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Prompt and output do not fit the model's context.
    #[error("{tokens} tokens do not fit the model's context of {max}")]
    ContextLength {
        /// Tokens asked for.
        tokens: u32,
        /// Tokens there is room for.
        max: u32,
    },
    /// The model cannot do this kind of task.
    #[error("model `{0}` cannot do this kind of task")]
    WrongKind(String),
    /// A bound was reached; the same request may succeed later.
    #[error("inference is at its limit ({0}); try again later")]
    Overloaded(String),
    /// The task or its session was ended.
    #[error("the task was cancelled")]
    Cancelled,
    /// A model that was brought is damaged, hostile or of a kind that is not supported.
    #[error("the model cannot be used: {0}")]
    BadModel(String),
    /// Something broke on the other side; details stay there.
    #[error("inference failed")]
    Failed,
}

impl From<InferenceError> for BridgeError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::ModelNotFound(name) => Self::ModelNotFound(name),
            InferenceError::InvalidRequest { field, reason } => {
                Self::InvalidRequest { field: field.to_owned(), reason }
            }
            InferenceError::ContextLength { tokens, max } => Self::ContextLength { tokens, max },
            InferenceError::WrongKind { model, .. } => Self::WrongKind(model),
            InferenceError::Overloaded(what) => Self::Overloaded(what.to_owned()),
            InferenceError::UnknownSession | InferenceError::Cancelled => Self::Cancelled,
            InferenceError::LoadFailed { model, .. } => {
                Self::Overloaded(format!("the model `{model}` cannot be loaded at the moment"))
            }
            InferenceError::BadModel { .. }
            | InferenceError::Io { .. }
            | InferenceError::WorkerDied => {
                tracing::error!(%error, "inference failed");
                Self::Failed
            }
        }
    }
}

/// Inference as a guest's host sees it. Dropping a future of this trait loses nothing: the
/// session stays as it was, until `close`.
#[async_trait]
pub trait Bridge: Send + Sync + 'static {
    /// Opens a session: one sequence on one model.
    ///
    /// # Errors
    /// `ModelNotFound`, `Overloaded`, `Failed`.
    async fn open(&self, open: Open) -> Result<SessionId, BridgeError>;

    /// Counts and checks a task and keeps it for `submit`.
    ///
    /// # Errors
    /// `InvalidRequest`, `ContextLength`, `WrongKind`, `Overloaded`, `Cancelled`, `Failed`.
    async fn prepare(&self, session: SessionId, task: Task) -> Result<Plan, BridgeError>;

    /// Queues the prepared task.
    ///
    /// # Errors
    /// `Overloaded`, `Cancelled`, `Failed`.
    async fn submit(&self, session: SessionId) -> Result<(), BridgeError>;

    /// Waits for the next event of the submitted task.
    ///
    /// # Errors
    /// `Cancelled`, `Failed`.
    async fn next(&self, session: SessionId) -> Result<Event, BridgeError>;

    /// Stops the running task; `Event::Done` follows.
    fn cancel(&self, session: SessionId);

    /// Ends the session and frees what it holds.
    fn close(&self, session: SessionId);

    /// What the current or last task has used so far.
    fn usage(&self, session: SessionId) -> Usage;

    /// A model's description, if there is one of this name.
    fn model(&self, name: &str) -> Option<ModelInfo>;

    /// Takes a model as bytes; it is opened by the name that its description has.
    ///
    /// # Errors
    /// `BadModel`, `Overloaded`, `Failed`.
    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError>;
}

#[async_trait]
impl Bridge for Inference {
    async fn open(&self, open: Open) -> Result<SessionId, BridgeError> {
        Ok(Inference::open(self, open).await?)
    }

    async fn prepare(&self, session: SessionId, task: Task) -> Result<Plan, BridgeError> {
        Ok(Inference::prepare(self, session, task).await?)
    }

    async fn submit(&self, session: SessionId) -> Result<(), BridgeError> {
        Ok(Inference::submit(self, session).await?)
    }

    async fn next(&self, session: SessionId) -> Result<Event, BridgeError> {
        Ok(Inference::next(self, session).await?)
    }

    fn cancel(&self, session: SessionId) {
        Inference::cancel(self, session);
    }

    fn close(&self, session: SessionId) {
        Inference::close(self, session);
    }

    fn usage(&self, session: SessionId) -> Usage {
        Inference::usage(self, session)
    }

    fn model(&self, name: &str) -> Option<ModelInfo> {
        Inference::model(self, name)
    }

    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError> {
        match Inference::bring(self, Arc::from(&model[..])).await {
            // The author of the model is told what the operator would be told of another.
            Err(InferenceError::BadModel { reason, .. }) => Err(BridgeError::BadModel(reason)),
            other => Ok(other?),
        }
    }
}
