use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};

use emberbox_kernels::pool::Pool;
use tokio::sync::oneshot;

use super::chain::Secret;
use super::encode::Reader;
use super::generate::{Generator, Parts};
use super::graph::Runner;
use super::inbox::{Inbox, Limits, Queued, Status};
use super::lock;
use super::prepare::{Prepared, prepare};
use super::session::{Job, Session};
use crate::api::{ModelInfo, Task};
use crate::models::load::{Checked, Network, Text};
use crate::models::place::Place;
use crate::{InferenceError, InferenceOptions};

/// All open sessions of an engine.
pub(crate) type Sessions = Mutex<HashMap<u64, Arc<Session>>>;

/// A loaded model. Its threads end with it.
pub(crate) struct Model {
    info: ModelInfo,
    text: Arc<Text>,
    options: Arc<InferenceOptions>,
    inbox: Arc<Inbox<Job>>,
    texts: SyncSender<TextJob>,
    /// Tasks that are prepared or run.
    leases: AtomicUsize,
    /// Its thread panicked.
    dead: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        (place, pool): (&Place, Arc<Pool>),
    ) -> Result<Arc<Self>, InferenceError> {
        let (mut info, text, network) =
            checked.build(options.kv_tokens_max, options.kv_storage.into(), place)?;
        info.context_length = context(&info, &options);
        let text = Arc::new(text);
        let inbox = Arc::new(Inbox::new(Limits::of(&options)));
        let (texts, tasks) = sync_channel(options.queue_max);
        drop(spawn(&format!("text {}", info.name), move || tokenise(&tasks))?);
        let model = Arc::new(Self {
            info,
            text,
            options,
            inbox,
            texts,
            leases: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let body = model.worker(network);
        let (watched, sessions) = (Arc::downgrade(&model), Arc::downgrade(sessions));
        let inbox = Arc::clone(&model.inbox);
        let thread = spawn(&format!("model {}", model.info.name), move || {
            let _pool = Pool::enter(pool);
            if catch_unwind(AssertUnwindSafe(body)).is_err() {
                inbox.end(Status::Dead);
                fail_all(&watched, &sessions);
            }
        })?;
        *lock(&model.thread) = Some(thread);
        Ok(model)
    }

    /// What the model's thread does. It holds no handle to the model, which would keep it alive.
    fn worker(&self, network: Network) -> Box<dyn FnOnce() + Send> {
        let (inbox, options) = (Arc::clone(&self.inbox), Arc::clone(&self.options));
        let (text, secret) = (Arc::clone(&self.text), Secret::new(&self.info.digest));
        match network {
            Network::Decoder(decoder) => {
                let parts = Parts { text, inbox, options, secret };
                Box::new(move || Generator::new(*decoder, parts).run())
            }
            Network::Graph(model) => Box::new(move || Runner::new(model, inbox, options).run()),
            Network::Encoder(encoder) => {
                Box::new(move || Reader::new((*encoder, text), inbox, options).run())
            }
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
        self.info.context_length as usize
    }

    /// Counts a task that uses it.
    pub(crate) fn lend(&self) {
        self.leases.fetch_add(1, Ordering::AcqRel);
    }

    /// One task less; true when it was the last.
    pub(crate) fn give_back(&self) -> bool {
        self.leases.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether no task uses it.
    pub(crate) fn idle(&self) -> bool {
        self.leases.load(Ordering::Acquire) == 0
    }

    /// Whether its thread panicked.
    pub(crate) fn dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
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

    /// Ends the model's thread and waits until its weights are gone.
    pub(crate) fn unload(self: Arc<Self>) {
        self.stop();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(model = self.info.name, "the model's thread did not end well");
        }
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
        let payer = Arc::clone(job.ticket.payer());
        self.inbox.push(Queued { job, payer, tokens }).map_err(|(job, error)| {
            job.ticket.retract(job.prepared);
            error
        })
    }
}

/// Most tokens of one sequence of a model: its context, as far as the cache goes.
pub(crate) fn context(info: &ModelInfo, options: &InferenceOptions) -> u32 {
    let kv_tokens_max = u32::try_from(options.kv_tokens_max).unwrap_or(u32::MAX);
    info.context_length.min(kv_tokens_max)
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

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, InferenceError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map_err(|source| InferenceError::Io { path: name.to_owned(), source })
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

/// Tells every session with a task that its model's thread died.
fn fail_all(model: &Weak<Model>, sessions: &Weak<Sessions>) {
    let Some(model) = model.upgrade() else { return };
    tracing::error!(model = model.info.name, "the model's thread panicked");
    // Before the sessions hear of it: whoever asks again finds it dead.
    model.dead.store(true, Ordering::Release);
    let Some(sessions) = sessions.upgrade() else { return };
    let all: Vec<_> = lock(&sessions).values().map(Arc::clone).collect();
    all.iter().for_each(|session| session.fail(&model));
}
