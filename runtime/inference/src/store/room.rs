//! The memory that models share: who leaves it for another, and what is spoken for.

use std::sync::Arc;

use super::{Phase, State, Store};
use crate::InferenceError;
use crate::scheduler::lock;
use crate::scheduler::model::Model;

impl Store {
    /// Takes weights out of memory until `needed` more fit, the least recently used first: none
    /// if that would not do.
    pub(super) fn evict(&self, state: &mut State, needed: u64) -> Result<Vec<Arc<Model>>, Short> {
        let max = self.options.memory_bytes_max;
        let mut taken = state.reserved;
        let mut idle: Vec<(u64, String, u64)> = Vec::new();
        let mut pinned = 0;
        for (name, entry) in &state.entries {
            let bytes = entry.info.weight_bytes;
            match &entry.phase {
                Phase::Loaded(model) if !entry.pinned && model.idle() => {
                    idle.push((entry.used, name.clone(), bytes));
                }
                Phase::Loaded(_) | Phase::Loading => {}
                Phase::Registered | Phase::Failed(..) => continue,
            }
            taken += bytes;
            pinned += if entry.pinned { bytes } else { 0 };
        }
        let free: u64 = idle.iter().map(|(_, _, bytes)| bytes).sum();
        if pinned.saturating_add(needed) > max {
            return Err(Short::Always);
        }
        if (taken - free).saturating_add(needed) > max {
            return Err(Short::Now);
        }
        idle.sort_unstable();
        let mut out = Vec::new();
        for (_, name, bytes) in idle {
            if taken.saturating_add(needed) <= max {
                break;
            }
            taken -= bytes;
            let entry = state.entries.get_mut(&name);
            let phase = entry.map(|e| std::mem::replace(&mut e.phase, Phase::Registered));
            if let Some(Phase::Loaded(model)) = phase {
                tracing::info!(model = name, "out of memory, to make room for another");
                out.push(model);
            }
        }
        Ok(out)
    }

    /// Makes room for a model that has no name yet.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reserved, InferenceError> {
        let mut state = lock(&self.state);
        let evicted = self.evict(&mut state, bytes).map_err(Short::error)?;
        state.reserved += bytes;
        drop(state);
        evicted.into_iter().for_each(Model::unload);
        Ok(Reserved { store: Arc::clone(self), bytes })
    }
}

/// Why there is no memory for a model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Short {
    /// Others are in use.
    Now,
    /// The limit is below what it and the pinned ones need.
    Always,
}

impl Short {
    pub(super) fn error(self) -> InferenceError {
        InferenceError::Overloaded(match self {
            Self::Now => "the models in use leave no memory for this one",
            Self::Always => "the memory for models is too small for this one",
        })
    }
}

/// Memory that is spoken for.
pub(super) struct Reserved {
    store: Arc<Store>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.store.state).reserved -= self.bytes;
    }
}
