use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Queued, Status};
use super::session::{Fate, Job};
use crate::api::FinishReason;

/// Tasks that wait for a model's thread: each payer's in the order in which they came.
pub(crate) struct Queue {
    inbox: Arc<Inbox<Job>>,
    waiting: BTreeMap<Arc<str>, VecDeque<Queued<Job>>>,
}

impl Queue {
    pub(crate) fn new(inbox: Arc<Inbox<Job>>) -> Self {
        Self { inbox, waiting: BTreeMap::new() }
    }

    /// Takes in what has come, and lets go of what nobody waits for.
    pub(crate) fn refresh(&mut self, now: Instant, idle_max: Duration) {
        for queued in self.inbox.drain() {
            self.waiting.entry(Arc::clone(&queued.payer)).or_default().push_back(queued);
        }
        let mut gone = Vec::new();
        for jobs in self.waiting.values_mut() {
            let wanted =
                |queued: &Queued<Job>| queued.job.ticket.fate(now, idle_max) == Fate::Wanted;
            let (stay, go): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(jobs).into_iter().partition(wanted);
            *jobs = stay;
            gone.extend(go);
        }
        self.waiting.retain(|_, jobs| !jobs.is_empty());
        for queued in gone {
            // For one that was cancelled it says nothing any more.
            queued.job.ticket.finish(Vec::new(), FinishReason::Deadline);
            self.inbox.release(queued);
        }
    }

    /// Who has tasks here.
    pub(crate) fn payers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.waiting.keys()
    }

    pub(crate) fn has(&self, payer: &str) -> bool {
        self.waiting.contains_key(payer)
    }

    /// A payer's first task.
    pub(crate) fn pop(&mut self, payer: &str) -> Option<Job> {
        let jobs = self.waiting.get_mut(payer)?;
        let queued = jobs.pop_front()?;
        if jobs.is_empty() {
            self.waiting.remove(payer);
        }
        Some(self.inbox.release(queued))
    }

    /// The first deadline of the tasks here.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().flatten().filter_map(|queued| queued.job.ticket.deadline()).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the thread may go on.
    pub(crate) fn open(&self) -> bool {
        self.inbox.status() == Status::Open
    }

    /// Sleeps until something happens, or for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        self.inbox.wait(limit);
    }
}
