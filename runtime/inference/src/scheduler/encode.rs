use std::sync::Arc;
use std::time::Instant;

use super::fair::Fair;
use super::inbox::Inbox;
use super::prepare::Prepared;
use super::queue::Queue;
use super::session::{Fate, Job, Ticket};
use crate::InferenceOptions;
use crate::api::{Answer, Event, FinishReason, Part, Usage};
use crate::models::config::Purpose;
use crate::models::encoder::{Encoded, Encoder};
use crate::models::load::Text;

/// Tokens of one pass: enough to use the caches well, few enough to notice a cancellation soon.
const TOKENS_A_PASS: usize = 512;

/// An encoder's thread.
pub(crate) struct Reader {
    encoder: Encoder,
    text: Arc<Text>,
    queue: Queue,
    fair: Fair,
    options: Arc<InferenceOptions>,
    running: Vec<Running>,
}

struct Running {
    ticket: Ticket,
    reading: Reading,
    answers: Vec<Vec<f32>>,
    tokens: usize,
}

impl Running {
    /// The text to do after `taken` others of this pass.
    fn next(&self, taken: usize) -> Option<&Encoded> {
        self.reading.texts.get(self.answers.len() + taken)
    }
}

impl Reader {
    pub(crate) fn new(
        (encoder, text): (Encoder, Arc<Text>),
        inbox: Arc<Inbox<Job>>,
        options: Arc<InferenceOptions>,
    ) -> Self {
        let (queue, fair) = (Queue::new(inbox), Fair::default());
        Self { encoder, text, queue, fair, options, running: Vec::new() }
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
            if let Prepared::Read(reading) = prepared {
                self.running.push(Running { ticket, reading, answers: Vec::new(), tokens: 0 });
            }
        }
        let (queue, running) = (&self.queue, &self.running);
        let runs = |payer: &str| running.iter().any(|running| **running.ticket.payer() == *payer);
        self.fair.forget(|payer| queue.has(payer) || runs(payer));
    }

    /// The texts of the next forward pass and whose they are: one of each task in turn, until the
    /// pass is full.
    fn batch(&self) -> Vec<(usize, &Encoded)> {
        let mut batch: Vec<(usize, &Encoded)> = Vec::new();
        let mut tokens = 0;
        for round in 0.. {
            let all = self.running.iter().enumerate();
            let texts: Vec<_> = all.filter_map(|(i, r)| Some((i, r.next(round)?))).collect();
            let whole = texts.len();
            let fits = |(_, text): &(usize, &Encoded)| {
                let fits = tokens == 0 || tokens + text.ids.len() <= TOKENS_A_PASS;
                tokens += text.ids.len() * usize::from(fits);
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
        let texts: Vec<&Encoded> = batch.iter().map(|(_, text)| *text).collect();
        let answers = self.encoder.answer(&texts);
        let owners: Vec<(usize, usize)> =
            batch.iter().map(|(i, text)| (*i, text.ids.len())).collect();
        for ((owner, len), answer) in owners.into_iter().zip(answers) {
            let running = &mut self.running[owner];
            running.answers.push(answer);
            running.tokens += len;
            running.ticket.computed(running.tokens, 0);
        }
        let text = &self.text;
        self.running.retain_mut(|running| {
            let done = running.answers.len() == running.reading.texts.len();
            if done {
                let answer = answer(text, &running.reading, &running.answers);
                let event = Event::Answer { answer, usage: Usage::default() };
                running.ticket.finish(vec![event], FinishReason::Stop);
            }
            !done
        });
        // Whose text did not fit gets the first place in its turn.
        if !self.running.is_empty() {
            self.running.rotate_left(1);
        }
    }
}

/// Texts that are to be read together.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) texts: Vec<Encoded>,
    /// What each row of an answer about tokens is about: for each text, each token's part.
    pub(crate) parts: Vec<Vec<Option<Part>>>,
}

fn answer(text: &Text, reading: &Reading, answers: &[Vec<f32>]) -> Answer {
    let Text::Encoder(text) = text else { return vectors(answers) };
    match &text.purpose {
        Purpose::Embed { .. } => vectors(answers),
        Purpose::Compare { .. } => Answer::Scores { data: bytes(answers.iter().flatten()) },
        Purpose::Classify { labels, .. } => {
            let parts = reading.parts.iter().flatten().flatten().copied().collect();
            Answer::Classes { labels: labels.clone(), parts, data: bytes(answers.iter().flatten()) }
        }
        Purpose::ClassifyTokens { labels } => {
            // Tokens that the tokenizer has added are nobody's.
            let rows = answers.iter().flat_map(|rows| rows.chunks_exact(labels.len()));
            let named = reading.parts.iter().flatten().zip(rows);
            let kept: Vec<(Part, &[f32])> =
                named.filter_map(|(p, row)| Some(((*p)?, row))).collect();
            Answer::Classes {
                labels: labels.clone(),
                parts: kept.iter().map(|(part, _)| *part).collect(),
                data: bytes(kept.iter().flat_map(|(_, row)| row.iter())),
            }
        }
    }
}

/// All vectors of a task.
pub(super) fn vectors(vectors: &[Vec<f32>]) -> Answer {
    Answer::Embeddings {
        rows: vectors.len() as u32,
        dims: vectors.first().map_or(0, |vector| vector.len() as u32),
        data: bytes(vectors.iter().flatten()),
    }
}

fn bytes<'a>(values: impl Iterator<Item = &'a f32>) -> Vec<u8> {
    values.flat_map(|value| value.to_le_bytes()).collect()
}
