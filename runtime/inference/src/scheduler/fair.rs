//! Deficit round-robin between payers. Source: Shreedhar and Varghese 1995.
//!
//! Who has the most tokens left in this round is served, may overdraw, and then waits until the
//! rounds have paid for it. Who comes new has a whole round, so it comes before another's backlog.
//! What a payer has used more than others beyond some rounds is forgotten.

use std::cmp::Reverse;
use std::sync::Arc;

/// Tokens that each payer gets in a round.
const QUANTUM: i64 = 512;
/// No payer owes more than this many rounds.
const ROUNDS_OWED_MAX: i64 = 16;

/// How much each payer may still use.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    ring: Vec<Share>,
    /// Whose turn it is.
    at: usize,
}

#[derive(Debug)]
struct Share {
    payer: Arc<str>,
    left: i64,
}

impl Fair {
    /// Who of the candidates is served next.
    pub(crate) fn next(&mut self, candidates: &[Arc<str>]) -> Option<Arc<str>> {
        for payer in candidates {
            self.share(payer);
        }
        let wants = |share: &Share| candidates.contains(&share.payer);
        let left = self.ring.iter().filter(|share| wants(share)).map(|share| share.left).max()?;
        if left <= 0 {
            let rounds = -left / QUANTUM + 1;
            for share in &mut self.ring {
                share.left = (share.left + rounds * QUANTUM).min(QUANTUM);
            }
        }
        // Among equals, who comes after the one that was served last.
        let len = self.ring.len();
        let turn = (self.at + 1..=self.at + len).map(|at| at % len);
        let ready = turn.filter(|at| wants(&self.ring[*at]));
        self.at = ready.rev().max_by_key(|at| self.ring[*at].left)?;
        Some(Arc::clone(&self.ring[self.at].payer))
    }

    /// Notes what was used for a payer.
    pub(crate) fn charge(&mut self, payer: &Arc<str>, tokens: usize) {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        let alone = self.ring.len() <= 1;
        let share = self.share(payer);
        let left = share.left.saturating_sub(tokens).max(-ROUNDS_OWED_MAX * QUANTUM);
        // Nobody is behind because of what was used while nobody else was there.
        share.left = if alone { 0 } else { left };
    }

    /// What a payer may still use in this round; below zero it has had more than its share.
    pub(crate) fn left(&self, payer: &str) -> i64 {
        self.ring.iter().find(|share| *share.payer == *payer).map_or(0, |share| share.left)
    }

    /// Forgets payers that want nothing, once they owe nothing or owe it to nobody.
    pub(crate) fn forget(&mut self, active: impl Fn(&str) -> bool) {
        let others = self.ring.iter().filter(|share| active(&share.payer)).count() > 1;
        let first = self.ring.get(self.at).map(|share| Arc::clone(&share.payer));
        self.ring.retain(|share| active(&share.payer) || (others && share.left < 0));
        let at = self.ring.iter().position(|share| Some(&share.payer) == first.as_ref());
        self.at = at.unwrap_or(0);
    }

    fn share(&mut self, payer: &Arc<str>) -> &mut Share {
        let at = self.ring.iter().position(|share| share.payer == *payer);
        let at = at.unwrap_or_else(|| {
            self.ring.push(Share { payer: Arc::clone(payer), left: QUANTUM });
            self.ring.len() - 1
        });
        &mut self.ring[at]
    }
}

/// Splits `rows` between demands so that nobody gets more than it wants, and nobody less than
/// another who got more: max-min fair. What cannot be split goes to the first.
pub(crate) fn split(rows: usize, demands: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|i| (demands[*i], Reverse(*i)));
    let mut shares = vec![0; demands.len()];
    let mut rest = rows;
    for (done, i) in order.iter().enumerate() {
        let share = rest / (demands.len() - done);
        shares[*i] = demands[*i].min(share);
        rest -= shares[*i];
    }
    shares
}

#[cfg(test)]
mod tests;
