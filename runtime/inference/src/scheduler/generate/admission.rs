use std::sync::Arc;

use super::{Generator, Holding, Sequence};
use crate::models::kv::Blocks;
use crate::scheduler::prepare::Prepared;
use crate::scheduler::session::Job;
use crate::scheduler::states::Texts;

/// How many tasks may start before one that was to come first but did not fit.
const PASSED_MAX: usize = 16;
/// How many payers are tried in one round when nothing fits.
const TRIES_MAX: usize = 8;

/// What came of trying to start a task.
enum Tried {
    Started,
    /// It does not fit. It will go first among its payer's.
    Full,
    /// It does not fit, and has seen enough others start before it.
    Insists,
}

impl Generator {
    /// Starts waiting tasks as long as there is room, payers in the order of what they have had.
    pub(super) fn admit(&mut self) {
        let mut full: Vec<Arc<str>> = Vec::new();
        while full.len() < TRIES_MAX {
            let mut candidates = self.candidates();
            candidates.retain(|payer| !full.contains(payer));
            let Some(payer) = self.fair.next(&candidates) else { break };
            if !self.has_place(&payer) {
                break;
            }
            match self.start(&payer) {
                Tried::Started => self.pass(&full),
                Tried::Full => full.push(payer),
                Tried::Insists => break,
            }
        }
        let queue = &self.queue;
        let sequences = self.running.iter().chain(&self.returning).map(|s| &s.holding);
        let all: Vec<_> = sequences.chain(self.texts.iter().map(|t| &t.holding)).collect();
        let works = |payer: &str| all.iter().any(|holding| **holding.payer() == *payer);
        self.fair.forget(|payer| queue.has(payer) || works(payer));
    }

    /// Payers of whom something could start.
    fn candidates(&self) -> Vec<Arc<str>> {
        let returning = self.returning.iter().map(|sequence| &sequence.holding);
        let returning = returning.filter(|holding| self.fetches(holding)).map(Holding::payer);
        let mut all: Vec<_> = returning.chain(self.queue.payers()).map(Arc::clone).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Somebody was started before those.
    fn pass(&mut self, full: &[Arc<str>]) {
        for payer in full {
            let first = self.first_returning(payer).map(|i| &mut self.returning[i]);
            first.into_iter().for_each(|sequence| sequence.passed += 1);
        }
    }

    /// The oldest of a payer's sequences that could go on.
    fn first_returning(&self, payer: &str) -> Option<usize> {
        let own = |sequence: &&Sequence| {
            **sequence.holding.payer() == *payer && self.fetches(&sequence.holding)
        };
        let oldest = self.returning.iter().filter(own).map(|sequence| sequence.holding.age).min();
        self.returning.iter().position(|sequence| Some(sequence.holding.age) == oldest)
    }

    fn start(&mut self, payer: &Arc<str>) -> Tried {
        let sequence = match self.first_returning(payer) {
            Some(i) => Some(self.returning.remove(i)),
            None => self.waiting(payer),
        };
        // Without a sequence it was an embedding task, which has its place now.
        let Some(mut sequence) = sequence else { return Tried::Started };
        if !self.make_room(&mut sequence) {
            let insists = sequence.passed >= PASSED_MAX;
            self.returning.push(sequence);
            return if insists { Tried::Insists } else { Tried::Full };
        }
        sequence.passed = 0;
        let uncached = sequence.start(&mut self.blocks, &self.secret);
        self.fair.charge(payer, uncached);
        self.running.push(sequence);
        Tried::Started
    }

    /// A payer's first waiting task: a sequence, or an embedding task that is taken on here.
    fn waiting(&mut self, payer: &Arc<str>) -> Option<Sequence> {
        let Job { ticket, prepared } = self.queue.pop(payer)?;
        self.last_age += 1;
        let holding = Holding::new(ticket, self.last_age);
        match prepared {
            Prepared::Generate(task) => Some(Sequence::new(holding, *task, &self.secret)),
            Prepared::Embed(texts) => {
                self.fair.charge(payer, texts.iter().map(Vec::len).sum());
                self.texts.push(Texts::new(holding, texts));
                None
            }
            // Of other kinds of models.
            Prepared::Read(_) | Prepared::Graph(_) => None,
        }
    }

    /// Whether a sequence's tokens fit into the cache beside the others, each of which may need one
    /// more block soon. Clients that do not fetch lose theirs for it.
    fn make_room(&mut self, sequence: &mut Sequence) -> bool {
        loop {
            let needed = Blocks::needed(sequence.tokens.len());
            let (found, idle) = self.blocks.cached(sequence.keys(&self.secret));
            let others = self.running.len() + self.texts.len();
            if needed - found + others <= self.blocks.free() - idle {
                return true;
            }
            if !self.unload_parked() {
                // Alone it always fits: no prompt is longer than the cache.
                return others == 0;
            }
        }
    }
}
