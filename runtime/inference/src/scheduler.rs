//! One thread for each model, and one for its text; sessions between them and the callers.

/// How many rows a step may have.
pub(crate) mod budget;
/// Keys of the prefix cache.
pub(crate) mod chain;
/// From logits to what a client sees.
pub(crate) mod choice;
/// The embedding thread.
pub(crate) mod encode;
/// Whose turn it is.
pub(crate) mod fair;
/// The generation thread: continuous batching.
pub(crate) mod generate;
/// Graphs: tensors to tensors.
pub(crate) mod graph;
/// From callers to a model's thread, bounded.
pub(crate) mod inbox;
/// The right to use a loaded model.
pub(crate) mod lease;
/// A loaded model: its threads and how to reach them.
pub(crate) mod model;
/// From a task to tokens, checked.
pub(crate) mod prepare;
/// Tasks that wait for a model's thread.
pub(crate) mod queue;
/// Tasks of encoders.
mod read;
/// What a client holds: events, usage, state.
pub(crate) mod session;
/// Embeddings by a generation model.
mod states;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what a thread that panicked left is still whole, as no guard here spans a call out.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
