//! The root of a crate for fuzz targets, not a module of this one: what the sandbox needs of the
//! engine, without burn, which would take an hour to instrument. The engine itself is a type that
//! nobody can make.

/// The owned messages of a session.
pub mod api;
#[expect(dead_code, reason = "the engine makes them")]
mod error;

use std::convert::Infallible;
use std::sync::Arc;

use api::{Event, ModelInfo, Open, Plan, SessionId, Task, Usage};
pub use error::InferenceError;

/// No engine.
#[derive(Clone)]
pub struct Inference(Infallible);

#[expect(clippy::unused_async, missing_docs, reason = "the engine's own shape")]
impl Inference {
    pub async fn open(&self, _: Open) -> Result<SessionId, InferenceError> {
        match self.0 {}
    }

    pub async fn prepare(&self, _: SessionId, _: Task) -> Result<Plan, InferenceError> {
        match self.0 {}
    }

    pub async fn submit(&self, _: SessionId) -> Result<(), InferenceError> {
        match self.0 {}
    }

    pub async fn next(&self, _: SessionId) -> Result<Event, InferenceError> {
        match self.0 {}
    }

    pub async fn bring(&self, _: Arc<[u8]>) -> Result<ModelInfo, InferenceError> {
        match self.0 {}
    }

    pub fn cancel(&self, _: SessionId) {}

    pub fn close(&self, _: SessionId) {}

    pub fn usage(&self, _: SessionId) -> Usage {
        match self.0 {}
    }

    pub fn model(&self, _: &str) -> Option<ModelInfo> {
        match self.0 {}
    }
}
