use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use emberbox_runtime::KEY_BYTES;
use tokio::sync::OnceCell;

use super::Spec;
use super::hosted::Hosted;
use crate::isolate::lock;
use crate::isolate::messages::{Ask, CallId, DeployError, Deployed, FunctionId, News, Tell, Want};
use crate::isolate::wire::{Lost, Peer, Reply, Service};

/// One life of a worker: what it was told, and what runs in it.
pub(super) struct Link {
    calls: Arc<Calls>,
    functions: Mutex<HashMap<FunctionId, Arc<OnceCell<usize>>>>,
    last_call: AtomicU64,
}

/// The calls that run in a worker, for what it asks.
pub(super) struct Calls {
    peer: Peer,
    running: Mutex<HashMap<CallId, Arc<Hosted>>>,
}

impl Calls {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, running: Mutex::default() }
    }

    fn get(&self, call: CallId) -> Option<Arc<Hosted>> {
        lock(&self.running).get(&call).cloned()
    }
}

impl Link {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
        Self { calls, functions: Mutex::default(), last_call: AtomicU64::new(0) }
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.calls.peer
    }

    pub(super) async fn begin(&self, key: [u8; KEY_BYTES]) -> Result<(), Lost> {
        self.peer().ask(&Ask::Key(key)).await
    }

    /// Makes sure that the worker has a version; gives the bytes of its code, and `None` where
    /// there is none.
    pub(super) async fn deploy(&self, spec: &Spec) -> Deployed {
        let cell = Arc::clone(lock(&self.functions).entry(spec.function).or_default());
        if let Some(bytes) = cell.get() {
            return Ok(Some(*bytes));
        }
        let ask = || async {
            let deployed: Result<Deployed, Lost> =
                self.peer().ask(&Ask::Deploy(Box::new(spec.order()))).await;
            let gone = |lost: Lost| Some(DeployError::Failed(lost.to_string()));
            deployed.map_err(gone)?.map_err(Some)?.ok_or(None)
        };
        match cell.get_or_try_init(ask).await {
            Ok(bytes) => Ok(Some(*bytes)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    pub(super) fn forget(&self, function: FunctionId) {
        if lock(&self.functions).remove(&function).is_some() {
            self.peer().tell(&Tell::Forget(function));
        }
    }

    /// A call's number, by which the worker asks for it from now on.
    pub(super) fn enter(&self, hosted: Arc<Hosted>) -> CallId {
        let call = self.last_call.fetch_add(1, Ordering::Relaxed);
        lock(&self.calls.running).insert(call, hosted);
        call
    }

    pub(super) fn leave(&self, call: CallId) {
        lock(&self.calls.running).remove(&call);
    }
}

impl Service for Calls {
    type Ask = (CallId, Want);
    type Tell = (CallId, News);

    async fn answer(self: Arc<Self>, (call, want): (CallId, Want)) -> Reply {
        match self.get(call) {
            Some(hosted) => hosted.answer(self.peer.clone(), (call, want)).await,
            None => Hosted::unknown(&want),
        }
    }

    fn hear(&self, (call, news): (CallId, News)) {
        self.get(call).into_iter().for_each(|hosted| hosted.hear(&news));
    }
}
