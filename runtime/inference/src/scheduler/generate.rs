//! Continuous batching without phases: each sequence catches up with its tokens, one row when it
//! decodes and a chunk when it prefills, all in one forward pass. Source: Yu et al. 2022 (Orca).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::chain::Secret;
use super::fair::Fair;
use super::inbox::Inbox;
use super::queue::Queue;
use super::session::{Fate, Job};
use super::states::Texts;
use crate::InferenceOptions;
use crate::api::FinishReason;
pub(super) use crate::models::decoder::{Decoder, Rows};
use crate::models::kv::{Blocks, Cache};
use crate::models::load::Text;

pub(super) use self::sequence::Holding;
use self::sequence::Sequence;

/// Who starts, and with what.
mod admission;
/// Who gets how many rows of the next step.
mod plan;
/// Who gives blocks and places up.
mod preemption;
/// One running sequence.
mod sequence;
/// One forward pass.
mod step;

/// How often sessions are looked at for clients that went away, when nothing else happens.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// A generation model's thread.
///
/// Whatever it does, the oldest sequence whose client fetches gets every block that it needs, so
/// there is always one that comes to its end.
pub(crate) struct Generator {
    decoder: Decoder,
    text: Arc<Text>,
    options: Arc<InferenceOptions>,
    secret: Secret,
    queue: Queue,
    fair: Fair,
    budget: Budget,
    /// `None` only while a forward pass has it.
    cache: Option<Cache>,
    blocks: Blocks,
    running: Vec<Sequence>,
    /// Embedding tasks that have a place.
    texts: Vec<Texts>,
    /// Sequences that lost their blocks, or have not had any: they wait to go on.
    returning: Vec<Sequence>,
    steps: u64,
    last_age: u64,
}

/// What a generator works with.
pub(crate) struct Parts {
    pub(crate) text: Arc<Text>,
    pub(crate) inbox: Arc<Inbox<Job>>,
    pub(crate) options: Arc<InferenceOptions>,
    pub(crate) secret: Secret,
}

impl Generator {
    pub(crate) fn new(decoder: Decoder, parts: Parts) -> Self {
        let Parts { text, inbox, options, secret } = parts;
        let blocks = Blocks::needed(options.kv_tokens_max);
        Self {
            cache: Some(decoder.cache(blocks)),
            decoder,
            text,
            secret,
            queue: Queue::new(inbox),
            fair: Fair::default(),
            budget: Budget::new(options.inter_token_target, options.prefill_tokens_max),
            options,
            blocks: Blocks::new(blocks),
            running: Vec::new(),
            texts: Vec::new(),
            returning: Vec::new(),
            steps: 0,
            last_age: 0,
        }
    }

    /// Works until it is stopped.
    pub(crate) fn run(&mut self) {
        while self.queue.open() {
            let now = Instant::now();
            if !self.turn(now) {
                self.queue.wait(self.patience(now));
            }
        }
    }

    /// One round; false when there was nothing to compute.
    fn turn(&mut self, now: Instant) -> bool {
        self.queue.refresh(now, self.options.session_idle_max);
        self.reap(now);
        self.admit();
        self.step()
    }

    /// Lets go of all that no client waits for, or waits for no longer.
    fn reap(&mut self, now: Instant) {
        let idle_max = self.options.session_idle_max;
        let blocks = &mut self.blocks;
        let mut wanted = |holding: &mut Holding| {
            let fate = holding.ticket.fate(now, idle_max);
            if fate != Fate::Wanted {
                blocks.give(holding.blocks.drain(..));
            }
            fate
        };
        let mut stays = |sequence: &mut Sequence| {
            let fate = wanted(&mut sequence.holding);
            if fate == Fate::Late {
                sequence.finish(FinishReason::Deadline);
            }
            fate == Fate::Wanted
        };
        self.running.retain_mut(&mut stays);
        self.returning.retain_mut(&mut stays);
        self.texts.retain_mut(|texts| {
            let fate = wanted(&mut texts.holding);
            if fate == Fate::Late {
                texts.holding.ticket.finish(Vec::new(), FinishReason::Deadline);
            }
            fate == Fate::Wanted
        });
    }

    /// How long to sleep when there is nothing to compute: for good only when nothing is here.
    fn patience(&self, now: Instant) -> Option<Duration> {
        let parked = self.running.iter().chain(&self.returning);
        let deadlines = parked.filter_map(|sequence| sequence.holding.ticket.deadline());
        let first = deadlines.chain(self.queue.deadline()).min();
        let first = first.map(|at| at.saturating_duration_since(now));
        let here = self.running.len() + self.returning.len() + self.texts.len();
        match (here == 0 && self.queue.is_empty(), first) {
            (true, _) => None,
            (false, first) => Some(first.unwrap_or(REAP_INTERVAL).min(REAP_INTERVAL)),
        }
    }

    /// All that may hold blocks.
    fn holdings(&self) -> impl Iterator<Item = &Holding> {
        let sequences = self.running.iter().map(|sequence| &sequence.holding);
        sequences.chain(self.texts.iter().map(|texts| &texts.holding))
    }

    fn holding(&mut self, age: u64) -> Option<&mut Holding> {
        let sequences = self.running.iter_mut().map(|sequence| &mut sequence.holding);
        let mut all = sequences.chain(self.texts.iter_mut().map(|texts| &mut texts.holding));
        all.find(|holding| holding.age == age)
    }

    /// Whether a client fetches what its sequence makes.
    fn fetches(&self, holding: &Holding) -> bool {
        holding.ticket.room(self.options.stream_events_max)
    }
}

#[cfg(test)]
mod tests;
