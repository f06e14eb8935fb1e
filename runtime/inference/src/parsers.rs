//! The root of the fuzz targets' crate, not a module of this one: what reads a model's files and a
//! request's templates and grammars, without burn, which would take an hour to instrument.
#![expect(dead_code, unused_imports, reason = "the networks that use the rest are left out")]

/// The owned messages of a session.
pub mod api;
mod error;
mod formats;
/// What each target runs.
pub mod fuzzing;
/// Shapes and names.
mod models {
    pub(crate) mod config;
    pub(crate) mod families;
}
mod text;

pub use error::InferenceError;
