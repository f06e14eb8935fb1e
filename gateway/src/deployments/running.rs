//! How many calls of each function are in progress. A new version, or one that is loaded again,
//! does not begin to count anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The id of an organisation, and the function's name.
type Key = (String, String);

#[derive(Default)]
pub(super) struct Running {
    calls: Mutex<HashMap<Key, u64>>,
}

impl Running {
    /// A place for one call more, unless `max` are in progress.
    pub(super) fn place(self: &Arc<Self>, (org_id, name): (&str, &str), max: u64) -> Option<Place> {
        let key = (org_id.to_owned(), name.to_owned());
        let mut calls = self.lock();
        let count = calls.entry(key.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { running: Arc::clone(self), key })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call in progress, until it is dropped.
pub(crate) struct Place {
    running: Arc<Running>,
    key: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.running.lock();
        if let Some(count) = calls.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_functions_own_and_come_back() {
        let running = Arc::<Running>::default();
        let one = running.place(("a", "f"), 2).unwrap();
        let two = running.place(("a", "f"), 2).unwrap();
        assert!(running.place(("a", "f"), 2).is_none());
        assert!(running.place(("a", "g"), 2).is_some() && running.place(("b", "f"), 2).is_some());
        drop(one);
        let three = running.place(("a", "f"), 2).unwrap();
        assert!(running.place(("a", "f"), 2).is_none());
        drop((two, three));
        assert!(running.lock().is_empty());
    }
}
