use std::cmp::Reverse;
use std::sync::Arc;

use super::Generator;
use crate::scheduler::fair::split;

/// Rows for a task in the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) age: u64,
    pub(super) rows: usize,
}

/// What one payer's tasks could use.
#[derive(Default)]
struct Wishes {
    /// The last step with a row and the age of each decoding sequence.
    decodes: Vec<(u64, u64)>,
    /// The ages of prompts and texts, and how many of their tokens are left.
    prefills: Vec<(u64, usize)>,
}

impl Wishes {
    fn rows(&self) -> usize {
        self.decodes.len() + self.prefills.iter().map(|(_, rows)| rows).sum::<usize>()
    }

    /// Decoding sequences first, those that waited longest before the others; then prompts, the
    /// oldest first. Where the rows are not even enough for all that decode, prompts get a quarter,
    /// or they would never begin.
    fn grant(mut self, mut rows: usize, grants: &mut Vec<Grant>) {
        self.decodes.sort_unstable();
        self.prefills.sort_unstable();
        if rows <= self.decodes.len() && !self.prefills.is_empty() {
            self.decodes.truncate(rows - rows / 4);
        }
        let decodes = self.decodes.into_iter().map(|(_, age)| (age, 1));
        for (age, wanted) in decodes.chain(self.prefills) {
            let given = wanted.min(rows);
            if given > 0 {
                grants.push(Grant { age, rows: given });
            }
            rows -= given;
        }
    }
}

impl Generator {
    /// The rows of the next step, the oldest task first.
    pub(super) fn plan(&self) -> Vec<Grant> {
        let mut payers = self.wishes();
        // Where rows cannot be split, who has had the least gets them.
        payers.sort_by_key(|(payer, _)| Reverse(self.fair.left(payer)));
        let decodes: Vec<usize> = payers.iter().map(|(_, wishes)| wishes.decodes.len()).collect();
        let decoding: usize = decodes.iter().sum();
        let mut rows = decoding + self.budget.prefill(decoding);
        let least = decodes.into_iter().filter(|count| *count > 0).min();
        if let Some(least) = least.filter(|_| payers.len() > 1) {
            rows = rows.min(self.budget.shared(payers.len(), least));
        }
        let demands: Vec<usize> = payers.iter().map(|(_, wishes)| wishes.rows()).collect();
        let mut grants = Vec::new();
        for ((_, wishes), rows) in payers.into_iter().zip(split(rows, &demands)) {
            wishes.grant(rows, &mut grants);
        }
        grants.sort_unstable_by_key(|grant| grant.age);
        grants
    }

    fn wishes(&self) -> Vec<(Arc<str>, Wishes)> {
        let mut payers: Vec<(Arc<str>, Wishes)> = Vec::new();
        let at = |payers: &mut Vec<(Arc<str>, Wishes)>, payer: &Arc<str>| {
            let known = payers.iter().position(|(other, _)| other == payer);
            known.unwrap_or_else(|| {
                payers.push((Arc::clone(payer), Wishes::default()));
                payers.len() - 1
            })
        };
        for sequence in &self.running {
            let holding = &sequence.holding;
            if !self.fetches(holding) {
                continue;
            }
            let i = at(&mut payers, holding.payer());
            match sequence.missing() {
                1 => payers[i].1.decodes.push((sequence.stepped, holding.age)),
                missing => payers[i].1.prefills.push((holding.age, missing)),
            }
        }
        for texts in &self.texts {
            let i = at(&mut payers, texts.holding.payer());
            payers[i].1.prefills.push((texts.holding.age, texts.missing()));
        }
        payers
    }
}
