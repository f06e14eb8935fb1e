//! The process that holds the models: their files are read and parsed here, and their weights are
//! nowhere else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use emberbox_inference::{Device, Inference, InferenceOptions};
use emberbox_runtime::bridge::{
    Bridge, BridgeError, Event, ModelStatus, Open, SessionId, Task, Usage,
};
use serde::{Deserialize, Serialize};

use super::process::{Begin, Common, Part};
use super::wire::{Peer, Reply, Service};
use crate::models::{ModelHost, Offer};

/// How often a session that waits says what it has used.
const NEWS_EVERY: Duration = Duration::from_millis(50);

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) common: Common,
    pub(super) device: String,
    pub(super) encoder_weights: String,
    pub(super) threads: usize,
    pub(super) speculation: bool,
    pub(super) output_tokens_default: u32,
    pub(super) memory_bytes_max: u64,
    pub(super) graph_operations_max: u64,
    pub(super) graph_bytes_max: u64,
    /// Where models may be.
    pub(super) readable: Vec<PathBuf>,
}

/// What it is asked: the bridge, and the operator's part of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Whether it is there.
    Ready,
    List,
    Offer(Offer),
    Open(Open),
    Bring(Bytes),
    Prepare(SessionId, Box<Task>),
    Submit(SessionId),
    /// The answer has what the task has used so far.
    Next(SessionId),
}

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Tell {
    Cancel(SessionId),
    Close(SessionId),
    Remove(String),
}

/// What it tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    Models(Vec<ModelStatus>),
    Used(SessionId, Usage),
}

/// The answer to `Ask::Next`.
pub(super) type Next = (Result<Event, BridgeError>, Usage);

impl Order {
    pub(super) fn part(self) -> (Part, Begin<Room>) {
        // A driver wants devices, libraries and calls that nobody can list.
        let confined = self.device == Device::Cpu.to_string();
        let readable = confined.then(|| self.readable.clone());
        let part = Part { common: self.common.clone(), readable };
        (part, Box::new(move |peer| Room::new(&self, peer)))
    }
}

/// The models, and whom to tell of them.
pub(super) struct Room {
    inference: Inference,
    peer: Peer,
}

impl Room {
    fn new(order: &Order, peer: Peer) -> Result<Arc<Self>, String> {
        let inference = Inference::new(InferenceOptions {
            device: order.device.parse().map_err(str::to_owned)?,
            encoder_weights: order.encoder_weights.parse().map_err(str::to_owned)?,
            threads: order.threads,
            speculation: order.speculation,
            output_tokens_default: order.output_tokens_default,
            memory_bytes_max: order.memory_bytes_max,
            graph_operations_max: order.graph_operations_max,
            graph_bytes_max: order.graph_bytes_max,
            ..InferenceOptions::default()
        });
        let inference = inference.map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { inference, peer }))
    }

    async fn offer(&self, offer: Offer) -> Reply {
        let offered = self.inference.offer(offer).await;
        // Whoever hears the answer finds the model in the list.
        self.peer.tell(&News::Models(self.inference.models()));
        Reply::new(&offered)
    }

    /// The next event; while it is waited for, what the task uses is told.
    async fn next(&self, session: SessionId) -> Next {
        let mut told = Usage::default();
        let mut next = Bridge::next(&self.inference, session);
        loop {
            tokio::select! {
                event = &mut next => return (event, self.inference.usage(session)),
                () = tokio::time::sleep(NEWS_EVERY) => {}
            }
            let used = self.inference.usage(session);
            if used != told {
                self.peer.tell(&News::Used(session, used));
                told = used;
            }
        }
    }
}

impl Service for Room {
    type Ask = Ask;
    type Tell = Tell;

    async fn answer(self: Arc<Self>, ask: Ask) -> Reply {
        let inference = &self.inference;
        match ask {
            Ask::Ready => Reply::new(&()),
            Ask::List => Reply::new(&inference.models()),
            Ask::Offer(offer) => self.offer(offer).await,
            Ask::Bring(model) => Reply::new(&Bridge::bring(inference, model).await),
            Ask::Open(open) => Reply::new(&Bridge::open(inference, open).await),
            Ask::Prepare(session, task) => {
                Reply::new(&Bridge::prepare(inference, session, *task).await)
            }
            Ask::Submit(session) => Reply::new(&Bridge::submit(inference, session).await),
            Ask::Next(session) => Reply::new(&self.next(session).await),
        }
    }

    fn hear(&self, tell: Tell) {
        match tell {
            Tell::Cancel(session) => self.inference.cancel(session),
            Tell::Close(session) => self.inference.close(session),
            Tell::Remove(name) => ModelHost::remove(&self.inference, &name),
        }
    }
}
