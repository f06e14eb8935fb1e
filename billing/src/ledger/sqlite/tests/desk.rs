//! Makes batches as the writer would, with a book-keeping of its own.

mod everything; // A row of every kind.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::account::{Account, Counters, Purpose, Transfer};
use crate::calendar::Day;
use crate::capture::Ending;
use crate::charge::{Party, price_capture};
use crate::document::Document;
use crate::error::Refusal;
use crate::hold::{HoldTerms, Pinned, Subject};
use crate::ids::{CallId, KeyId, OpId, OrgId, PriceVersion};
use crate::ledger::store::{AccountChange, CallEnd, CallRow, EarningsKey, EntryRow, UsageKey};
use crate::money::Nano;
use crate::operation::digest;
use crate::order::{Act, Outcome, Payment};
use crate::price::{Meter, PriceBook, UsageLine};
use crate::report::{Balance, EntryAct, EntryAnswer, Role};
use crate::rules::quantities;

pub(super) use self::everything::function;

/// 2026-10-26, in the morning.
pub(super) const START_MS: u64 = 1_793_000_000_000;

pub(super) fn acme() -> OrgId {
    OrgId::new("acme")
}

pub(super) fn nano(nano: i64) -> Nano {
    Nano::from_nano(nano)
}

pub(super) fn call_id(number: u128) -> CallId {
    CallId::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + number))
}

/// The terms of a call of the model `tiny` by `acme`.
pub(super) fn terms(number: u128, amount: i64) -> HoldTerms {
    HoldTerms {
        call: call_id(number),
        org: acme(),
        key: KeyId::new("key"),
        amount: nano(amount),
        price_version: PriceVersion(1),
        subject: Subject::Model("tiny".to_owned()),
        pinned: Arc::default(),
        lots: Vec::new(),
        created_at_ms: START_MS,
        expires_at_ms: START_MS + 60_000,
    }
}

pub(super) fn line(model: Option<&str>, meter: Meter, quantity: u64) -> UsageLine {
    UsageLine { model: model.map(str::to_owned), meter, quantity }
}

/// The next batch, and the counters that lead to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    accounts: HashMap<Account, (u64, Counters)>,
    before: HashMap<Account, Option<Counters>>,
    last_transfer: u64,
    last_entry: u64,
    pub(super) at_ms: u64,
    transfers: Vec<Transfer>,
    opened: Vec<Arc<HoldTerms>>,
    closed: Vec<(OrgId, CallId)>,
    calls: Vec<CallRow>,
    entries: Vec<EntryRow>,
    documents: Vec<Document>,
    usage: HashMap<UsageKey, crate::report::UsageSums>,
    earnings: HashMap<EarningsKey, (i64, Nano)>,
}

impl Desk {
    fn touch(&mut self, account: &Account) -> &mut Counters {
        let known = self.accounts.get(account).map(|(_, counters)| *counters);
        self.before.entry(account.clone()).or_insert(known);
        let number = u64::try_from(self.accounts.len()).unwrap() + 1;
        &mut self.accounts.entry(account.clone()).or_insert((number, Counters::default())).1
    }

    pub(super) fn counters(&self, account: &Account) -> Counters {
        self.accounts.get(account).map(|(_, counters)| *counters).unwrap_or_default()
    }

    pub(super) fn post(&mut self, purpose: Purpose, debit: Account, credit: Account, amount: i64) {
        let amount = nano(amount);
        let counters = self.touch(&debit);
        *counters = counters.debited(amount).unwrap();
        let counters = self.touch(&credit);
        *counters = counters.credited(amount).unwrap();
        self.last_transfer += 1;
        self.transfers.push(Transfer { purpose, debit, credit, amount });
    }

    fn set_aside(&mut self, terms: &HoldTerms, sign: i64) {
        let budgets = terms.pinned.budgets.iter();
        let budgets = budgets.map(|budget| (Account::Budget(*budget), terms.amount));
        for (account, amount) in terms.legs().into_iter().chain(budgets) {
            let amount = nano(amount.as_nano() * sign);
            let counters = self.touch(&account);
            *counters = counters.holding(amount).unwrap();
            let counters = self.touch(&account.clearing());
            *counters = counters.owing(amount).unwrap();
        }
    }

    pub(super) fn open(&mut self, terms: &HoldTerms) {
        self.set_aside(terms, 1);
        self.opened.push(Arc::new(terms.clone()));
    }

    /// Ends an open hold without a charge.
    pub(super) fn end(&mut self, terms: &HoldTerms, end: CallEnd) {
        self.set_aside(terms, -1);
        self.closed.push((terms.org.clone(), terms.call));
        self.row(terms, end, (0, 0));
    }

    fn row(&mut self, terms: &HoldTerms, end: CallEnd, transfers: (u64, u64)) {
        let (terms, ended_at_ms) = (terms.clone(), self.at_ms);
        self.calls.push(CallRow { terms, end, ended_at_ms, transfers });
    }

    pub(super) fn refuse(&mut self, terms: &HoldTerms, refusal: Refusal) {
        self.row(terms, CallEnd::Refused(refusal), (0, 0));
    }

