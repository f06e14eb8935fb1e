//! The models in the process that holds them, as the rest of the server has them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use emberbox_runtime::bridge::{
    Bridge, BridgeError, Event, ModelInfo, ModelStatus, Open, Plan, SessionId, Task, Usage,
};
use tokio::sync::watch;

use super::inference::{Ask, News, Next, Tell};
use super::lock;
use super::supervise::{Supervised, supervise};
use super::wire::{Lost, Peer, Pending, Reply, Service};
use crate::models::{ModelHost, Offer, OfferError, Source};

/// How long a task waits for the process to be there again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The models, wherever their process is in its life.
#[derive(Clone)]
pub(crate) struct RemoteModels {
    shared: Arc<Shared>,
}

struct Shared {
    peer: watch::Receiver<Option<Peer>>,
    /// What a process that is started again has to be told.
    offers: Mutex<BTreeMap<String, Offer>>,
    list: Mutex<Vec<ModelStatus>>,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    last_session: AtomicU64,
    readable: Vec<PathBuf>,
}

/// One session of one life of the process. Its number there may be another's in the next life.
struct Session {
    peer: Peer,
    id: SessionId,
    used: Mutex<Usage>,
    next: tokio::sync::Mutex<Option<Pending>>,
}

/// What the process tells.
struct Listener {
    shared: Weak<Shared>,
    peer: Peer,
}

impl RemoteModels {
    /// Starts the process, and starts it again whenever it ends.
    pub(super) async fn start(
        start: impl Fn() -> std::io::Result<super::process::Started> + Send + 'static,
        readable: Vec<PathBuf>,
    ) -> std::io::Result<Self> {
        let (publish, peer) = watch::channel(None);
        let shared = Arc::new(Shared {
            peer,
            offers: Mutex::default(),
            list: Mutex::default(),
            sessions: Mutex::default(),
            last_session: AtomicU64::new(0),
            readable,
        });
        let again = Again { shared: Arc::downgrade(&shared), publish };
        supervise("inference", start, again).await?;
        Ok(Self { shared })
    }

    async fn peer(&self) -> Option<Peer> {
        let mut peer = self.shared.peer.clone();
        let there = peer.wait_for(|peer| peer.as_ref().is_some_and(|peer| !peer.is_gone()));
        tokio::time::timeout(PATIENCE, there).await.ok()?.ok()?.clone()
    }

    fn session(&self, session: SessionId) -> Result<Arc<Session>, BridgeError> {
        lock(&self.shared.sessions).get(&session).cloned().ok_or(BridgeError::Cancelled)
    }

    /// Whether the process may read a model's files.
    fn check(&self, path: &Path) -> Result<(), OfferError> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.shared.readable.iter().any(|folder| real.starts_with(folder)) {
            return Ok(());
        }
        let folders: Vec<String> =
            self.shared.readable.iter().map(|folder| folder.display().to_string()).collect();
        Err(OfferError::Model(format!(
            "inference is isolated and reads models below {} only; put {} there, or add its folder \
             to isolation.model_folders and start the server again",
            folders.join(", "),
            path.display()
        )))
    }
}

/// What happens whenever the process begins and ends.
struct Again {
    shared: Weak<Shared>,
    publish: watch::Sender<Option<Peer>>,
}

impl Supervised for Again {
    type Heard = Listener;

    fn listener(&self, peer: &Peer) -> Arc<Listener> {
        Arc::new(Listener { shared: Weak::clone(&self.shared), peer: peer.clone() })
    }

    async fn begun(&self, peer: &Peer, _heard: &Arc<Listener>) -> bool {
        let Some(shared) = self.shared.upgrade() else { return true };
        if peer.ask::<(), _>(&Ask::Ready).await.is_err() {
            return false;
        }
        let offers: Vec<Offer> = lock(&shared.offers).values().cloned().collect();
        for mut offer in offers {
            offer.load = offer.pinned;
            let name = offer.name.clone();
            let offered: Result<Result<ModelInfo, OfferError>, Lost> =
                peer.ask(&Ask::Offer(offer)).await;
            match offered {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(model = name, %error, "a model is not offered"),
                Err(Lost) => return false,
            }
        }
        self.publish.send_replace(Some(peer.clone()));
        true
    }

    async fn answers(&self, peer: &Peer) -> Result<(), Lost> {
        peer.ask(&Ask::Ready).await
    }

    fn ended(&self) {
        self.publish.send_replace(None);
    }

    async fn unneeded(&self) {
        self.publish.closed().await;
    }
}

impl Service for Listener {
    type Ask = ();
    type Tell = News;

    async fn answer(self: Arc<Self>, (): ()) -> Reply {
        Reply::new(&())
    }

    fn hear(&self, news: News) {
        let Some(shared) = self.shared.upgrade() else { return };
        match news {
            News::Models(models) => *lock(&shared.list) = models,
            News::Used(id, used) => {
                let sessions = lock(&shared.sessions);
                let session = sessions
                    .values()
                    .find(|session| session.id == id && session.peer.is(&self.peer));
                session.into_iter().for_each(|session| *lock(&session.used) = used);
            }
        }
    }
}

