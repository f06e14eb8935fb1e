use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use super::room::Short;
use super::{Phase, State, Store};
use crate::scheduler::lock;
use crate::scheduler::model::Model;
use crate::{InferenceError, ModelSource};

/// A model that is to be loaded.
struct Order {
    store: Weak<Store>,
    registration: u64,
    name: String,
    source: ModelSource,
    /// Whose memory it gets.
    evicted: Vec<Arc<Model>>,
}

impl Store {
    /// Has a registration's model loaded, or leaves it for later when others use the memory.
    pub(super) fn begin(
        self: &Arc<Self>,
        state: &mut State,
        registration: u64,
    ) -> Result<(), InferenceError> {
        let found = state.entries.values().find(|entry| entry.id == registration);
        let Some(entry) = found else { return Err(InferenceError::UnknownSession) };
        let (name, source) = (entry.info.name.clone(), entry.source.clone());
        let evicted = match self.evict(state, entry.info.weight_bytes) {
            Ok(evicted) => evicted,
            Err(Short::Now) => return Ok(()),
            Err(Short::Always) => return Err(Short::Always.error()),
        };
        let order = Order {
            store: Arc::downgrade(self),
            registration,
            name: name.clone(),
            source,
            evicted,
        };
        let started = thread::Builder::new().name(format!("load {name}")).spawn(|| order.run());
        if let Some(entry) = state.entries.get_mut(&name) {
            entry.phase = match started {
                Ok(_) => Phase::Loading,
                Err(error) => Phase::Failed(error.to_string(), Instant::now()),
            };
        }
        Ok(())
    }

    /// Takes a loaded model in, or notes why it was not loaded, and tells all that wait.
    fn loaded(&self, order: &Order, outcome: Result<Arc<Model>, String>) {
        let mut state = lock(&self.state);
        let entry = state.entries.values_mut().find(|entry| entry.id == order.registration);
        let mut unwanted = None;
        match (entry, outcome) {
            (Some(entry), Ok(model)) => {
                entry.loads += 1;
                entry.phase = Phase::Loaded(model);
            }
            (Some(entry), Err(reason)) => {
                tracing::error!(model = order.name, reason, "a model could not be loaded");
                let until = entry.failed(Instant::now(), self.options.load_retry_after, false);
                entry.phase = Phase::Failed(reason, until);
            }
            // It was removed in the meantime.
            (None, outcome) => unwanted = outcome.ok(),
        }
        drop(state);
        drop(unwanted);
        self.changed.notify_waiters();
    }
}

impl Order {
    fn run(mut self) {
        let evicted = std::mem::take(&mut self.evicted);
        evicted.into_iter().for_each(Model::unload);
        // The engine may be gone by now, and then nobody wants the model.
        let Some(store) = self.store.upgrade() else { return };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.load(&store)));
        let outcome = outcome.unwrap_or_else(|_| Err("the loader panicked".to_owned()));
        store.loaded(&self, outcome);
    }

    fn load(&self, store: &Store) -> Result<Arc<Model>, String> {
        let checked = store.check(&self.name, &self.source).map_err(|error| error.to_string())?;
        let known = store.info(&self.name);
        if known.is_some_and(|known| known.digest != checked.info.digest) {
            return Err("its files are not those that were registered".to_owned());
        }
        store.start(checked).map_err(|error| error.to_string())
    }
}
