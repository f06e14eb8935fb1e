//! Voids that found no hold.
//!
//! A hold whose answer was lost may still be on its way when its caller voids it: on a connection
//! that broke, with the bytes of it read later than the void. The ledger would then open a hold
//! that nobody knows of. So the service remembers, for longer than any connection outlives its
//! gateway's patience, which calls were voided in vain, and refuses their holds. A service that
//! starts anew needs no memory: what was on its way to the old one never arrives.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::{CallId, OrgId};

/// Who voided it, and the call within its organisation: no gateway stops another one's hold.
pub(super) type Key = (Arc<[String]>, OrgId, CallId);

/// How long such a void is remembered.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// How many are; the oldest go first.
const KEPT_MAX: usize = 65_536;

/// The voids under way, and those that found nothing.
#[derive(Debug, Default)]
pub(super) struct Voids(Mutex<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// `None` while the ledger is asked.
    marks: HashMap<Key, Option<Instant>>,
    /// What was kept, oldest first. Marks that went since may still stand here.
    kept: VecDeque<(Instant, Key)>,
}

/// A void under way. The mark stays unless the ledger knew the call.
#[derive(Debug)]
pub(super) struct Voiding {
    voids: Arc<Voids>,
    key: Key,
    knew: bool,
}

impl Voids {
    /// Marks a call before the ledger is asked to void it.
    pub(super) fn begin(self: &Arc<Voids>, key: Key) -> Voiding {
        self.marks().marks.entry(key.clone()).or_insert(None);
        Voiding { voids: Arc::clone(self), key, knew: false }
    }

    /// Whether a hold of this call would come after its void.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.marks().marks.contains_key(key)
    }

    /// A panic while the lock was held cannot leave the plain collections half-changed.
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voiding {
    /// The ledger knew the call, so it refuses by itself whatever comes after.
    pub(super) fn knew(mut self) {
        self.knew = true;
    }
}

/// Where nobody learned the ledger's answer, the mark stays too.
impl Drop for Voiding {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut marks = self.voids.marks();
        if self.knew {
            marks.marks.remove(&self.key);
        } else {
            marks.keep(self.key.clone(), now);
        }
    }
}

impl Marks {
    fn keep(&mut self, key: Key, now: Instant) {
        self.marks.insert(key.clone(), Some(now));
        self.kept.push_back((now, key));
        let old = |at: Instant| now.saturating_duration_since(at) > KEPT_FOR;
        while self.kept.len() > KEPT_MAX || self.kept.front().is_some_and(|(at, _)| old(*at)) {
            let Some((at, key)) = self.kept.pop_front() else { return };
            // It may have been kept again since.
            if self.marks.get(&key) == Some(&Some(at)) {
                self.marks.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        (Arc::default(), OrgId::new(format!("org{number}")), CallId::generate())
    }

    #[test]
    fn a_mark_stays_unless_the_ledger_knew_the_call() {
        let voids = Arc::<Voids>::default();
        let (unknown, known) = (key(1), key(2));
        let (one, two) = (voids.begin(unknown.clone()), voids.begin(known.clone()));
        assert!(voids.has(&unknown) && voids.has(&known), "not while the ledger is asked");
        drop(one);
        two.knew();
        assert!(voids.has(&unknown) && !voids.has(&known));
    }

    #[test]
    fn marks_are_bounded_in_number_and_time() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        let keys: Vec<Key> = (0..KEPT_MAX + 2).map(key).collect();
        keys.iter().for_each(|key| marks.keep(key.clone(), now));
        assert_eq!(marks.marks.len(), KEPT_MAX);
        assert!(!marks.marks.contains_key(&keys[1]) && marks.marks.contains_key(&keys[2]));
        marks.keep(key(0), now + KEPT_FOR + Duration::from_secs(1));
        assert_eq!((marks.marks.len(), marks.kept.len()), (1, 1));
    }
}
