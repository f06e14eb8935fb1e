use std::sync::{Arc, Weak};

use super::model::Model;
use crate::store::Store;

/// The right to use a loaded model: while there is one, the model stays in memory.
pub(crate) struct Lease {
    model: Arc<Model>,
    store: Weak<Store>,
}

impl Lease {
    pub(crate) fn new(model: &Arc<Model>, store: &Arc<Store>) -> Self {
        model.lend();
        Self { model: Arc::clone(model), store: Arc::downgrade(store) }
    }

    pub(crate) fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let last = self.model.give_back();
        if let Some(store) = self.store.upgrade() {
            store.returned(&self.model, last);
        }
    }
}
