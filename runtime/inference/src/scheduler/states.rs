//! Embeddings by a generation model: a text's vector is the mean of its tokens' states after the
//! last norm, scaled to length one.

use emberbox_kernels::attention::Span;

use super::embed::deliver;
use super::session::Ticket;
use crate::models::decoder::Rows;
use crate::models::kv::Blocks;

/// Texts of one task; one of them is being computed, chunk by chunk.
pub(super) struct Texts {
    pub(super) ticket: Ticket,
    texts: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
    /// Of the text that is being computed: its states' sum, and how many tokens it has of them.
    sum: Vec<f32>,
    computed: usize,
    /// Tokens of all texts so far.
    tokens: usize,
    blocks: Vec<u32>,
}

impl Texts {
    pub(super) fn new(ticket: Ticket, texts: Vec<Vec<u32>>) -> Self {
        let (vectors, sum, blocks) = (Vec::new(), Vec::new(), Vec::new());
        Self { ticket, texts, vectors, sum, computed: 0, tokens: 0, blocks }
    }

    fn text(&self) -> &[u32] {
        self.texts.get(self.vectors.len()).map_or(&[], Vec::as_slice)
    }

    /// Blocks that its text still needs.
    pub(super) fn blocks_missing(&self) -> usize {
        Blocks::needed(self.text().len()).saturating_sub(self.blocks.len())
    }

    /// Where its text's blocks are kept.
    pub(super) fn blocks(&mut self) -> &mut Vec<u32> {
        &mut self.blocks
    }

    /// The next rows of its text, at most so many; all their states are wanted.
    pub(super) fn chunk(&self, rows_max: usize) -> Rows {
        let text = self.text();
        let count = (text.len() - self.computed).min(rows_max);
        Rows {
            tokens: text[self.computed..self.computed + count].to_vec(),
            spans: vec![Span { position: self.computed, rows: count, blocks: self.blocks.clone() }],
            wanted: (0..count as u32).collect(),
        }
    }

    /// Takes the states of a chunk of `count` rows; true when the task is done and delivered.
    pub(super) fn take(&mut self, count: usize, states: &[f32]) -> bool {
        let dims = states.len() / count.max(1);
        self.sum.resize(dims, 0.0);
        for row in states.chunks_exact(dims.max(1)) {
            self.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        self.computed += count;
        self.tokens += count;
        self.ticket.computed(self.tokens, 0);
        if self.computed == self.text().len() {
            let mut vector = std::mem::take(&mut self.sum);
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|value| *value /= norm);
            self.vectors.push(vector);
            self.computed = 0;
        }
        let done = self.vectors.len() == self.texts.len();
        if done {
            deliver(&self.ticket, &self.vectors);
        }
        done
    }

    /// Whether a text is half computed, so that its blocks must stay.
    pub(super) fn within_text(&self) -> bool {
        self.computed > 0
    }
}
