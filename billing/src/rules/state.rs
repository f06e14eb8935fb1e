//! What the rules decide with. All of it fits in memory: one entry for each account, open hold,
//! live lot, budget and setting.

mod outbox; // Messages that wait, and their turns.
mod remember; // Documents into their places.
mod touched; // The accounts that a change touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::touched::Touched;
use super::{Change, Ended};
use crate::account::{Account, Asset, Counters};
use crate::calendar::{Day, Period};
use crate::document::{Budget, Lot, Settings};
use crate::error::Refusal;
use crate::hold::HoldTerms;
use crate::ids::{BudgetId, CallId, KeyId, LotId, MessageId, OrgId, PriceVersion};
use crate::ledger::store::{EarningsKey, Loaded};
use crate::message::Message;
use crate::money::Nano;
use crate::order::Platform;
use crate::price::PriceBook;
use crate::quick::QuickMap;
use crate::report::Balance;

/// The state between two operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    accounts: QuickMap<Account, Slot>,
    open: QuickMap<CallId, Arc<HoldTerms>>,
    /// The open holds by when they expire.
    expiry: BTreeSet<(u64, CallId)>,
    books: BTreeMap<PriceVersion, Arc<PriceBook>>,
    lots: QuickMap<LotId, Lot>,
    /// Live lots of each organisation in the order in which they burn.
    lots_of: QuickMap<OrgId, Vec<LotId>>,
    lot_expiry: BTreeSet<(u64, LotId)>,
    budgets: QuickMap<BudgetId, Budget>,
    /// Budgets of an organisation (without a key) and of its keys.
    budgets_of: QuickMap<OrgId, QuickMap<Option<KeyId>, Vec<BudgetId>>>,
    settings: QuickMap<Option<OrgId>, Settings>,
    platform: Platform,
    gateways: QuickMap<String, u64>,
    messages: QuickMap<MessageId, Message>,
    messages_due: BTreeSet<(u64, MessageId)>,
    /// The last month whose books were closed.
    closed: Option<Period>,
    /// What was earned on the days that may not have matured.
    earned: QuickMap<OrgId, BTreeMap<Day, Nano>>,
    last: Last,
    holds_open_max: usize,
}

/// The numbers that were given last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    pub(crate) account: u64,
    pub(crate) transfer: u64,
    pub(crate) entry: u64,
    pub(crate) lot: u64,
    pub(crate) budget: u64,
    pub(crate) at_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u64,
    counters: Counters,
}

impl State {
    /// The state that a store remembers.
    pub(crate) fn of(loaded: Loaded, holds_open_max: usize) -> State {
        let mut state = State { holds_open_max, ..State::default() };
        for (number, account, counters) in loaded.accounts {
            state.last.account = state.last.account.max(number);
            state.accounts.insert(account, Slot { number, counters });
        }
        for book in loaded.books {
            state.books.insert(book.version, Arc::new(book));
        }
        for hold in loaded.holds {
            state.add_hold(Arc::new(hold));
        }
        for document in loaded.documents {
            state.remember(document);
        }
        for (org, day, amount) in loaded.earned {
            state.earned.entry(org).or_default().insert(day, amount);
        }
        state.last.transfer = loaded.last_transfer;
        state.last.entry = loaded.last_entry;
        state.last.lot = loaded.last_lot;
        state.last.budget = loaded.last_budget;
        state.last.at_ms = loaded.last_at_ms;
        state
    }

    /// The numbers that were given last.
    pub(crate) fn last(&self) -> Last {
        self.last
    }

    /// An account's counters; zero where nothing was ever posted.
    pub(crate) fn counters(&self, account: &Account) -> Counters {
        self.accounts.get(account).map(|slot| slot.counters).unwrap_or_default()
    }

    pub(crate) fn account(&self, account: &Account) -> Option<(u64, Counters)> {
        self.accounts.get(account).map(|slot| (slot.number, slot.counters))
    }

