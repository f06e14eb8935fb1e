//! Instances that wait for the next request of their payer, where a function's author allows it.
//! Nobody else's request ever reaches them, and one that trapped, was stopped or left something open
//! does not come here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::component::State;

/// How long an instance waits.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often those that have waited too long are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Requests that one instance answers: what it leaks does not grow for ever.
const CALLS_MAX: u32 = 1_000;

/// An instance between two requests.
pub(super) struct Parked {
    pub(super) store: Store<State>,
    pub(super) proxy: Proxy,
    /// That it has answered.
    pub(super) calls: u32,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

/// The waiting instances of one deployment.
pub(crate) struct Idle {
    /// Places for those of all deployments.
    places: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By payer; the last one to come is the first to go.
    of: HashMap<String, Vec<Parked>>,
    is_swept: bool,
}

impl Idle {
    pub(crate) fn new(places: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { places: Arc::clone(places), waiting: Mutex::default() })
    }

    /// An instance for this payer.
    pub(super) fn take(&self, payer: &str) -> Option<Parked> {
        let mut waiting = self.lock();
        let mine = waiting.of.get_mut(payer)?;
        let parked = mine.pop();
        if mine.is_empty() {
            waiting.of.remove(payer);
        }
        parked
    }

    /// Keeps an instance that has answered `calls` requests, unless there is no place for it.
    pub(super) fn park(
        self: &Arc<Self>,
        payer: String,
        (store, proxy): (Store<State>, Proxy),
        calls: u32,
    ) {
        if calls >= CALLS_MAX {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let parked = Parked { store, proxy, calls, since: Instant::now(), _place: place };
        let mut waiting = self.lock();
        waiting.of.entry(payer).or_default().push(parked);
        if !std::mem::replace(&mut waiting.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Drops those that have waited too long; whether any are left.
    fn drop_old(&self) -> bool {
        let mut waiting = self.lock();
        let mut old = Vec::new();
        for mine in waiting.of.values_mut() {
            old.extend(mine.extract_if(.., |parked| parked.since.elapsed() > WAIT_MAX));
        }
        waiting.of.retain(|_, mine| !mine.is_empty());
        let any = !waiting.of.is_empty();
        waiting.is_swept = any;
        drop(waiting);
        // Freeing their memory takes time, which nobody waits for.
        drop(old);
        any
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(idle: std::sync::Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let any = idle.upgrade().is_some_and(|idle| idle.drop_old());
        if !any {
            return;
        }
    }
}
