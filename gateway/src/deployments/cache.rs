//! The versions that were called lately, ready for the next call: so many of them, with so many
//! bytes of code. What has been called least recently goes first; calls in progress keep theirs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::OnceCell;

use super::Live;

/// An organisation's name and a function's.
pub(super) type Key = (String, String);
/// The first caller loads; the others wait for it.
pub(super) type Cell = Arc<OnceCell<Arc<Live>>>;

pub(super) struct Cache {
    deployments_max: usize,
    code_bytes_max: usize,
    slots: Mutex<HashMap<Key, Slot>>,
    /// Grows whenever an organisation's versions are forgotten, and only under the lock of `slots`,
    /// so that a version that was read before does not come after.
    forgotten: AtomicU64,
}

struct Slot {
    cell: Cell,
    called_at: Instant,
}

impl Slot {
    fn new(cell: Cell) -> Self {
        Self { cell, called_at: Instant::now() }
    }

    /// None before it is loaded.
    fn code_bytes(&self) -> usize {
        self.cell.get().map_or(0, |live| live.code_bytes)
    }
}

impl Cache {
    pub(super) fn new(deployments_max: usize, code_bytes_max: usize) -> Self {
        Self {
            deployments_max: deployments_max.max(1),
            code_bytes_max,
            slots: Mutex::default(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Where a function's live version is, or will be.
    pub(super) fn cell(&self, key: &Key) -> Cell {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(key) {
            slot.called_at = Instant::now();
            return Arc::clone(&slot.cell);
        }
        let cell = Arc::new(OnceCell::new());
        slots.insert(key.clone(), Slot::new(Arc::clone(&cell)));
        self.make_room(&mut slots);
        cell
    }

    /// To be taken before anything is read that a version to be put is made of.
    pub(super) fn moment(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Puts a version in place for the calls to come; where versions were forgotten since `moment`,
    /// the next call reads it anew instead.
    pub(super) fn put(&self, live: &Arc<Live>, moment: u64) {
        let key = (live.owner.clone(), live.name.clone());
        let cell = Arc::new(OnceCell::new_with(Some(Arc::clone(live))));
        let mut slots = self.lock();
        if self.moment() != moment {
            slots.remove(&key);
            return;
        }
        slots.insert(key, Slot::new(cell));
        self.make_room(&mut slots);
    }

    /// A version was loaded into its cell, and takes memory from now on.
    pub(super) fn loaded(&self) {
        self.make_room(&mut self.lock());
    }

    pub(super) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Forgets all versions of an organisation, also those that are being loaded.
    pub(super) fn forget_org(&self, owner: &str) {
        let mut slots = self.lock();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        slots.retain(|(of, _), _| of != owner);
    }

    /// A name that leads nowhere takes no place; a slot that was replaced meanwhile stays.
    pub(super) fn forget_cell(&self, key: &Key, cell: &Cell) {
        let mut slots = self.lock();
        if slots.get(key).is_some_and(|slot| Arc::ptr_eq(&slot.cell, cell)) {
            slots.remove(key);
        }
    }

    /// The last one stays, however large it is.
    fn make_room(&self, slots: &mut HashMap<Key, Slot>) {
        let mut bytes: usize = slots.values().map(Slot::code_bytes).sum();
        while slots.len() > 1 && (slots.len() > self.deployments_max || bytes > self.code_bytes_max)
        {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.called_at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            bytes -= slots.remove(&oldest).map_or(0, |slot| slot.code_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