    /// All accounts.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (&Account, Counters)> {
        self.accounts.iter().map(|(account, slot)| (account, slot.counters))
    }

    /// An open hold.
    pub(crate) fn hold(&self, call: CallId) -> Option<&Arc<HoldTerms>> {
        self.open.get(&call)
    }

    /// The open holds.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Arc<HoldTerms>> {
        self.open.values()
    }

    /// Whether no further hold may be open.
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= self.holds_open_max
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
        let (expires_at_ms, call) = self.expiry.first()?;
        if *expires_at_ms > at_ms {
            return None;
        }
        self.open.get(call).map(Arc::clone)
    }

    pub(crate) fn lot(&self, lot: LotId) -> Option<&Lot> {
        self.lots.get(&lot)
    }

    /// Live lots in the order in which they burn.
    pub(crate) fn lots_of(&self, org: &OrgId) -> impl Iterator<Item = &Lot> {
        let lots = self.lots_of.get(org);
        lots.into_iter().flatten().filter_map(|lot| self.lots.get(lot))
    }

    /// A lot that has expired by `at_ms` and of which something can go, or nothing is held.
    pub(crate) fn lot_to_expire(&self, at_ms: u64) -> Option<LotId> {
        let expired = self.lot_expiry.iter().take_while(|(expires, _)| *expires <= at_ms);
        expired.map(|(_, lot)| *lot).find(|lot| {
            let counters = self.counters(&Account::Lot(*lot));
            counters.available() > Nano::ZERO || counters.debits_held == Nano::ZERO
        })
    }

    /// A budget.
    pub(crate) fn budget(&self, budget: BudgetId) -> Option<&Budget> {
        self.budgets.get(&budget)
    }

    /// The budgets that count a call with a key: the key's own first.
    pub(crate) fn budgets_for(&self, org: &OrgId, key: &KeyId) -> impl Iterator<Item = &Budget> {
        let levels = self.budgets_of.get(org);
        let own = levels.and_then(|levels| levels.get(&Some(key.clone())));
        let all = levels.and_then(|levels| levels.get(&None));
        let both = own.into_iter().flatten().chain(all.into_iter().flatten());
        both.filter_map(|budget| self.budgets.get(budget))
    }

    /// All budgets of an organisation, by number.
    pub(crate) fn budgets_of(&self, org: &OrgId) -> Vec<&Budget> {
        let levels = self.budgets_of.get(org).into_iter().flat_map(QuickMap::values).flatten();
        let mut budgets: Vec<&Budget> =
            levels.filter_map(|budget| self.budgets.get(budget)).collect();
        budgets.sort_by_key(|budget| budget.budget);
        budgets
    }

    /// What an organisation (or the operator) has set.
    pub(crate) fn settings(&self, org: Option<&OrgId>) -> Option<&Settings> {
        self.settings.get(&org.cloned())
    }

    /// What holds for everybody.
    pub(crate) fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The epoch of a gateway's newest process; 0 where it never registered.
    pub(crate) fn gateway_epoch(&self, gateway: &str) -> u64 {
        self.gateways.get(gateway).copied().unwrap_or(0)
    }

    /// The month whose books are to be closed before anything happens at `at_ms`.
    pub(crate) fn period_to_close(&self, at_ms: u64) -> Option<Period> {
        // A new ledger begins with its first batch.
        let open = match self.closed {
            Some(closed) => closed.next(),
            None if self.last.at_ms == 0 => return None,
            None => Period::of(self.last.at_ms),
        };
        (open.ends_at_ms() <= at_ms).then_some(open)
    }

    /// What of a payable has not matured yet at `at_ms`.
    pub(crate) fn maturing(&self, org: &OrgId, at_ms: u64) -> Nano {
        let first = Day::of(at_ms).number().saturating_sub(self.platform.maturity_days);
        let days = self.earned.get(org);
        let waiting =
            days.into_iter().flat_map(|days| days.range(Day::from_number(first).next()..));
        waiting.fold(Nano::ZERO, |sum, (_, amount)| sum.checked_add(*amount).unwrap_or(Nano::MAX))
    }

    /// What an organisation has.
    pub(crate) fn balance(&self, org: &OrgId) -> Balance {
        let wallet = self.counters(&Account::Wallet(org.clone()));
        let owed = self.owed(org);
        let mut balance = Balance {
            posted: wallet.posted(),
            held: wallet.debits_held,
            available: wallet.available(),
            owed,
        };
        for lot in self.lots_of(org) {
            let counters = self.counters(&Account::Lot(lot.lot));
            let add = |sum: Nano, more: Nano| sum.checked_add(more).unwrap_or(Nano::MAX);
            balance.posted = add(balance.posted, counters.posted());
            balance.held = add(balance.held, counters.debits_held);
            balance.available = add(balance.available, counters.available());
        }
        balance
    }

    /// What an organisation owes.
    pub(crate) fn owed(&self, org: &OrgId) -> Nano {
        let receivable = self.counters(&Account::Receivable(org.clone()));
        receivable
            .debits_posted
            .checked_sub(receivable.credits_posted)
            .filter(|owed| !owed.is_negative())
            .unwrap_or(Nano::ZERO)
    }

    /// The counters of the accounts that a change touches, after it. Refused where one would be
    /// overdrawn or leave its range: the last guard, behind the rules' own words.
    pub(crate) fn project(&self, change: &Change) -> Result<Vec<(Account, Counters)>, Refusal> {
        let mut touched = Touched::default();
        for transfer in &change.transfers {
            let debit = self.slot(&mut touched, &transfer.debit);
            *debit = debit.debited(transfer.amount)?;
            let credit = self.slot(&mut touched, &transfer.credit);
            *credit = credit.credited(transfer.amount)?;
        }
        for (account, amount) in &change.held {
            let debit = self.slot(&mut touched, account);
            *debit = debit.holding(*amount)?;
            let credit = self.slot(&mut touched, &account.clearing());
            *credit = credit.owing(*amount)?;
        }
        let touched = touched.all;
        let overdrawn = touched
            .iter()
            .find(|(account, counters)| account.is_limited() && counters.available().is_negative());
        match overdrawn {
            Some((_, counters)) => Err(Refusal::InsufficientCredits {
                needed: Nano::ZERO,
                available: counters.available(),
            }),
            None => Ok(touched),
        }
    }

    fn slot<'a>(&self, touched: &'a mut Touched, account: &Account) -> &'a mut Counters {
        let at =
            touched.place(account).unwrap_or_else(|| touched.push(account, self.counters(account)));
        &mut touched.all[at].1
    }

    /// Takes a change over, with the counters that [`State::project`] gave for it.
    pub(crate) fn take(&mut self, change: &Change, counters: Vec<(Account, Counters)>) {
        for (account, counters) in counters {
            self.set_counters(account, counters);
        }
        if let Some(hold) = &change.opened {
            self.add_hold(Arc::clone(hold));
        }
        for Ended { terms, .. } in &change.ended {
            // After a late capture the id may be another organisation's.
            if self.open.get(&terms.call).is_some_and(|open| open.org == terms.org) {
                self.open.remove(&terms.call);
                self.expiry.remove(&(terms.expires_at_ms, terms.call));
            }
        }
        for (EarningsKey { org, day, .. }, _, amount) in &change.earnings {
            let day = self.earned.entry(org.clone()).or_default().entry(*day).or_default();
            *day = day.checked_add(*amount).unwrap_or(*day);
        }
        change.documents.iter().cloned().for_each(|document| self.remember(document));
        if let Some(book) = &change.book {
            self.books.insert(book.version, Arc::clone(book));
        }
    }

    fn set_counters(&mut self, account: Account, counters: Counters) {
        if let Some(slot) = self.accounts.get_mut(&account) {
            slot.counters = counters;
            return;
        }
        self.last.account = self.last.account.saturating_add(1);
        let number = self.last.account;
        self.accounts.insert(account, Slot { number, counters });
    }

    /// Notes which numbers a batch has given.
    pub(crate) fn advance(&mut self, transfers: usize, entries: usize) {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.last.transfer = self.last.transfer.saturating_add(wide(transfers));
        self.last.entry = self.last.entry.saturating_add(wide(entries));
    }

    /// Notes the time of a batch.
    pub(crate) fn at(&mut self, at_ms: u64) {
        self.last.at_ms = at_ms;
    }

    fn add_hold(&mut self, hold: Arc<HoldTerms>) {
        self.expiry.insert((hold.expires_at_ms, hold.call));
        self.open.insert(hold.call, hold);
    }

    /// The first invariant that does not hold, in words.
    pub(crate) fn broken(&self) -> Option<String> {
        for asset in [Asset::Credit, Asset::Budget] {
            let sum = |field: fn(&Counters) -> Nano| {
                let counted = self.accounts.iter().filter(|(account, _)| account.asset() == asset);
                counted.map(|(_, slot)| i128::from(field(&slot.counters).as_nano())).sum::<i128>()
            };
            let (debits, credits) = (sum(|c| c.debits_posted), sum(|c| c.credits_posted));
            if debits != credits {
                let name = asset.name();
                return Some(format!(
                    "posted debits of asset `{name}` are {debits} nano, posted credits {credits}"
                ));
            }
            let (debits, credits) = (sum(|c| c.debits_held), sum(|c| c.credits_held));
            if debits != credits {
                return Some(format!("held debits are {debits} nano, held credits {credits}"));
            }
        }
        let open: i128 = self.open.values().map(|hold| i128::from(hold.amount.as_nano())).sum();
        let held = i128::from(self.counters(&Account::Clearing).credits_held.as_nano());
        if open != held {
            return Some(format!("{held} nano are held, open holds are {open}"));
        }
        let overdrawn = self.accounts.iter().find(|(account, slot)| {
            account.is_limited() && slot.counters.available().is_negative()
        });
        overdrawn.map(|(account, _)| format!("{} is overdrawn", account.name()))
    }
}
