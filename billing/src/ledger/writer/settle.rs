//! From the commit to the answers: nobody is told what a crash could still take back.
//!
//! The writer hands over what it has committed and goes on with the next batch. A thread of its
//! own syncs, once for all that was handed over meanwhile, and then answers, in order.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::Reply;
use crate::error::BillingError;
use crate::ledger::shared::Shared;
use crate::ledger::store::{Log, StoreFault};
use crate::price::PriceBook;
use crate::report::Report;

/// Batches that wait for the next sync while one is under way. The writer waits where there are
/// more, so that a slow disk makes batches larger and not the queue behind it longer.
const BATCHES_WAITING_MAX: usize = 2;

/// Somebody who is told when a batch is durable.
#[derive(Debug)]
pub(super) enum Waiting {
    /// An answer that must be durable before it is given.
    Answer(oneshot::Sender<Result<Reply, BillingError>>, Result<Reply, BillingError>),
    /// A hold that was answered when it was decided.
    Durable(oneshot::Sender<Result<(), BillingError>>),
    /// A report of a state that has what is not durable yet.
    Report(oneshot::Sender<Result<Report, BillingError>>, Result<Report, BillingError>),
}

impl Waiting {
    fn tell(self) {
        match self {
            Waiting::Answer(reply, answer) => drop(reply.send(answer)),
            Waiting::Durable(durable) => drop(durable.send(Ok(()))),
            Waiting::Report(reply, report) => drop(reply.send(report)),
        }
    }

    /// Tells that nothing came of it, or that nobody knows.
    pub(super) fn fail(self, error: &BillingError) {
        match self {
            Waiting::Answer(reply, _) => drop(reply.send(Err(error.clone()))),
            Waiting::Durable(durable) => drop(durable.send(Err(error.clone()))),
            Waiting::Report(reply, _) => drop(reply.send(Err(error.clone()))),
        }
    }
}

/// Who waits until what was committed so far is durable.
#[derive(Debug)]
pub(super) struct Committed {
    waiting: Vec<Waiting>,
    /// All price books, where there are new ones.
    books: Option<Vec<Arc<PriceBook>>>,
    /// How many batches were committed by then.
    batches: u64,
}

/// Where what was committed goes.
pub(super) struct Settling {
    shared: Arc<Shared>,
    /// Whether commits are not durable by themselves.
    syncs: bool,
    place: Place,
}

enum Place {
    /// Settled when [`Settling::settle`] is called.
    Here(Box<Settler>, Vec<Committed>),
    /// Settled by a thread.
    Thread(SyncSender<Committed>, JoinHandle<()>),
}

/// Syncs and answers.
struct Settler {
    log: Option<Box<dyn Log>>,
    shared: Arc<Shared>,
    synced: u64,
    failed: Option<BillingError>,
}

impl Settling {
    /// Syncs once: what a process left that was killed may be read, but be on no disk yet.
    pub(super) fn start(
        mut log: Option<Box<dyn Log>>,
        shared: &Arc<Shared>,
    ) -> Result<Settling, StoreFault> {
        if let Some(log) = &mut log {
            log.sync().map_err(StoreFault::Unsure)?;
        }
        let syncs = log.is_some();
        let settler = Settler { log, shared: Arc::clone(shared), synced: 0, failed: None };
        let place = Place::Here(Box::new(settler), Vec::new());
        Ok(Settling { shared: Arc::clone(shared), syncs, place })
    }

    /// From now on a thread settles.
    pub(super) fn spawn(self) -> Settling {
        let Settling { shared, syncs, place } = self;
        let Place::Here(settler, committed) = place else {
            return Settling { shared, syncs, place };
        };
        let (sender, queue) = sync_channel(BATCHES_WAITING_MAX);
        let serve = move || (*settler).serve(committed, &queue);
        let place = match spawn(serve) {
            Ok(thread) => Place::Thread(sender, thread),
            Err(error) => {
                drop(shared.stop(format!("no thread can be started: {error}")));
                let failed = shared.stopped();
                let shared = Arc::clone(&shared);
                let settler = Settler { log: None, shared, synced: 0, failed };
                Place::Here(Box::new(settler), Vec::new())
            }
        };
        Settling { shared, syncs, place }
    }

    /// A batch is about to be committed: readers may see it before it is durable.
    pub(super) fn begin(&self) {
        if self.syncs {
            self.shared.begin();
        }
    }

    /// It was not committed.
    pub(super) fn withdraw(&self) {
        if self.syncs {
            self.shared.withdraw();
        }
    }

    /// Hands over who waits for what is committed by now. It waits where too much is unsynced.
    pub(super) fn hand_over(&mut self, mut committed: Committed) {
        committed.batches = self.shared.begun();
        match &mut self.place {
            Place::Here(_, queue) => queue.push(committed),
            Place::Thread(queue, _) => {
                if let Err(unsent) = queue.send(committed) {
                    let error = self.shared.stop("the thread that syncs has ended".to_owned());
                    self.shared.doubt(&error);
                    unsent.0.fail(&error);
                }
            }
        }
    }

    /// Syncs and answers, where no thread does.
    pub(super) fn settle(&mut self) {
        if let Place::Here(settler, committed) = &mut self.place {
            settler.settle(std::mem::take(committed));
        }
    }

    /// Waits until everybody has an answer.
    pub(super) fn finish(mut self) {
        self.settle();
        if let Place::Thread(queue, thread) = self.place {
            drop(queue);
            if thread.join().is_err() {
                tracing::error!("the thread that syncs the ledger has died");
            }
        }
    }
}

fn spawn(serve: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("ledger-sync".to_owned()).spawn(serve)
}

impl Settler {
    fn serve(mut self, first: Vec<Committed>, queue: &Receiver<Committed>) {
        self.settle(first);
        while let Ok(committed) = queue.recv() {
            let mut all = vec![committed];
            all.extend(queue.try_iter());
            self.settle(all);
        }
    }

    /// One sync for all of them, where any has something new.
    fn settle(&mut self, all: Vec<Committed>) {
        let batches = all.iter().map(|committed| committed.batches).max().unwrap_or(0);
        if batches > self.synced && self.failed.is_none() {
            self.sync(batches);
        }
        for committed in all {
            match &self.failed {
                Some(error) if committed.batches > self.synced => committed.fail(error),
                _ => committed.tell(&self.shared),
            }
        }
    }

    fn sync(&mut self, batches: u64) {
        match self.log.as_mut().map_or(Ok(()), |log| log.sync()) {
            Ok(()) => {
                self.synced = batches;
                self.shared.synced(batches);
            }
            Err(error) => {
                let error = self.shared.stop(format!("the store failed: {error}"));
                self.shared.doubt(&error);
                self.failed = Some(error);
            }
        }
    }
}

impl Committed {
    pub(super) fn new(waiting: Vec<Waiting>, books: Option<Vec<Arc<PriceBook>>>) -> Committed {
        Committed { waiting, books, batches: 0 }
    }

    fn tell(self, shared: &Shared) {
        if let Some(books) = self.books {
            shared.publish(books);
        }
        self.waiting.into_iter().for_each(Waiting::tell);
    }

    fn fail(self, error: &BillingError) {
        self.waiting.into_iter().for_each(|waiting| waiting.fail(error));
    }
}
