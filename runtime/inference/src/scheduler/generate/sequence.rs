use std::sync::Arc;

use emberbox_kernels::attention::{BLOCK_TOKENS, Span};
use emberbox_sampling::Lookup;

use crate::api::FinishReason;
use crate::models::decoder::Rows;
use crate::models::kv::{Blocks, Key};
use crate::scheduler::chain::Secret;
use crate::scheduler::choice::Choice;
use crate::scheduler::prepare::Generation;
use crate::scheduler::session::Ticket;

/// What a task holds of the cache.
pub(in crate::scheduler) struct Holding {
    pub(in crate::scheduler) ticket: Ticket,
    /// Tasks are numbered as they are taken on; the lower is the older.
    pub(in crate::scheduler) age: u64,
    /// Tokens whose keys and values are in its blocks.
    pub(in crate::scheduler) computed: usize,
    pub(in crate::scheduler) blocks: Vec<u32>,
}

impl Holding {
    pub(super) fn new(ticket: Ticket, age: u64) -> Self {
        Self { ticket, age, computed: 0, blocks: Vec::new() }
    }

    pub(super) fn payer(&self) -> &Arc<str> {
        self.ticket.payer()
    }

    /// Rows that it has blocks for.
    pub(super) fn room(&self) -> usize {
        self.blocks.len() * BLOCK_TOKENS - self.computed
    }
}

/// A generation.
pub(super) struct Sequence {
    pub(super) holding: Holding,
    /// The prompt, then what was produced.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt: usize,
    output_max: usize,
    /// A root, then the keys of its full blocks as far as they were needed.
    chain: Vec<Key>,
    /// Tokens of the prompt that were computed or found, each counted the first time.
    seen: usize,
    /// Those of them that were found.
    found: usize,
    /// Whether it ever had blocks.
    pub(super) started: bool,
    /// The last step in which it had a row.
    pub(super) stepped: u64,
    /// How many were started before it although it was first.
    pub(super) passed: usize,
    pub(super) choice: Choice,
    lookup: Lookup,
    /// What may come after its tokens: rows of the next step that may be in vain.
    draft: Vec<u32>,
}

impl Sequence {
    pub(super) fn new(holding: Holding, task: Generation, secret: &Secret) -> Self {
        Self {
            chain: vec![secret.root(holding.payer())],
            holding,
            prompt: task.prompt.len(),
            tokens: task.prompt,
            output_max: task.output_max,
            seen: 0,
            found: 0,
            started: false,
            stepped: 0,
            passed: 0,
            choice: task.choice,
            lookup: Lookup::default(),
            draft: Vec::new(),
        }
    }

    /// Tokens that are still to be computed: one when it decodes.
    pub(super) fn missing(&self) -> usize {
        self.tokens.len() - self.holding.computed
    }

    /// Whether it has all that was asked for.
    pub(super) fn full(&self) -> bool {
        self.tokens.len() - self.prompt == self.output_max
    }

    /// The keys of the blocks that it could find. The last token must be computed, for its logits.
    pub(super) fn keys(&mut self, secret: &Secret) -> &[Key] {
        let blocks = (self.tokens.len() - 1) / BLOCK_TOKENS;
        secret.extend(&mut self.chain, &self.tokens, blocks);
        &self.chain[1..=blocks]
    }

    /// Shares what is in the cache and takes the other blocks that its tokens need; gives how many
    /// tokens of the prompt are now to be computed for the first time. The blocks must be there.
    pub(super) fn start(&mut self, blocks: &mut Blocks, secret: &Secret) -> usize {
        let mut own = std::mem::take(&mut self.holding.blocks);
        blocks.adopt(self.keys(secret), &mut own);
        let found = own.len() * BLOCK_TOKENS;
        let taken = blocks.take(Blocks::needed(self.tokens.len()) - own.len(), &mut own);
        debug_assert!(taken, "looked at before");
        self.holding.blocks = own;
        self.holding.computed = found;
        let within = found.min(self.prompt);
        self.found += within.saturating_sub(self.seen);
        self.seen = self.seen.max(within);
        self.holding.ticket.computed(self.seen, self.found);
        let first = !std::mem::replace(&mut self.started, true);
        if first { self.prompt - within } else { 0 }
    }

    /// Notes that its next `count` tokens were computed, and names the blocks that became full.
    pub(super) fn advance(&mut self, count: usize, blocks: &mut Blocks, secret: &Secret) {
        let before = self.holding.computed / BLOCK_TOKENS;
        self.holding.computed += count;
        self.seen = self.seen.max(self.holding.computed.min(self.prompt));
        self.holding.ticket.computed(self.seen, self.found);
        let full = self.holding.computed / BLOCK_TOKENS;
        secret.extend(&mut self.chain, &self.tokens, full);
        for i in before..full {
            blocks.name(self.holding.blocks[i], self.chain[i + 1]);
        }
    }

    /// Drafts what may come next, where it is `worth` it; gives how many tokens.
    pub(super) fn speculate(&mut self, worth: f64) -> usize {
        // The step makes one token more than are drafted.
        let most = self.output_max - (self.tokens.len() - self.prompt) - 1;
        self.draft = self.lookup.draft(&self.tokens, most, worth);
        self.draft.len()
    }

    /// Adds its next rows: its tokens', and where there are more, its draft's. From its last token
    /// on all logits are wanted.
    pub(super) fn push_rows(&mut self, count: usize, rows: &mut Rows) {
        let position = self.holding.computed;
        self.draft.truncate(count.saturating_sub(self.missing()));
        let (first, end) = (rows.tokens.len(), position + count);
        rows.tokens.extend(&self.tokens[position..end.min(self.tokens.len())]);
        rows.tokens.extend(&self.draft);
        rows.spans.push(Span { position, rows: count, blocks: self.holding.blocks.clone() });
        let wanted = self.tokens.len() - 1..end;
        rows.wanted.extend(wanted.map(|row| (first + row - position) as u32));
    }

    /// Takes the draft whose rows were computed.
    pub(super) fn drafted(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.draft)
    }

    /// Learns from how many of its drafted tokens were right.
    pub(super) fn judge(&mut self, drafted: usize, right: usize) {
        if drafted > 0 {
            self.lookup.judge(drafted, right);
        }
    }

    /// Shows what still waits, and ends the task.
    pub(super) fn finish(&mut self, reason: FinishReason) {
        let (last, reason) = self.choice.finish(reason);
        self.holding.ticket.finish(last, reason);
    }
}
