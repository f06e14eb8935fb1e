//! The processes that run functions, as the server has them: each is told what to run, reaches
//! everything through the server, and can end at any time with nothing but its own calls.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use emberbox_runtime::{
    Call, CallEnding, CallError, CallReport, Grants, GuestBody, KEY_BYTES, Limits, Report, Started,
};
use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tracing::Instrument;

use self::hosted::{Hosted, Outcome};
use self::link::Link;
use super::messages::{Ask, Deploy, DeployError, FunctionId};
use super::process;
use super::supervise::{Supervised, supervise};
use super::wire::{Lost, Peer};

/// A call that runs in a worker: its request, its models, its way out.
mod hosted;
/// One life of a worker.
mod link;

/// How long a call waits for its worker to be there again.
const PATIENCE: Duration = Duration::from_secs(10);

/// All workers. A clone is another handle to them.
#[derive(Clone)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    links: Vec<watch::Receiver<Option<Arc<Link>>>>,
    permits: Arc<Semaphore>,
    last_function: AtomicU64,
}

/// A version of a function that runs in a worker.
pub(crate) struct RemoteFunction {
    spec: Arc<Spec>,
}

/// What a worker has to know of a version before it can run it.
pub(super) struct Spec {
    workers: Workers,
    worker: usize,
    function: FunctionId,
    digest: String,
    limits: Limits,
    grants: Grants,
}

impl Workers {
    /// Starts so many workers, and each again whenever it ends.
    pub(super) async fn start(
        (count, instances_max): (usize, u32),
        key: [u8; KEY_BYTES],
        start: impl Fn() -> io::Result<process::Started> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let mut links = Vec::with_capacity(count);
        for _ in 0..count {
            let (publish, link) = watch::channel(None);
            supervise("worker", start.clone(), Again { key, publish }).await?;
            links.push(link);
        }
        let permits = Arc::new(Semaphore::new(instances_max as usize));
        let shared = Shared { links, permits, last_function: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes a version ready to be called, in the worker of the organisation that owns it; `None`
    /// where there is no compiled code. Gives it with the bytes of its code.
    pub(crate) async fn deploy(
        &self,
        (org_id, digest): (&str, &str),
        (limits, grants): (Limits, Grants),
    ) -> Result<Option<(RemoteFunction, usize)>, DeployError> {
        let mut hasher = DefaultHasher::new();
        org_id.hash(&mut hasher);
        let worker = usize::try_from(hasher.finish()).unwrap_or_default() % self.shared.links.len();
        let function = self.shared.last_function.fetch_add(1, Ordering::Relaxed);
        let digest = digest.to_owned();
        let workers = self.clone();
        let spec = Arc::new(Spec { workers, worker, function, digest, limits, grants });
        let gone = || DeployError::Failed("its worker is being started again".to_owned());
        let link = self.link(worker).await.ok_or_else(gone)?;
        let bytes = link.deploy(&spec).await?;
        Ok(bytes.map(|bytes| (RemoteFunction { spec }, bytes)))
    }

    async fn link(&self, worker: usize) -> Option<Arc<Link>> {
        let mut link = self.shared.links.get(worker)?.clone();
        let there = link.wait_for(|link| link.as_ref().is_some_and(|link| !link.peer().is_gone()));
        tokio::time::timeout(PATIENCE, there).await.ok()?.ok()?.clone()
    }
}

impl Spec {
    fn order(&self) -> Deploy {
        Deploy {
            function: self.function,
            digest: self.digest.clone(),
            limits: self.limits.clone(),
            grants: self.grants.clone(),
            secrets: self.grants.secrets.pairs().map(|(n, v)| (n.clone(), v.clone())).collect(),
        }
    }
}

impl Drop for Spec {
    fn drop(&mut self) {
        let link = self.workers.shared.links.get(self.worker);
        let link = link.and_then(|link| link.borrow().clone());
        link.into_iter().for_each(|link| link.forget(self.function));
    }
}

impl RemoteFunction {
    pub(crate) fn limits(&self) -> &Limits {
        &self.spec.limits
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.spec.grants
    }

    /// Starts one request in the function's worker; as
    /// [`Deployment::start`](emberbox_runtime::Deployment::start).
    pub(crate) fn start(&self, call: Call) -> Result<Started, CallError> {
        let permits = Arc::clone(&self.spec.workers.shared.permits);
        let permit = permits.try_acquire_owned().or(Err(CallError::Overloaded))?;
        let (answer, answered) = oneshot::channel();
        let (report, reported) = oneshot::channel();
        let drive = drive(Arc::clone(&self.spec), call, Waiting(Some(answer)), permit);
        let drive = async move {
            // Who waits for it may have gone.
            report.send(drive.await).ok();
        };
        tokio::spawn(drive.in_current_span());
        let head = async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::Fault(WORKER_ENDED.into(), worker_ended())),
            }
        };
        let report = async move { reported.await.unwrap_or_else(|_| worker_ended()) };
        Ok(Started {
            head: emberbox_runtime::Head::elsewhere(head),
            report: Report::elsewhere(report),
        })
    }
}

