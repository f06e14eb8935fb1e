use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use emberbox_kernels::pool::Pool;
use tokio::sync::oneshot;

use super::embed::Embedder;
use super::generate::Generator;
use super::inbox::{Inbox, Status};
use super::lock;
use super::prepare::{Prepared, prepare};
use super::session::{Job, Session};
use crate::api::{ModelInfo, Task};
use crate::models::load::{Checked, Network, Text};
use crate::{InferenceError, InferenceOptions};

/// All open sessions of an engine.
pub(crate) type Sessions = Mutex<HashMap<u64, Arc<Session>>>;

/// A loaded model. Its threads end with it.
pub(crate) struct Model {
    info: ModelInfo,
    text: Arc<Text>,
    options: Arc<InferenceOptions>,
    context: usize,
    inbox: Arc<Inbox<Job>>,
    texts: SyncSender<TextJob>,
}

/// Something to tokenise, and who asks.
struct TextJob {
    model: Weak<Model>,
    task: Task,
    reply: oneshot::Sender<Result<Prepared, InferenceError>>,
}

impl Model {
    /// Loads the weights and starts the threads.
    pub(crate) fn start(
        checked: Checked,
        options: Arc<InferenceOptions>,
        sessions: &Arc<Sessions>,
        pool: Arc<Pool>,
    ) -> Result<Arc<Self>, InferenceError> {
        let (mut info, text, network) =
            checked.build(options.kv_tokens_max, options.kv_storage.into())?;
        let context = options.kv_tokens_max.min(info.context_length as usize);
        info.context_length = u32::try_from(context).unwrap_or(u32::MAX);
        let text = Arc::new(text);
        let inbox = Arc::new(Inbox::new(options.queue_max, options.queue_tokens_max));
        let (texts, tasks) = sync_channel(options.queue_max);
        spawn(&format!("text {}", info.name), move || tokenise(&tasks))?;
        let model = Arc::new(Self { info, text, options, context, inbox, texts });
        let body = model.worker(network);
        let (watched, sessions) = (Arc::downgrade(&model), Arc::downgrade(sessions));
        let inbox = Arc::clone(&model.inbox);
        spawn(&format!("model {}", model.info.name), move || {
            let _pool = Pool::enter(pool);
            if catch_unwind(AssertUnwindSafe(body)).is_err() {
                inbox.end(Status::Dead);
                fail_all(&watched, &sessions);
            }
        })?;
        Ok(model)
    }

    /// What the model's thread does. It holds no handle to the model, which would keep it alive.
    fn worker(&self, network: Network) -> Box<dyn FnOnce() + Send> {
        let (inbox, options) = (Arc::clone(&self.inbox), Arc::clone(&self.options));
        let text = Arc::clone(&self.text);
        match network {
            Network::Decoder(decoder) => {
                Box::new(move || Generator::new(*decoder, text, inbox, options).run())
            }
            Network::Bert(bert) => Box::new(move || Embedder::new(*bert, inbox, options).run()),
        }
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub(crate) fn text(&self) -> &Text {
        &self.text
    }

    pub(crate) fn options(&self) -> &InferenceOptions {
        &self.options
    }

    /// Most tokens of one sequence.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Lets the model's thread look at its sessions again.
    pub(crate) fn wake(&self) {
        self.inbox.wake();
    }

    /// Makes the model's thread panic, for tests.
    #[cfg(test)]
    pub(crate) fn break_worker(&self) {
        self.inbox.end(Status::Broken);
    }

    /// Ends the model's thread.
    pub(crate) fn stop(&self) {
        self.inbox.end(Status::Stopped);
    }

    /// Tokenises and checks a task on the text thread.
    pub(crate) async fn prepare(self: &Arc<Self>, task: Task) -> Result<Prepared, InferenceError> {
        let (reply, prepared) = oneshot::channel();
        let job = TextJob { model: Arc::downgrade(self), task, reply };
        match self.texts.try_send(job) {
            Ok(()) => prepared.await.map_err(died)?,
            Err(TrySendError::Full(_)) => {
                Err(InferenceError::Overloaded("too many texts wait for the tokenizer"))
            }
            Err(TrySendError::Disconnected(_)) => Err(InferenceError::WorkerDied),
        }
    }

    /// Queues a job.
    pub(crate) fn submit(&self, job: Job) -> Result<(), InferenceError> {
        let plan = job.prepared.plan();
        let tokens = plan.input_tokens as usize + plan.output_tokens_max as usize;
        let session = Arc::clone(job.ticket.session());
        self.inbox.push(job, tokens).map_err(|(job, error)| {
            session.retract(job.prepared);
            error
        })
    }
}

/// The text thread dropped the question: it panicked over it.
fn died(_: oneshot::error::RecvError) -> InferenceError {
    InferenceError::WorkerDied
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), InferenceError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(|source| InferenceError::Io { path: name.to_owned(), source })
}

/// The text thread: one task after the other, until the model is gone.
fn tokenise(tasks: &Receiver<TextJob>) {
    for TextJob { model, task, reply } in tasks {
        let Some(model) = model.upgrade() else { return };
        if reply.is_closed() {
            continue;
        }
        let prepared = catch_unwind(AssertUnwindSafe(|| prepare(&model, task)));
        if let Ok(prepared) = prepared {
            // An error here is a caller that left.
            drop(reply.send(prepared));
        }
    }
}

/// Tells every session of a model that its thread died.
fn fail_all(model: &Weak<Model>, sessions: &Weak<Sessions>) {
    let (Some(model), Some(sessions)) = (model.upgrade(), sessions.upgrade()) else { return };
    tracing::error!(model = model.info.name, "the model's thread panicked");
    let all: Vec<_> = lock(&sessions).values().map(Arc::clone).collect();
    for session in all.iter().filter(|session| Arc::ptr_eq(&session.model, &model)) {
        session.fail();
    }
}
