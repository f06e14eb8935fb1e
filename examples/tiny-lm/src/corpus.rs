//! Batches of training rows, written as they are needed: no row is ever seen twice.

use crate::chat::{chat, row_rng};
use crate::kernels::IGNORE;
use crate::model::Batch;
use crate::tokenizer::{Row, Tokenizer};
use anyhow::Result;
use std::sync::Arc;

/// Seed of the training rows.
pub(crate) const TRAIN_SEED: u64 = 20_26;
/// Seed of the held-out rows; another seed is another corpus.
pub(crate) const HELD_OUT_SEED: u64 = 4_711;

/// An endless corpus.
pub(crate) struct Corpus<'a> {
    tokenizer: &'a Tokenizer,
    seed: u64,
    next: u64,
}

impl<'a> Corpus<'a> {
    /// The corpus with this seed, from its first row.
    pub(crate) fn new(tokenizer: &'a Tokenizer, seed: u64) -> Self {
        Self { tokenizer, seed, next: 0 }
    }

    fn row(&mut self) -> Result<Row> {
        loop {
            let chat = chat(&mut row_rng(self.seed, self.next));
            self.next += 1;
            if let Some(row) = self.tokenizer.row(&chat)? {
                return Ok(row);
            }
        }
    }

    /// Whole rows until there are at least `tokens` tokens.
    ///
    /// # Errors
    /// Fails only on a bug of the tokenizer.
    pub(crate) fn batch(&mut self, tokens: usize) -> Result<Batch> {
        let (mut ids, mut targets, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        while ids.len() < tokens {
            let row = self.row()?;
            lengths.push(row.ids.len());
            ids.extend(row.ids);
            targets.extend(row.targets);
        }
        Ok(Batch { ids, targets: Arc::from(targets), lengths: Arc::from(lengths) })
    }
}

impl Batch {
    /// Tokens whose prediction counts.
    pub(crate) fn counted(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORE).count()
    }
}
