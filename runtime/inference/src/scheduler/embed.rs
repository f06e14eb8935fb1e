use std::sync::Arc;
use std::time::Instant;

use super::fair::Fair;
use super::inbox::Inbox;
use super::prepare::Prepared;
use super::queue::Queue;
use super::session::{Fate, Job, Ticket};
use crate::InferenceOptions;
use crate::api::{Answer, Event, FinishReason, Usage};
use crate::models::bert::Bert;

/// Tokens of one pass: enough to use the caches well, few enough to notice a cancellation soon.
const TOKENS_A_PASS: usize = 512;

/// An embedding model's thread.
pub(crate) struct Embedder {
    bert: Bert,
    queue: Queue,
    fair: Fair,
    options: Arc<InferenceOptions>,
    running: Vec<Running>,
}

struct Running {
    ticket: Ticket,
    texts: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
    tokens: usize,
}

impl Running {
    /// The text to do after `taken` others of this pass.
    fn next(&self, taken: usize) -> Option<&[u32]> {
        self.texts.get(self.vectors.len() + taken).map(Vec::as_slice)
    }
}

impl Embedder {
    pub(crate) fn new(bert: Bert, inbox: Arc<Inbox<Job>>, options: Arc<InferenceOptions>) -> Self {
        Self { bert, queue: Queue::new(inbox), fair: Fair::default(), options, running: Vec::new() }
    }

    /// Works until it is stopped.
    pub(crate) fn run(&mut self) {
        while self.queue.open() {
            self.reap(Instant::now());
            self.admit();
            if self.running.is_empty() {
                self.queue.wait(None);
            } else {
                self.pass();
            }
        }
    }

    fn reap(&mut self, now: Instant) {
        let idle_max = self.options.session_idle_max;
        self.queue.refresh(now, idle_max);
        self.running.retain(|running| match running.ticket.fate(now, idle_max) {
            Fate::Wanted => true,
            Fate::Gone => false,
            Fate::Late => {
                running.ticket.finish(Vec::new(), FinishReason::Deadline);
                false
            }
        });
    }

    fn admit(&mut self) {
        while self.running.len() < self.options.batch_max {
            let candidates: Vec<_> = self.queue.payers().map(Arc::clone).collect();
            let Some(payer) = self.fair.next(&candidates) else { break };
            let Some(Job { ticket, prepared }) = self.queue.pop(&payer) else { break };
            self.fair.charge(&payer, prepared.plan().input_tokens as usize);
            if let Prepared::Embed(texts) = prepared {
                self.running.push(Running { ticket, texts, vectors: Vec::new(), tokens: 0 });
            }
        }
        let (queue, running) = (&self.queue, &self.running);
        let runs = |payer: &str| running.iter().any(|running| **running.ticket.payer() == *payer);
        self.fair.forget(|payer| queue.has(payer) || runs(payer));
    }

    /// The texts of the next forward pass and whose they are: one of each task in turn, until the
    /// pass is full.
    fn batch(&self) -> Vec<(usize, &[u32])> {
        let mut batch: Vec<(usize, &[u32])> = Vec::new();
        let mut tokens = 0;
        for round in 0.. {
            let all = self.running.iter().enumerate();
            let texts: Vec<_> = all.filter_map(|(i, r)| Some((i, r.next(round)?))).collect();
            let whole = texts.len();
            let fits = |(_, text): &(usize, &[u32])| {
                let fits = tokens == 0 || tokens + text.len() <= TOKENS_A_PASS;
                tokens += text.len() * usize::from(fits);
                fits
            };
            let before = batch.len();
            batch.extend(texts.into_iter().filter(fits));
            // A text that was left out must come before its task's next one, so a round that was
            // not whole is the last.
            if batch.len() - before < whole || whole == 0 {
                break;
            }
        }
        batch
    }

    fn pass(&mut self) {
        let batch = self.batch();
        let texts: Vec<&[u32]> = batch.iter().map(|(_, text)| *text).collect();
        let vectors = self.bert.embed(&texts);
        let owners: Vec<(usize, usize)> = batch.iter().map(|(i, text)| (*i, text.len())).collect();
        for ((owner, len), vector) in owners.into_iter().zip(vectors) {
            let running = &mut self.running[owner];
            running.vectors.push(vector);
            running.tokens += len;
            running.ticket.computed(running.tokens, 0);
        }
        self.running.retain_mut(|running| {
            let done = running.vectors.len() == running.texts.len();
            if done {
                deliver(&running.ticket, &running.vectors);
            }
            !done
        });
        // Whose text did not fit gets the first place in its turn.
        if !self.running.is_empty() {
            self.running.rotate_left(1);
        }
    }
}

/// Hands all vectors of a task over, and ends it.
pub(super) fn deliver(ticket: &Ticket, vectors: &[Vec<f32>]) {
    let answer = Answer::Embeddings {
        rows: vectors.len() as u32,
        dims: vectors.first().map_or(0, |vector| vector.len() as u32),
        data: vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let event = Event::Answer { answer, usage: Usage::default() };
    ticket.finish(vec![event], FinishReason::Stop);
}
