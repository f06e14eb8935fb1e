//! The accounts that a change touches, each once.

use crate::account::{Account, Counters};
use crate::quick::QuickMap;

/// The accounts that a change touches.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) all: Vec<(Account, Counters)>,
    /// Where they are, once there are many: a change that ends all calls of a gateway has
    /// hundreds of thousands.
    places: QuickMap<Account, usize>,
}

impl Touched {
    /// So many are found faster one by one.
    const FEW: usize = 16;

    pub(super) fn place(&self, account: &Account) -> Option<usize> {
        match self.all.len() <= Touched::FEW {
            true => self.all.iter().position(|(known, _)| known == account),
            false => self.places.get(account).copied(),
        }
    }

    pub(super) fn push(&mut self, account: &Account, counters: Counters) -> usize {
        let at = self.all.len();
        self.all.push((account.clone(), counters));
        if at == Touched::FEW {
            let all = self.all.iter().map(|(account, _)| account.clone());
            self.places = all.zip(0..).collect();
        } else if at > Touched::FEW {
            self.places.insert(account.clone(), at);
        }
        at
    }
}
