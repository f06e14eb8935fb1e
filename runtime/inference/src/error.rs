//! What can go wrong, one variant for each decision a caller makes.

use crate::api::ModelKind;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// No model of this name was added.
    #[error("there is no model `{0}`")]
    ModelNotFound(String),
    /// The request itself is wrong.
    #[error("`{field}`: {reason}")]
    InvalidRequest {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt and the output do not fit the model's context.
    #[error("{tokens} tokens do not fit a context of {max}")]
    ContextLength {
        /// Tokens asked for.
        tokens: u32,
        /// Tokens there is room for.
        max: u32,
    },
    /// A model was asked for what it is not for, such as a text of an embedding model.
    #[error("model `{model}` is for {}", .actual.name())]
    WrongKind {
        /// The model's name.
        model: String,
        /// What it is for.
        actual: ModelKind,
    },
    /// A bound was reached; the same request may succeed later.
    #[error("the engine is at its limit: {0}")]
    Overloaded(&'static str),
    /// The session was never opened, was closed, or idled too long.
    #[error("there is no such session")]
    UnknownSession,
    /// The session was cancelled or closed while the call waited.
    #[error("the session was cancelled")]
    Cancelled,
    /// A model's file is damaged, hostile or of a kind that is not supported.
    #[error("{path}: {reason}")]
    BadModel {
        /// The file.
        path: String,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// A model's file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The model could not be loaded. It is tried again after a while.
    #[error("the model `{model}` cannot be loaded at the moment: {reason}")]
    LoadFailed {
        /// The model's name.
        model: String,
        /// Why; it may name files of the machine.
        reason: String,
    },
    /// The model's thread has ended with this task. The next task loads the model again.
    #[error("the model's worker has died")]
    WorkerDied,
}

impl InferenceError {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidRequest { field, reason: reason.into() }
    }

    pub(crate) fn bad_model(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadModel { path: path.into(), reason: reason.into() }
    }
}