/// A call whose guest had not begun when its worker ended goes to the next one, once.
const ATTEMPTS_MAX: usize = 2;
const WORKER_ENDED: &str = "the worker that ran the function ended";

fn worker_ended() -> CallReport {
    CallReport::nothing(CallEnding::Fault(WORKER_ENDED.to_owned()))
}

/// One call from its worker's choice to its report.
async fn drive(
    spec: Arc<Spec>,
    call: Call,
    mut answer: Waiting,
    permit: OwnedSemaphorePermit,
) -> CallReport {
    let (hosted, order) = Hosted::new(&spec, call);
    let mut outcome = Outcome::NotBegun;
    for _ in 0..ATTEMPTS_MAX {
        let Some(link) = spec.workers.link(spec.worker).await else { break };
        outcome = match link.deploy(&spec).await {
            Ok(Some(_)) => hosted.run(&link, &order, &mut answer).await,
            Ok(None) => Outcome::Lost,
            Err(error) => {
                tracing::warn!(%error, "a function cannot be deployed to its worker");
                Outcome::NotBegun
            }
        };
        if !matches!(outcome, Outcome::NotBegun) {
            break;
        }
    }
    drop(permit);
    match outcome {
        Outcome::Answered(report) => report,
        Outcome::NotBegun => {
            answer.answer(Err(CallError::Overloaded));
            worker_ended()
        }
        Outcome::Lost => {
            answer.answer(Err(CallError::Fault(WORKER_ENDED.into(), worker_ended())));
            worker_ended()
        }
    }
}

/// Whoever waits for the answer, until it has one.
pub(super) struct Waiting(Option<oneshot::Sender<Result<Response<GuestBody>, CallError>>>);

impl Waiting {
    /// The first answer counts; who waited for it may have gone.
    pub(super) fn answer(&mut self, answer: Result<Response<GuestBody>, CallError>) {
        if let Some(waiting) = self.0.take() {
            waiting.send(answer).ok();
        }
    }

    pub(super) async fn gone(&mut self) {
        match &mut self.0 {
            Some(waiting) => waiting.closed().await,
            None => std::future::pending().await,
        }
    }
}

/// What happens whenever a worker begins and ends.
struct Again {
    key: [u8; KEY_BYTES],
    publish: watch::Sender<Option<Arc<Link>>>,
}

impl Supervised for Again {
    type Heard = link::Calls;

    fn listener(&self, peer: &Peer) -> Arc<link::Calls> {
        Arc::new(link::Calls::new(peer.clone()))
    }

    async fn begun(&self, _peer: &Peer, calls: &Arc<link::Calls>) -> bool {
        let link = Link::new(Arc::clone(calls));
        let begun = link.begin(self.key).await.is_ok();
        if begun {
            self.publish.send_replace(Some(Arc::new(link)));
        }
        begun
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
