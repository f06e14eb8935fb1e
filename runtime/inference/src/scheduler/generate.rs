//! Continuous batching without phases: each sequence catches up with its tokens, one row when it
//! decodes and a chunk when it prefills, all in one forward pass. Source: Yu et al. 2022 (Orca).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use emberbox_kernels::attention::Span;

use super::choice::Choice;
use super::inbox::{Inbox, Status};
use super::prepare::{Generation, Prepared};
use super::session::{Job, Session, Ticket};
use super::states::Texts;
use crate::InferenceError;
use crate::InferenceOptions;
use crate::api::FinishReason;
use crate::models::decoder::{Decoder, Rows};
use crate::models::kv::{Blocks, Cache};
use crate::models::load::Text;

/// How often sessions are looked at for clients that went away, when nothing else happens.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// A generation model's thread.
pub(crate) struct Generator {
    decoder: Decoder,
    text: Arc<Text>,
    inbox: Arc<Inbox<Job>>,
    options: Arc<InferenceOptions>,
    /// `None` only while a forward pass has it.
    cache: Option<Cache>,
    blocks: Blocks,
    running: Vec<Sequence>,
    /// Sequences whose blocks were taken away while their client did not fetch.
    evicted: VecDeque<Sequence>,
    /// What sessions without a task have left in the cache, the oldest first.
    kept: VecDeque<Kept>,
    /// Texts to be embedded, a chunk of the first one between two steps.
    texts: VecDeque<Texts>,
}

struct Sequence {
    ticket: Ticket,
    /// The prompt, then what was produced.
    tokens: Vec<u32>,
    prompt: usize,
    output_max: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    blocks: Vec<u32>,
    choice: Choice,
}

struct Kept {
    session: Arc<Session>,
    tokens: Vec<u32>,
    blocks: Vec<u32>,
}

impl Sequence {
    fn new(ticket: Ticket, task: Generation) -> Self {
        Self {
            ticket,
            prompt: task.prompt.len(),
            tokens: task.prompt,
            output_max: task.output_max,
            computed: 0,
            blocks: Vec::new(),
            choice: task.choice,
        }
    }

    /// Blocks for all it may become. The last token's keys are never needed.
    fn blocks_max(&self) -> usize {
        Blocks::needed(self.prompt + self.output_max - 1)
    }

    fn produced(&self) -> usize {
        self.tokens.len() - self.prompt
    }
}

impl Generator {
    pub(crate) fn new(
        decoder: Decoder,
        text: Arc<Text>,
        inbox: Arc<Inbox<Job>>,
        options: Arc<InferenceOptions>,
    ) -> Self {
        let blocks = Blocks::needed(options.kv_tokens_max);
        Self {
            cache: Some(decoder.cache(blocks)),
            decoder,
            text,
            inbox,
            options,
            blocks: Blocks::new(blocks),
            running: Vec::new(),
            evicted: VecDeque::new(),
            kept: VecDeque::new(),
            texts: VecDeque::new(),
        }
    }

    /// Works until it is stopped.
    pub(crate) fn run(&mut self) {
        while self.inbox.status() == Status::Open {
            self.reap();
            self.admit();
            let embedded = self.embed();
            let (rows, shares) = self.plan();
            if !shares.is_empty() {
                self.step(rows, &shares);
            } else if !embedded {
                let holds = [self.running.len(), self.evicted.len(), self.kept.len()];
                let holds = holds.iter().sum::<usize>() + self.texts.len();
                self.inbox.wait((holds > 0).then_some(REAP_INTERVAL));
            }
        }
    }

    /// Lets go of all that no client waits for.
    fn reap(&mut self) {
        let idle_max = self.options.session_idle_max;
        let wanted = |ticket: &Ticket| !ticket.session().expire(idle_max) && ticket.live();
        for ticket in self.inbox.map(|job| job.ticket.clone()) {
            ticket.session().expire(idle_max);
        }
        self.inbox.retain(|job| job.ticket.live());
        self.evicted.retain(|sequence| wanted(&sequence.ticket));
        let gone: Vec<usize> =
            (0..self.running.len()).rev().filter(|i| !wanted(&self.running[*i].ticket)).collect();
        for i in gone {
            let sequence = self.running.remove(i);
            self.keep(sequence);
        }
        for mut texts in std::mem::take(&mut self.texts) {
            if wanted(&texts.ticket) {
                self.texts.push_back(texts);
            } else {
                self.blocks.give(texts.blocks().drain(..));
            }
        }
        let kept = std::mem::take(&mut self.kept);
        for kept in kept {
            if kept.session.expire(idle_max) {
                self.blocks.give(kept.blocks);
            } else {
                self.kept.push_back(kept);
            }
        }
    }

