//! Language and embedding models on burn: load, tokenise, schedule, run, count.
//!
//! The crate knows no Wasm, no money and no HTTP, and no burn type is in its public interface.

/// The owned messages of a session.
pub mod api;
/// Where models run.
mod device;
/// Errors, by the decision they call for.
mod error;
/// Files: GGUF and Hugging Face folders.
mod formats;
/// The handle that callers hold.
mod inference;
/// Networks.
mod models;
/// Limits.
mod options;
/// From requests to steps of a model.
mod scheduler;
/// Models by name: registered, loaded, evicted.
mod store;
/// Tokenizers and templates.
mod text;

use std::path::PathBuf;
use std::sync::Arc;

pub use device::Device;
pub use error::InferenceError;
pub use formats::hf::{FILES as FOLDER_FILES, INDEX as FOLDER_INDEX, WEIGHTS as FOLDER_WEIGHTS};
pub use inference::Inference;
pub use options::{EncoderWeights, InferenceOptions, KvStorage};

/// Where a model's weights are.
#[derive(Clone, Debug)]
pub enum ModelSource {
    /// A GGUF file or a Hugging Face folder.
    Path(PathBuf),
    /// GGUF bytes that are part of the binary.
    Static(&'static [u8]),
    /// GGUF bytes that somebody has brought.
    Brought(Arc<[u8]>),
}

/// Whether this is the name of a model that somebody has brought.
#[must_use]
pub fn is_brought(model: &str) -> bool {
    model.starts_with(store::BROUGHT_NAME_START)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
