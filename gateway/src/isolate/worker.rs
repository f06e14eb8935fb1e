//! A process that runs functions. It has compiled code to read, a socket to the server, and nothing
//! else: no money, no weights, no network, no other file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use emberbox_runtime::{
    Artifacts, Call, CallEnding, CallError, CallReport, Deployment, Engine, EngineOptions, Started,
};
use serde::{Deserialize, Serialize};

use self::answer::Running;
use self::reach::{Line, RemoteDoor, RemoteMetered, SentBodies, request};
use super::lock;
use super::messages::{
    Ask, CallId, CallOrder, Chunk, Deploy, DeployError, Deployed, FunctionId, Head, Headers, News,
    Tell,
};
use super::process::{Begin, Common, Part};
use super::wire::{Peer, Reply, Service};
use crate::deployments::sandbox;

/// A call's answer, on its way to the server.
mod answer;
/// What a call reaches: through the server, all of it.
mod reach;

/// How long an answer may take to be whole, with what its call has used, before it leaves in parts.
const WHOLE_WITHIN: Duration = Duration::from_millis(2);

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) common: Common,
    pub(super) engine: EngineOptions,
    /// Where compiled code is.
    pub(super) compiled: PathBuf,
}

impl Order {
    pub(super) fn part(self) -> (Part, Begin<Room>) {
        let readable = Some(vec![self.compiled.clone()]);
        let part = Part { common: self.common.clone(), readable };
        (part, Box::new(move |peer| Room::new(self, peer)))
    }
}

/// The functions and calls of a worker.
pub(super) struct Room {
    peer: Peer,
    engine: Engine,
    compiled: PathBuf,
    artifacts: OnceLock<Arc<Artifacts>>,
    functions: Mutex<HashMap<FunctionId, Deployment>>,
    calls: Mutex<HashMap<CallId, Arc<Running>>>,
    sent: Arc<SentBodies>,
}

/// A fault of the host before anything was used.
fn fault(what: &str) -> CallError {
    let ending = CallEnding::Fault(what.to_owned());
    CallError::Fault(what.into(), CallReport::nothing(ending))
}

impl Room {
    fn new(order: Order, peer: Peer) -> Result<Arc<Self>, String> {
        let engine = Engine::new(order.engine).map_err(|error| error.to_string())?;
        Ok(Arc::new(Self {
            peer,
            engine,
            compiled: order.compiled,
            artifacts: OnceLock::new(),
            functions: Mutex::default(),
            calls: Mutex::default(),
            sent: Arc::default(),
        }))
    }

    async fn deploy(&self, deploy: Deploy) -> Deployed {
        let artifacts = self.artifacts.get().cloned();
        let artifacts = artifacts.ok_or_else(|| DeployError::Failed("no key yet".to_owned()))?;
        let engine = self.engine.clone();
        let Deploy { function, digest, limits, mut grants, secrets } = deploy;
        grants.secrets = secrets.into_iter().collect();
        let loaded = sandbox::load(engine, artifacts, (digest, limits, grants)).await?;
        Ok(loaded.map(|(deployment, bytes)| {
            lock(&self.functions).insert(function, deployment);
            bytes
        }))
    }

    async fn call(&self, id: CallId, order: CallOrder) -> Result<Head, CallError> {
        let deployment = lock(&self.functions).get(&order.function).cloned();
        let deployment = deployment.ok_or_else(|| fault("the function is not deployed"))?;
        let started = deployment.start(self.prepare(id, order)?)?;
        self.peer.tell(&(id, News::Begun));
        let running = Arc::new(Running::default());
        lock(&self.calls).insert(id, Arc::clone(&running));
        let Started { head, report } = started;
        running.keep_report(report);
        let response = tokio::select! {
            head = head => head?,
            // Dropping the head stops the guest.
            () = running.left() => return Err(fault("nobody waits for the answer")),
        };
        let (parts, body) = response.into_parts();
        let body = running.begin(body, WHOLE_WITHIN).await;
        let report = match body.ended {
            true => self.report_within(id, &running).await,
            false => None,
        };
        let headers = Headers::from(&parts.headers);
        Ok(Head { status: parts.status.as_u16(), headers, body, report })
    }

    /// A call of the guest's, with everything that it reaches.
    fn prepare(&self, call: CallId, order: CallOrder) -> Result<Call, CallError> {
        let models = RemoteMetered::new(self.peer.clone(), call, (order.models, order.paid));
        let outbound = order
            .outbound
            .then(|| Arc::new(RemoteDoor::new(self.peer.clone(), call, Arc::clone(&self.sent))));
        let logs = Line { peer: self.peer.clone(), call };
        let head = (order.method, order.uri, order.headers);
        let request = request(&self.peer, call, head, order.body);
        Ok(Call {
            request: request.map_err(|error| CallError::RequestInvalid(error.to_string()))?,
            tenant: order.tenant,
            request_id: order.request_id,
            models: Arc::new(models),
            outbound: outbound.map(|door| door as _),
            logs: Arc::new(logs),
        })
    }

    /// What the call has used, if it is known in a moment.
    async fn report_within(&self, id: CallId, running: &Running) -> Option<CallReport> {
        let report = tokio::time::timeout(WHOLE_WITHIN, running.report()).await.ok()??;
        lock(&self.calls).remove(&id);
        Some(report)
    }

    async fn report(&self, id: CallId) -> CallReport {
        let running = lock(&self.calls).get(&id).cloned();
        let report = match running {
            Some(running) => running.report().await,
            None => None,
        };
        lock(&self.calls).remove(&id);
        let unknown = || CallReport::nothing(CallEnding::Fault("the call is not known".to_owned()));
        report.unwrap_or_else(unknown)
    }
}

impl Service for Room {
    type Ask = Ask;
    type Tell = Tell;

    async fn answer(self: Arc<Self>, ask: Ask) -> Reply {
        match ask {
            Ask::Ready => Reply::new(&()),
            Ask::Key(key) => {
                let artifacts = Artifacts::reader(&self.engine, &self.compiled, key);
                self.artifacts.get_or_init(|| Arc::new(artifacts));
                Reply::new(&())
            }
            Ask::Deploy(deploy) => Reply::new(&self.deploy(*deploy).await),
            Ask::Call(id, order) => {
                let answer = self.call(id, *order).await;
                // A call that never ran has nothing to report.
                if matches!(answer, Err(CallError::Overloaded | CallError::RequestInvalid(_))) {
                    lock(&self.calls).remove(&id);
                }
                Reply::new(&answer)
            }
            Ask::Body(call) => {
                let running = lock(&self.calls).get(&call).cloned();
                let next = match running {
                    Some(running) => running.next().await,
                    None => Ok(Chunk { ended: true, ..Chunk::default() }),
                };
                Reply::new(&next)
            }
            Ask::Report(call) => Reply::new(&self.report(call).await),
            Ask::Sent(call, exchange) => Reply::new(&self.sent.next(call, exchange).await),
        }
    }

    fn hear(&self, tell: Tell) {
        match tell {
            Tell::Leave(call) => {
                let running = lock(&self.calls).get(&call).cloned();
                running.into_iter().for_each(|running| running.leave());
            }
            Tell::Forget(function) => {
                lock(&self.functions).remove(&function);
            }
        }
    }
}