    /// Charges a call: from its wallet, or what its organisation owes where it is late.
    pub(super) fn capture(&mut self, terms: &HoldTerms, usage: &[UsageLine], late: bool) {
        let ending = Ending::Normal;
        let charge = price_capture(&PriceBook::initial(), terms, (usage, ending)).unwrap();
        if !late {
            self.set_aside(terms, -1);
            self.closed.push((terms.org.clone(), terms.call));
        }
        let first = self.last_transfer + 1;
        let debit = match late {
            true => Account::Receivable(terms.org.clone()),
            false => Account::Wallet(terms.org.clone()),
        };
        let day = Day::of(self.at_ms);
        for part in &charge.parts {
            let (purpose, credit, earned) = match &part.party {
                Party::Platform => (Purpose::Platform, Account::Platform, None),
                Party::Author(org) => {
                    (Purpose::Author, Account::Payable(org.clone()), Some((Role::Author, org)))
                }
                Party::Provider(org) => {
                    (Purpose::Provider, Account::Payable(org.clone()), Some((Role::Provider, org)))
                }
                Party::Rounding => (Purpose::Rounding, Account::Rounding, None),
                other => panic!("{other:?}"),
            };
            self.post(purpose, debit.clone(), credit, part.amount.as_nano());
            if let Some((role, org)) = earned {
                let subject = terms.subject.clone();
                self.earn((org.clone(), day, role, subject), 1, part.amount);
            }
        }
        if late {
            let wallet = Account::Wallet(terms.org.clone());
            self.post(Purpose::Settlement, wallet, debit, charge.total.as_nano());
        }
        for (model, sums) in quantities(&terms.subject, usage, charge.total) {
            let (org, key) = (terms.org.clone(), terms.key.clone());
            let key = UsageKey { org, day, key, subject: terms.subject.clone(), model };
            let sum = self.usage.entry(key).or_default();
            sum.calls += sums.calls;
            sum.input_tokens += sums.input_tokens;
            sum.output_tokens += sums.output_tokens;
            sum.compute_micros += sums.compute_micros;
            sum.cost = sum.cost.checked_add(sums.cost).unwrap();
        }
        let range = (first, self.last_transfer + 1 - first);
        let usage = usage.to_vec();
        self.row(terms, CallEnd::Captured { amount: charge.total, usage, ending, late }, range);
    }

    fn earn(&mut self, key: (OrgId, Day, Role, Subject), calls: i64, amount: Nano) {
        let (org, day, role, subject) = key;
        let sum = self.earnings.entry(EarningsKey { org, day, role, subject }).or_default();
        *sum = (sum.0 + calls, sum.1.checked_add(amount).unwrap());
    }

    /// An entry that moved the transfers from `first` on.
    pub(super) fn enter(&mut self, op: &str, act: EntryAct, answer: EntryAnswer, first: u64) {
        self.last_entry += 1;
        let count = self.last_transfer + 1 - first;
        let org = match &act {
            EntryAct::Order(act) => act.org().cloned(),
            EntryAct::System(_) => None,
        };
        self.entries.push(EntryRow {
            number: self.last_entry,
            op: OpId::new(op).unwrap(),
            by: "operator".to_owned(),
            org,
            digest: digest(&act).unwrap(),
            act,
            answer,
            transfers: if count == 0 { (0, 0) } else { (first, count) },
        });
    }

    pub(super) fn order(&mut self, op: &str, act: Act, outcome: Outcome, first: u64) {
        self.enter(op, EntryAct::Order(act), EntryAnswer::Done(outcome), first);
    }

    pub(super) fn top_up(&mut self, op: &str, org: &OrgId, amount: i64) {
        let first = self.last_transfer + 1;
        let (cash, wallet) = (Account::Cash("operator".to_owned()), Account::Wallet(org.clone()));
        self.post(Purpose::TopUp, cash, wallet.clone(), amount);
        let payment = Payment {
            org: org.clone(),
            amount: nano(amount),
            rail: "operator".to_owned(),
            reference: None,
            note: "test".to_owned(),
        };
        let posted = self.counters(&wallet).posted();
        let balance = Balance { posted, available: posted, ..Balance::default() };
        self.order(op, Act::TopUp(payment), Outcome::Balance(balance), first);
    }

    /// The batch so far; the next one begins.
    pub(super) fn batch(&mut self) -> Batch {
        let mut accounts: Vec<AccountChange> = std::mem::take(&mut self.before)
            .into_iter()
            .map(|(account, before)| {
                let (number, after) = self.accounts[&account];
                AccountChange { number, account, before, after }
            })
            .collect();
        accounts.sort_by_key(|change| change.number);
        let transfers = std::mem::take(&mut self.transfers);
        let earnings = std::mem::take(&mut self.earnings).into_iter();
        Batch {
            at_ms: self.at_ms,
            accounts,
            first_transfer: self.last_transfer + 1 - u64::try_from(transfers.len()).unwrap(),
            transfers,
            opened: std::mem::take(&mut self.opened),
            closed: std::mem::take(&mut self.closed),
            calls: std::mem::take(&mut self.calls),
            entries: std::mem::take(&mut self.entries),
            documents: std::mem::take(&mut self.documents),
            books: Vec::new(),
            usage: std::mem::take(&mut self.usage).into_iter().collect(),
            earnings: earnings.map(|(key, (calls, amount))| (key, calls, amount)).collect(),
        }
    }

    pub(super) fn commit(&mut self, store: &mut SqliteStore) {
        let batch = self.batch();
        store.commit(&batch).unwrap();
    }
}
