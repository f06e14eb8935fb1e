use std::sync::Arc;
use std::time::Instant;

use super::plan::Grant;
use super::{Generator, Rows, Sequence};
use crate::InferenceError;
use crate::api::FinishReason;
use crate::models::load::Text;

impl Generator {
    /// Plans a step and computes it; false when there was nothing to do.
    pub(super) fn step(&mut self) -> bool {
        let (mut plan, mut grants) = (self.plan(), Vec::new());
        self.speculate(&mut plan);
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

    /// Adds rows for drafts to a step of one payer's decoding sequences, where they pay. Prompts and
    /// other payers have better uses for the time.
    fn speculate(&mut self, plan: &mut [Grant]) {
        if !self.options.speculation || !self.one_payer_decodes(plan) {
            return;
        }
        let worth = self.budget.draft_worth(plan.len());
        for grant in plan {
            let sequence = self.running.iter_mut().find(|s| s.holding.age == grant.age);
            grant.rows += sequence.map_or(0, |sequence| sequence.speculate(worth));
        }
    }

    fn one_payer_decodes(&self, plan: &[Grant]) -> bool {
        let mut payers = plan.iter().map(|grant| {
            let sequence = self.running.iter().find(|s| s.holding.age == grant.age);
            sequence.filter(|s| s.missing() == 1).map(|s| s.holding.payer())
        });
        let Some(Some(first)) = payers.next() else { return false };
        payers.all(|payer| payer == Some(first))
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
            sequence.stepped = self.steps;
            let known = count.min(sequence.missing());
            sequence.advance(known, &mut self.blocks, &self.secret);
            if sequence.missing() > 0 {
                continue;
            }
            let logits: Vec<_> = logits.by_ref().take(count - known + 1).collect();
            if self.extend(i, &logits) {
                ended.push(i);
            }
        }
        self.budget.observe(count, started.elapsed());
        ended.sort_unstable();
        for i in ended.into_iter().rev() {
            // Its blocks can be found by what comes after it.
            let sequence = self.running.remove(i);
            self.blocks.give(sequence.holding.blocks);
        }
    }

    /// Chooses a sequence's next token, and as long as it is what was drafted, the one after it,
    /// whose logits are there then. True when the sequence ended.
    fn extend(&mut self, i: usize, logits: &[&[f32]]) -> bool {
        let sequence = &mut self.running[i];
        let draft = sequence.drafted();
        let mut right = 0;
        for logits in logits {
            self.fair.charge(&Arc::clone(sequence.holding.payer()), 1);
            match choose(sequence, logits, &self.text) {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    sequence.finish(reason);
                    return true;
                }
                Err(error) => {
                    sequence.holding.ticket.fail(error);
                    return true;
                }
            }
            if draft.get(right) != sequence.tokens.last() {
                break;
            }
            right += 1;
            sequence.advance(1, &mut self.blocks, &self.secret);
        }
        sequence.judge(draft.len(), right);
        false
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

/// Chooses the next token and shows what it brings; says why the sequence ends, if it does.
fn choose(
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