    /// Starts waiting tasks in order, as long as all they may need is free.
    fn admit(&mut self) {
        // A text that lacks blocks comes first: others would take those that become free.
        let lacking = self.texts.front().map_or(0, Texts::blocks_missing);
        while lacking <= self.blocks.free() && self.has_place() {
            let sequence = match self.returning() {
                Some(i) => self.evicted.remove(i),
                None => self.waiting(),
            };
            let Some(mut sequence) = sequence else { return };
            if !self.place(&mut sequence) {
                // It goes first when there is room again; it has no blocks until then.
                self.evicted.push_front(sequence);
                return;
            }
            let cached = sequence.computed.min(sequence.prompt);
            sequence.ticket.computed(cached, cached);
            self.running.push(sequence);
        }
    }

    /// The first evicted sequence whose client fetches again.
    fn returning(&self) -> Option<usize> {
        self.evicted.iter().position(|s| s.ticket.room(self.options.stream_events_max))
    }

    /// Whether the batch has a place. When it is full and others wait, a client that does not
    /// fetch loses its own.
    fn has_place(&mut self) -> bool {
        let full = self.running.len() + self.texts.len() >= self.options.batch_max;
        let wanted = self.returning().is_some() || self.inbox.waits();
        !full || (wanted && self.evict())
    }

    /// Takes everything from a running sequence whose client does not fetch; false without one.
    fn evict(&mut self) -> bool {
        let events_max = self.options.stream_events_max;
        let parked = self.running.iter().position(|s| !s.ticket.room(events_max));
        let Some(parked) = parked else { return false };
        let mut sequence = self.running.remove(parked);
        self.blocks.give(sequence.blocks.drain(..));
        sequence.computed = 0;
        self.evicted.push_back(sequence);
        true
    }

    /// The next waiting generation; texts to embed that wait before it are taken on too.
    fn waiting(&mut self) -> Option<Sequence> {
        while self.running.len() + self.texts.len() < self.options.batch_max {
            let Job { ticket, prepared } = self.inbox.pop_if(|_| true)?;
            match prepared {
                Prepared::Generate(task) => return Some(Sequence::new(ticket, *task)),
                Prepared::Embed(texts) => self.texts.push_back(Texts::new(ticket, texts)),
            }
        }
        None
    }

    /// Computes the next chunk of the first text; false when there is none, or no room for it.
    fn embed(&mut self) -> bool {
        let Some(mut texts) = self.texts.pop_front() else { return false };
        let missing = texts.blocks_missing();
        if !self.free(missing) {
            self.texts.push_front(texts);
            return false;
        }
        let taken = self.blocks.take(missing, texts.blocks());
        debug_assert!(taken, "just freed");
        let Some(cache) = self.cache.take() else { return false };
        let rows = texts.chunk(self.options.prefill_tokens_max);
        let count = rows.tokens.len();
        let (cache, states) = self.decoder.states(cache, rows);
        self.cache = Some(cache);
        let done = texts.take(count, &states);
        if texts.within_text() {
            // It stays the first, and so the only one that holds blocks: none can wait for another.
            self.texts.push_front(texts);
            return true;
        }
        self.blocks.give(texts.blocks().drain(..));
        if !done {
            self.texts.push_back(texts);
        }
        true
    }

    /// Gives a sequence its blocks, with what its session left in the cache; false when full.
    fn place(&mut self, sequence: &mut Sequence) -> bool {
        let session = sequence.ticket.session();
        let own = self.kept.iter().position(|kept| Arc::ptr_eq(&kept.session, session));
        let own = own.and_then(|i| self.kept.remove(i));
        let (mut blocks, mut computed) = (Vec::new(), 0);
        if let Some(kept) = own {
            // One token at least must be computed, for its logits.
            let longest = sequence.tokens.len() - 1;
            let pairs = kept.tokens.iter().zip(&sequence.tokens[..longest]);
            computed = pairs.take_while(|(a, b)| a == b).count();
            blocks = kept.blocks;
            self.blocks.give(blocks.drain(Blocks::needed(computed)..));
        }
        let more = sequence.blocks_max() - blocks.len();
        if !self.free(more) {
            self.blocks.give(blocks);
            return false;
        }
        let taken = self.blocks.take(more, &mut blocks);
        debug_assert!(taken, "just freed");
        sequence.blocks = blocks;
        sequence.computed = computed;
        true
    }