#[async_trait]
impl ModelHost for RemoteModels {
    async fn list(&self) -> Vec<ModelStatus> {
        let peer = self.shared.peer.borrow().clone();
        let asked: Option<Result<Vec<ModelStatus>, Lost>> = match peer {
            Some(peer) => Some(peer.ask(&Ask::List).await),
            None => None,
        };
        match asked {
            Some(Ok(list)) => {
                lock(&self.shared.list).clone_from(&list);
                list
            }
            // While the process is not there, what it said last.
            Some(Err(Lost)) | None => lock(&self.shared.list).clone(),
        }
    }

    async fn offer(&self, offer: Offer) -> Result<ModelInfo, OfferError> {
        if let Source::Path(path) = &offer.source {
            self.check(path)?;
        }
        let gone = || OfferError::Overloaded("inference is being started again".to_owned());
        let peer = self.peer().await.ok_or_else(gone)?;
        let offered: Result<ModelInfo, OfferError> =
            peer.ask(&Ask::Offer(offer.clone())).await.map_err(|Lost| gone())?;
        let info = offered?;
        lock(&self.shared.offers).insert(offer.name.clone(), offer);
        Ok(info)
    }

    fn remove(&self, name: &str) {
        lock(&self.shared.offers).remove(name);
        lock(&self.shared.list).retain(|model| model.info.name != name);
        if let Some(peer) = &*self.shared.peer.borrow() {
            peer.tell(&Tell::Remove(name.to_owned()));
        }
    }
}

/// There is no process at the moment, and soon there is.
fn restarting() -> BridgeError {
    BridgeError::Overloaded("inference is being started again".to_owned())
}

/// What was asked of a process that has ended since.
fn failed(Lost: Lost) -> BridgeError {
    BridgeError::Failed
}

#[async_trait]
impl Bridge for RemoteModels {
    async fn open(&self, open: Open) -> Result<SessionId, BridgeError> {
        let ask = Ask::Open(open);
        let mut peer = self.peer().await.ok_or_else(restarting)?;
        let mut opened: Result<Result<SessionId, BridgeError>, Lost> = peer.ask(&ask).await;
        if opened.is_err() {
            // It may have ended before it was asked; nothing is lost with a session that is new.
            peer = self.peer().await.ok_or_else(restarting)?;
            opened = peer.ask(&ask).await;
        }
        let id = opened.map_err(|Lost| restarting())??;
        let session = SessionId(self.shared.last_session.fetch_add(1, Ordering::Relaxed));
        let (used, next) = (Mutex::default(), tokio::sync::Mutex::default());
        let opened = Arc::new(Session { peer, id, used, next });
        lock(&self.shared.sessions).insert(session, opened);
        Ok(session)
    }

    async fn prepare(&self, session: SessionId, task: Task) -> Result<Plan, BridgeError> {
        let session = self.session(session)?;
        session.peer.ask(&Ask::Prepare(session.id, Box::new(task))).await.map_err(failed)?
    }

    async fn submit(&self, session: SessionId) -> Result<(), BridgeError> {
        let session = self.session(session)?;
        *lock(&session.used) = Usage::default();
        let mut next = session.next.lock().await;
        let mut submitted = session.peer.begin(&Ask::Submit(session.id));
        // Whoever submits asks for the first event next: both go together.
        *next = Some(session.peer.begin(&Ask::Next(session.id)));
        let submitted: Result<(), BridgeError> = submitted.answer().await.map_err(failed)?;
        submitted.inspect_err(|_| *next = None)
    }

    async fn next(&self, session: SessionId) -> Result<Event, BridgeError> {
        let session = self.session(session)?;
        let mut next = session.next.lock().await;
        // One that was asked for and not waited for to its end is not lost.
        let pending = next.get_or_insert_with(|| session.peer.begin(&Ask::Next(session.id)));
        let answer: Result<Next, Lost> = pending.answer().await;
        *next = None;
        let (event, used) = answer.map_err(failed)?;
        *lock(&session.used) = used;
        event
    }

    fn cancel(&self, session: SessionId) {
        if let Ok(session) = self.session(session) {
            session.peer.tell(&Tell::Cancel(session.id));
        }
    }

    fn close(&self, session: SessionId) {
        let closed = lock(&self.shared.sessions).remove(&session);
        if let Some(session) = closed {
            session.peer.tell(&Tell::Close(session.id));
        }
    }

    fn usage(&self, session: SessionId) -> Usage {
        self.session(session).map_or_else(|_| Usage::default(), |session| *lock(&session.used))
    }

    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError> {
        let peer = self.peer().await.ok_or_else(restarting)?;
        // It may be what has ended the process, so it is not sent to the next one.
        peer.ask(&Ask::Bring(model)).await.map_err(|Lost| restarting())?
    }

    fn model(&self, name: &str) -> Option<ModelInfo> {
        let list = lock(&self.shared.list);
        list.iter().find(|model| model.info.name == name).map(|model| model.info.clone())
    }
}
