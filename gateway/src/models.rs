//! The models that a server offers, as its operator sees them: added, listed, removed.

use std::path::PathBuf;

use async_trait::async_trait;
use emberbox_inference::{Inference, InferenceError, ModelSource};
use emberbox_runtime::bridge::{ModelInfo, ModelStatus};
use serde::{Deserialize, Serialize};

/// The name of the bundled model.
pub(crate) const BUNDLED: &str = "tiny-storyteller";
/// A small story model of our own (`examples/tiny-lm` trains it), so that a fresh server answers.
static BUNDLED_BYTES: &[u8] = include_bytes!("../../examples/tiny-lm/model/tiny-storyteller.gguf");

/// A model to be offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// Whether its weights are loaded now, and not with the first task.
    pub(crate) load: bool,
    /// Whether it stays in memory once it is loaded.
    pub(crate) pinned: bool,
}

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// In this program.
    Bundled,
    /// On the server's disk.
    Path(PathBuf),
}

/// Why a model is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OfferError {
    /// The offer itself is wrong.
    #[error("`{field}`: {reason}")]
    Invalid { field: String, reason: String },
    /// There is no room for it.
    #[error("{0}")]
    Overloaded(String),
    /// Its files are.
    #[error("{0}")]
    Model(String),
}

impl From<InferenceError> for OfferError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::InvalidRequest { field, reason } => {
                Self::Invalid { field: field.to_owned(), reason }
            }
            InferenceError::Overloaded(what) => Self::Overloaded(what.to_owned()),
            other => Self::Model(other.to_string()),
        }
    }
}

/// Whoever holds the models.
#[async_trait]
pub(crate) trait ModelHost: Send + Sync {
    /// All models and what is done with them.
    async fn list(&self) -> Vec<ModelStatus>;

    /// Offers a model from now on.
    async fn offer(&self, offer: Offer) -> Result<ModelInfo, OfferError>;

    /// Offers a model no longer.
    fn remove(&self, name: &str);
}

#[async_trait]
impl ModelHost for Inference {
    async fn list(&self) -> Vec<ModelStatus> {
        self.models()
    }

    async fn offer(&self, offer: Offer) -> Result<ModelInfo, OfferError> {
        let inference = self.clone();
        let work = move || {
            let source = match offer.source {
                Source::Bundled => ModelSource::Static(BUNDLED_BYTES),
                Source::Path(path) => ModelSource::Path(path),
            };
            let info = match offer.load {
                true => inference.add(&offer.name, source)?,
                false => inference.register(&offer.name, source, false)?,
            };
            inference.pin(&offer.name, offer.pinned);
            Ok(info)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(OfferError::Model(error.to_string())))
    }

    fn remove(&self, name: &str) {
        Inference::remove(self, name);
    }
}