    /// Makes so many blocks free: first of idle sessions, then of clients that do not fetch.
    fn free(&mut self, count: usize) -> bool {
        while self.blocks.free() < count {
            if let Some(kept) = self.kept.pop_front() {
                self.blocks.give(kept.blocks);
                continue;
            }
            if !self.evict() {
                return false;
            }
        }
        true
    }

    /// The next forward pass: rows, and which sequence has how many of them.
    fn plan(&self) -> (Rows, Vec<(usize, usize)>) {
        let mut rows = Rows::default();
        let mut shares = Vec::new();
        let mut prefill = self.options.prefill_tokens_max;
        for (i, sequence) in self.running.iter().enumerate() {
            if !sequence.ticket.room(self.options.stream_events_max) {
                continue;
            }
            let missing = sequence.tokens.len() - sequence.computed;
            let count = if missing == 1 { 1 } else { missing.min(prefill) };
            if missing > 1 {
                prefill -= count;
            }
            if count == 0 {
                continue;
            }
            let end = sequence.computed + count;
            rows.tokens.extend(&sequence.tokens[sequence.computed..end]);
            rows.spans.push(Span {
                position: sequence.computed,
                rows: count,
                blocks: sequence.blocks.clone(),
            });
            if end == sequence.tokens.len() {
                rows.wanted.push(rows.tokens.len() as u32 - 1);
            }
            shares.push((i, count));
        }
        (rows, shares)
    }

    fn step(&mut self, rows: Rows, shares: &[(usize, usize)]) {
        let Some(cache) = self.cache.take() else { return };
        let wanted = rows.wanted.len();
        let (cache, logits) = self.decoder.forward(cache, rows);
        self.cache = Some(cache);
        let vocabulary = logits.len().checked_div(wanted).unwrap_or(0);
        let mut logits = logits.chunks_exact(vocabulary.max(1));
        let mut ended = Vec::new();
        for (i, count) in shares {
            let sequence = &mut self.running[*i];
            sequence.computed += count;
            sequence.ticket.computed(sequence.computed.min(sequence.prompt), 0);
            if sequence.computed < sequence.tokens.len() {
                continue;
            }
            let Some(logits) = logits.next() else { continue };
            match advance(sequence, logits, &self.text) {
                Ok(None) => continue,
                Ok(Some(reason)) => {
                    let (last, reason) = sequence.choice.finish(reason);
                    sequence.ticket.finish(last, reason);
                }
                Err(error) => sequence.ticket.fail(error),
            }
            ended.push(*i);
        }
        for i in ended.into_iter().rev() {
            let sequence = self.running.remove(i);
            self.keep(sequence);
        }
    }

    /// Leaves what a sequence computed in the cache for its session's next task.
    fn keep(&mut self, mut sequence: Sequence) {
        let used = Blocks::needed(sequence.computed).min(sequence.blocks.len());
        self.blocks.give(sequence.blocks.drain(used..));
        let session = Arc::clone(sequence.ticket.session());
        if session.closed() {
            self.blocks.give(sequence.blocks);
            return;
        }
        sequence.tokens.truncate(sequence.computed);
        self.kept.push_back(Kept { session, tokens: sequence.tokens, blocks: sequence.blocks });
    }
}

/// Chooses the next token and shows what it brings; says why the sequence ends, if it does.
fn advance(
    sequence: &mut Sequence,
    logits: &[f32],
    text: &Text,
) -> Result<Option<FinishReason>, InferenceError> {
    let Text::Generation { codec, .. } = text else { return Ok(Some(FinishReason::Stop)) };
    let chosen = sequence.choice.next(logits, codec)?;
    sequence.tokens.extend(chosen.token);
    if let Some(event) = chosen.event {
        sequence.ticket.emit(event);
    }
    let full = sequence.produced() == sequence.output_max;
    Ok(chosen.end.or(full.then_some(FinishReason::Length)))
}
