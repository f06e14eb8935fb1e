//! Embeddings by a generation model: a text's vector is the mean of its tokens' states after the
//! last norm, scaled to length one.

use emberbox_kernels::attention::Span;

use super::encode::vectors;
use super::generate::{Holding, Rows};
use crate::api::{Event, FinishReason, Usage};

/// Texts of one task; one of them is being computed, chunk by chunk.
pub(super) struct Texts {
    pub(super) holding: Holding,
    texts: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
    /// Of the text that is being computed: its states' sum.
    sum: Vec<f32>,
    /// Tokens of the texts before it.
    tokens: usize,
}

impl Texts {
    pub(super) fn new(holding: Holding, texts: Vec<Vec<u32>>) -> Self {
        Self { holding, texts, vectors: Vec::new(), sum: Vec::new(), tokens: 0 }
    }

    fn text(&self) -> &[u32] {
        self.texts.get(self.vectors.len()).map_or(&[], Vec::as_slice)
    }

    /// Tokens of its text that are still to be computed.
    pub(super) fn missing(&self) -> usize {
        self.text().len() - self.holding.computed
    }

    /// Adds the next rows of its text; all their states are wanted.
    pub(super) fn push_rows(&self, count: usize, rows: &mut Rows) {
        let position = self.holding.computed;
        let first = rows.tokens.len();
        rows.tokens.extend(&self.text()[position..position + count]);
        rows.wanted.extend((first..first + count).map(|row| row as u32));
        rows.spans.push(Span { position, rows: count, blocks: self.holding.blocks.clone() });
    }

    /// Takes the states of the next `count` rows; true when the task is done and delivered.
    pub(super) fn take(&mut self, count: usize, states: &[f32]) -> bool {
        let dims = states.len() / count.max(1);
        self.sum.resize(dims, 0.0);
        for row in states.chunks_exact(dims.max(1)) {
            self.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        self.holding.computed += count;
        self.holding.ticket.computed(self.tokens + self.holding.computed, 0);
        if self.missing() == 0 {
            let mut vector = std::mem::take(&mut self.sum);
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|value| *value /= norm);
            self.tokens += self.holding.computed;
            self.holding.computed = 0;
            self.vectors.push(vector);
        }
        let done = self.vectors.len() == self.texts.len();
        if done {
            let event = Event::Answer { answer: vectors(&self.vectors), usage: Usage::default() };
            self.holding.ticket.finish(vec![event], FinishReason::Stop);
        }
        done
    }

    /// Begins its text again, without blocks.
    pub(super) fn restart(&mut self) {
        self.holding.computed = 0;
        self.sum.clear();
    }
}
