//! What the rules decide with: balances, open holds, price books. All of it fits in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Change, Event};
use crate::account::{Account, Counters};
use crate::hold::HoldTerms;
use crate::ids::{HoldId, PriceVersion};
use crate::money::Nano;
use crate::price::PriceBook;

/// The state between two operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    accounts: HashMap<Account, Counters>,
    open: HashMap<HoldId, Arc<HoldTerms>>,
    /// The open holds by when they expire.
    expiry: BTreeSet<(u64, HoldId)>,
    books: BTreeMap<PriceVersion, Arc<PriceBook>>,
    holds_open_max: usize,
}

impl State {
    /// A state with nothing in it.
    pub(crate) fn new(holds_open_max: usize) -> State {
        State { holds_open_max, ..State::default() }
    }

    /// An account's counters; zero where nothing was ever posted.
    pub(crate) fn counters(&self, account: &Account) -> Counters {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    /// An open hold.
    pub(crate) fn hold(&self, id: HoldId) -> Option<&Arc<HoldTerms>> {
        self.open.get(&id)
    }

    /// How many holds are open.
    pub(crate) fn holds_open(&self) -> usize {
        self.open.len()
    }

    /// How many holds may be open.
    pub(crate) fn holds_open_max(&self) -> usize {
        self.holds_open_max
    }

    /// A price book.
    pub(crate) fn book(&self, version: PriceVersion) -> Option<&Arc<PriceBook>> {
        self.books.get(&version)
    }

    /// All price books, oldest version first.
    pub(crate) fn books(&self) -> Vec<Arc<PriceBook>> {
        self.books.values().map(Arc::clone).collect()
    }

    /// The version of the newest price book.
    pub(crate) fn last_version(&self) -> PriceVersion {
        self.books.keys().next_back().copied().unwrap_or(PriceVersion(0))
    }

    /// The hold that expires next, if it has by `at_ms`. A hold lives while the time is before
    /// its expiry, so a capture in the same millisecond is late.
    pub(crate) fn next_expired(&self, at_ms: u64) -> Option<Arc<HoldTerms>> {
        let (expires_at_ms, id) = self.expiry.first()?;
        if *expires_at_ms > at_ms {
            return None;
        }
        self.open.get(id).map(Arc::clone)
    }

    /// Any open hold.
    pub(crate) fn any_open(&self) -> Option<Arc<HoldTerms>> {
        self.next_expired(u64::MAX)
    }

    /// Sets an account, as read from the store.
    pub(crate) fn set_account(&mut self, account: Account, counters: Counters) {
        self.accounts.insert(account, counters);
    }

    /// Adds an open hold.
    pub(crate) fn add_hold(&mut self, hold: Arc<HoldTerms>) {
        self.expiry.insert((hold.expires_at_ms, hold.id));
        self.open.insert(hold.id, hold);
    }

    /// Adds a price book.
    pub(crate) fn add_book(&mut self, book: Arc<PriceBook>) {
        self.books.insert(book.version, book);
    }

    /// Takes a change over.
    pub(crate) fn commit(&mut self, change: Change) {
        self.accounts.extend(change.balances);
        match change.event {
            Event::Held(hold) => self.add_hold(hold),
            Event::Ended { hold, .. } => {
                self.open.remove(&hold.id);
                self.expiry.remove(&(hold.expires_at_ms, hold.id));
            }
            Event::Priced(book) => self.add_book(book),
            Event::ToppedUp { .. } => {}
        }
    }

    /// The first invariant that does not hold, in words.
    pub(crate) fn broken(&self) -> Option<String> {
        let sum = |field: fn(&Counters) -> Nano| {
            self.accounts
                .values()
                .map(|counters| i128::from(field(counters).as_nano()))
                .sum::<i128>()
        };
        let (debits, credits) = (sum(|c| c.debits_posted), sum(|c| c.credits_posted));
        if debits != credits {
            return Some(format!("posted debits are {debits} nano, posted credits {credits}"));
        }
        let (debits, credits) = (sum(|c| c.debits_held), sum(|c| c.credits_held));
        let open: i128 = self.open.values().map(|hold| i128::from(hold.amount.as_nano())).sum();
        if debits != credits || debits != open {
            return Some(format!(
                "held debits are {debits} nano, held credits {credits}, open holds {open}"
            ));
        }
        let overdrawn = self.accounts.iter().find(|(account, counters)| {
            account.is_limited()
                && counters.balance().is_none_or(|balance| balance.available.is_negative())
        });
        overdrawn.map(|(account, _)| format!("{} is overdrawn", account.name()))
    }
}
