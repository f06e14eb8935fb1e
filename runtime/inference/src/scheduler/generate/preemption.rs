use std::collections::BTreeMap;

use super::{Generator, Holding};
use crate::models::kv::Blocks;

impl Generator {
    /// Whether the batch has a place for a payer's task. A full batch has one if a client does not
    /// fetch, or if another payer has at least two places more than this one.
    pub(super) fn has_place(&mut self, payer: &str) -> bool {
        let taken = self.running.len() + self.texts.len();
        if taken < self.options.batch_max || self.unload_parked() {
            return true;
        }
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for holding in self.holdings() {
            *places.entry(holding.payer()).or_default() += 1;
        }
        let own = places.get(payer).copied().unwrap_or(0);
        let most = places.into_iter().max_by_key(|(_, count)| *count);
        let Some((most, _)) = most.filter(|(_, count)| *count >= own + 2) else { return false };
        let protected = self.oldest();
        let theirs = self.running.iter().map(|sequence| &sequence.holding);
        let theirs = theirs.filter(|h| **h.payer() == *most && Some(h.age) != protected);
        let newest = theirs.map(|holding| holding.age).max();
        newest.is_some_and(|age| self.preempt(age))
    }

    /// Gets blocks for the next rows of a task, if need be from others; gives how many rows there
    /// are blocks for, or `None` when it lost its own.
    pub(super) fn secure(&mut self, age: u64, rows: usize) -> Option<usize> {
        loop {
            let free = self.blocks.free();
            let holding = self.holding(age)?;
            let needed = Blocks::needed(holding.computed + rows);
            let missing = needed.saturating_sub(holding.blocks.len());
            let mut own = std::mem::take(&mut holding.blocks);
            let taken = self.blocks.take(missing.min(free), &mut own);
            debug_assert!(taken, "not more than are free");
            let holding = self.holding(age)?;
            holding.blocks = own;
            let room = holding.room().min(rows);
            if room > 0 {
                return Some(room);
            }
            if !self.victim().is_some_and(|victim| self.preempt(victim)) {
                return None;
            }
        }
    }

    /// Who gives its blocks up: a client that does not fetch, else the newest of the payer who has
    /// had the most. Never the oldest.
    fn victim(&self) -> Option<u64> {
        let protected = self.oldest();
        let others = self
            .holdings()
            .filter(|holding| !holding.blocks.is_empty() && Some(holding.age) != protected);
        let key = |holding: &&Holding| {
            (self.fetches(holding), self.fair.left(holding.payer()), u64::MAX - holding.age)
        };
        others.min_by_key(key).map(|holding| holding.age)
    }

    /// The task that is never preempted: the oldest whose client fetches.
    fn oldest(&self) -> Option<u64> {
        self.holdings().filter(|holding| self.fetches(holding)).map(|holding| holding.age).min()
    }

    /// Takes everything from a sequence whose client does not fetch; false without one.
    pub(super) fn unload_parked(&mut self) -> bool {
        let parked = self.running.iter().find(|sequence| !self.fetches(&sequence.holding));
        let parked = parked.map(|sequence| sequence.holding.age);
        parked.is_some_and(|age| self.preempt(age))
    }

    /// Takes a task's blocks, and a sequence's place. Its tokens stay: what was computed of them is
    /// computed again, unless it is still found in the cache.
    fn preempt(&mut self, age: u64) -> bool {
        let Some(holding) = self.holding(age) else { return false };
        let blocks = std::mem::take(&mut holding.blocks);
        holding.computed = 0;
        self.blocks.give(blocks);
        if let Some(i) = self.running.iter().position(|s| s.holding.age == age) {
            let sequence = self.running.remove(i);
            self.returning.push(sequence);
        }
        self.texts.iter_mut().filter(|t| t.holding.age == age).for_each(|t| t.restart());
        true
    }
}
