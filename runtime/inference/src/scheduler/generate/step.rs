use std::sync::Arc;
use std::time::Instant;

use emberbox_kernels::attention::Span;

use super::plan::Grant;
use super::{Generator, Rows, Sequence};
use crate::InferenceError;
use crate::api::FinishReason;
use crate::models::load::Text;

impl Generator {
    /// Plans a step and computes it; false when there was nothing to do.
    pub(super) fn step(&mut self) -> bool {
        let (plan, mut grants) = (self.plan(), Vec::new());
        for Grant { age, rows } in &plan {
            let (age, secured) = (*age, self.secure(*age, *rows));
            grants.extend(secured.map(|rows| Grant { age, rows }));
        }
        // Who came later may have taken the blocks of who came first.
        grants.retain(|grant| self.holding(grant.age).is_some_and(|h| h.room() >= grant.rows));
        self.steps += 1;
        self.forward(&grants);
        self.embed(&grants);
        !plan.is_empty()
    }

    /// The rows of all sequences that have some.
    fn forward(&mut self, grants: &[Grant]) {
        let mut rows = Rows::default();
        let mut shares = Vec::new();
        for Grant { age, rows: count } in grants {
            let Some(i) = self.running.iter().position(|s| s.holding.age == *age) else { continue };
            self.running[i].push_rows(*count, &mut rows);
            shares.push((i, *count));
        }
        if shares.is_empty() {
            return;
        }
        let Some(cache) = self.cache.take() else { return };
        let started = Instant::now();
        let (count, wanted) = (rows.tokens.len(), rows.wanted.len());
        let (cache, logits) = self.decoder.forward(cache, rows);
        self.cache = Some(cache);
        let vocabulary = logits.len().checked_div(wanted).unwrap_or(0);
        let mut logits = logits.chunks_exact(vocabulary.max(1));
        let mut ended = Vec::new();
        for (i, count) in shares {
            let sequence = &mut self.running[i];
            sequence.advance(count, &mut self.blocks, &self.secret);
            sequence.stepped = self.steps;
            if sequence.missing() > 0 {
                continue;
            }
            let Some(logits) = logits.next() else { continue };
            self.fair.charge(&Arc::clone(sequence.holding.payer()), 1);
            match advance(sequence, logits, &self.text) {
                Ok(None) => continue,
                Ok(Some(reason)) => sequence.finish(reason),
                Err(error) => sequence.holding.ticket.fail(error),
            }
            ended.push(i);
        }
        self.budget.observe(count, started.elapsed());
        ended.sort_unstable();
        for i in ended.into_iter().rev() {
            // Its blocks can be found by what comes after it.
            let sequence = self.running.remove(i);
            self.blocks.give(sequence.holding.blocks);
        }
    }

    /// The rows of all texts that have some.
    fn embed(&mut self, grants: &[Grant]) {
        let mut rows = Rows::default();
        let mut shares = Vec::new();
        for Grant { age, rows: count } in grants {
            let Some(i) = self.texts.iter().position(|t| t.holding.age == *age) else { continue };
            self.texts[i].push_rows(*count, &mut rows);
            shares.push((i, *count));
        }
        if shares.is_empty() {
            return;
        }
        let Some(cache) = self.cache.take() else { return };
        let started = Instant::now();
        let count = rows.tokens.len();
        let (cache, states) = self.decoder.states(cache, rows);
        self.cache = Some(cache);
        self.budget.observe(count, started.elapsed());
        let dims = states.len() / count;
        let mut rest = states.as_slice();
        let mut ended = Vec::new();
        for (i, count) in shares {
            let (states, more) = rest.split_at(count * dims);
            rest = more;
            let texts = &mut self.texts[i];
            let done = texts.take(count, states);
            if texts.holding.computed == 0 {
                self.blocks.give(texts.holding.blocks.drain(..));
            }
            if done {
                ended.push(i);
            }
        }
        ended.sort_unstable();
        ended.into_iter().rev().for_each(|i| drop(self.texts.remove(i)));
    }
}

impl Sequence {
    /// Adds its next rows; the logits of the last of its tokens are wanted.
    fn push_rows(&self, count: usize, rows: &mut Rows) {
        let position = self.holding.computed;
        let end = position + count;
        rows.tokens.extend(&self.tokens[position..end]);
        rows.spans.push(Span { position, rows: count, blocks: self.holding.blocks.clone() });
        if end == self.tokens.len() {
            rows.wanted.push(rows.tokens.len() as u32 - 1);
        }
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
        sequence.holding.ticket.emit(event);
    }
    let full = sequence.full().then_some(FinishReason::Length);
    Ok(chosen.end.or(full))
}
