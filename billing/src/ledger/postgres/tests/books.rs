//! Batches that add up: every account's counters are followed here, as the writer does.

use std::collections::HashMap;
use std::sync::Arc;

use crate::account::{Account, Counters, Purpose, Transfer};
use crate::calendar::Day;
use crate::capture::Ending;
use crate::document::{Document, Lot, Settings};
use crate::error::Refusal;
use crate::hold::{HoldTerms, Pinned, Subject};
use crate::ids::{BudgetId, CallId, KeyId, LotId, OpId, OrgId, PriceVersion};
use crate::ledger::store::{
    AccountChange, Batch, CallEnd, CallRow, EarningsKey, EntryRow, UsageKey,
};
use crate::money::{Nano, Pico};
use crate::order::{Act, Funding, Outcome, Payment, Platform, Scope};
use crate::price::{AuthorPrice, Meter, PriceBook, UsageLine};
use crate::report::{Balance, EntryAct, EntryAnswer, Role, UsageSums};

/// 2026-11-22, in milliseconds since 1970.
pub(super) const START_MS: u64 = 1_795_305_600_000;

pub(super) fn org() -> OrgId {
    OrgId::new("acme")
}

pub(super) fn nano(amount: i64) -> Nano {
    Nano::from_nano(amount)
}

/// What was committed so far.
#[derive(Default)]
pub(super) struct Books {
    accounts: HashMap<Account, (u64, Counters)>,
    at_ms: u64,
    transfer: u64,
    entry: u64,
}

/// A batch in the making.
pub(super) struct Draft<'a> {
    books: &'a mut Books,
    before: HashMap<Account, Option<Counters>>,
    pub(super) batch: Batch,
    usage: HashMap<UsageKey, UsageSums>,
    earned: HashMap<EarningsKey, (i64, i64)>,
}

impl Books {
    pub(super) fn draft(&mut self) -> Draft<'_> {
        self.at_ms = self.at_ms.max(START_MS) + 1;
        let batch =
            Batch { at_ms: self.at_ms, first_transfer: self.transfer + 1, ..Batch::default() };
        let (before, usage, earned) = (HashMap::new(), HashMap::new(), HashMap::new());
        Draft { books: self, before, batch, usage, earned }
    }

    pub(super) fn counters(&self, account: &Account) -> Counters {
        self.accounts.get(account).map(|(_, counters)| *counters).unwrap_or_default()
    }

    /// Prices, documents of some kinds, a payment of a thousand credits, a lot and a budget.
    pub(super) fn beginning(&mut self) -> Batch {
        let mut draft = self.draft();
        let version = PriceVersion(2);
        // What [`usage`] costs is 116: 207 tokens, rounded up once.
        let mut book = PriceBook { version, ..PriceBook::initial() };
        book.default_model.input_token = Pico::ZERO;
        book.default_model.output_token = Pico::from_pico(560);
        book.functions.compute_ms = Pico::ZERO;
        draft.batch.books.push(Arc::new(book));
        draft.batch.documents.push(Document::Platform(Platform::default()));
        let below = Some(nano(5));
        let settings = Settings { org: Some(org()), low_balance: below, ..Settings::default() };
        draft.batch.documents.push(Document::Settings(settings));
        draft.batch.documents.push(Document::Lot(lot(7, false)));
        draft.batch.documents.push(Document::Lot(lot(9, true)));
        draft.enter("pay-1", Some(org()), |draft| {
            let cash = Account::Cash("operator".to_owned());
            let credits = 1_000_000_000_000;
            draft.post(Purpose::TopUp, cash, Account::Wallet(org()), credits);
        });
        draft.enter("grant-1", Some(org()), |draft| {
            draft.post(Purpose::Grant, Account::Promo, Account::Lot(LotId(7)), 1_000);
        });
        draft.enter("budget-1", None, |draft| {
            let budget = Account::Budget(BudgetId(3));
            draft.post(Purpose::BudgetLimit, budget.clearing(), budget, 1_000_000_000);
        });
        draft.finish()
    }
}

pub(super) fn lot(number: u64, expired: bool) -> Lot {
    Lot {
        lot: LotId(number),
        org: org(),
        funding: Funding::Promotional,
        priority: 1,
        expires_at_ms: Some(START_MS * 2),
        scope: Scope::default(),
        granted_at_ms: START_MS,
        note: "welcome".to_owned(),
        expired,
    }
}

/// A function's call: 100 nano-credits of the lot, the rest of the wallet, and a budget.
pub(super) fn terms(call: CallId, amount: i64) -> Arc<HoldTerms> {
    let author =
        AuthorPrice { org: OrgId::new("author"), call_fee: nano(10), compute_markup_bps: 500 };
    let budgets = vec![BudgetId(3)];
    Arc::new(HoldTerms {
        call,
        org: org(),
        key: KeyId::new("key-1"),
        amount: nano(amount),
        price_version: PriceVersion(2),
        subject: Subject::Function {
            owner: "author".to_owned(),
            name: "add \"quotes\" \\ ü".to_owned(),
            version: 4,
        },
        pinned: Arc::new(Pinned { author: Some(author), budgets, ..Pinned::default() }),
        lots: vec![(LotId(7), nano(100))],
        created_at_ms: START_MS,
        expires_at_ms: START_MS + 60_000,
    })
}

/// A model's call with nothing special.
pub(super) fn plain(call: CallId, amount: i64) -> Arc<HoldTerms> {
    let subject = Subject::Model("tiny".to_owned());
    let (pinned, lots) = (Arc::default(), Vec::new());
    Arc::new(HoldTerms { subject, pinned, lots, ..terms(call, amount).as_ref().clone() })
}

impl Draft<'_> {
    fn change(&mut self, account: &Account, change: impl FnOnce(Counters) -> Counters) {
        let known = self.books.accounts.get(account).copied();
        self.before.entry(account.clone()).or_insert(known.map(|(_, counters)| counters));
        let new = (u64::try_from(self.books.accounts.len()).unwrap() + 1, Counters::default());
        let (number, counters) = known.unwrap_or(new);
        self.books.accounts.insert(account.clone(), (number, change(counters)));
    }

    pub(super) fn post(&mut self, purpose: Purpose, debit: Account, credit: Account, amount: i64) {
        let amount = nano(amount);
        self.change(&debit, |counters| counters.debited(amount).unwrap());
        self.change(&credit, |counters| counters.credited(amount).unwrap());
        self.books.transfer += 1;
        self.batch.transfers.push(Transfer { purpose, debit, credit, amount });
    }

    fn set_aside(&mut self, terms: &HoldTerms, sign: i64) {
        let budgets = terms.pinned.budgets.iter();
        let budgets = budgets.map(|budget| (Account::Budget(*budget), terms.amount));
        for (account, amount) in terms.legs().into_iter().chain(budgets) {
            let amount = nano(amount.as_nano() * sign);
            self.change(&account, |counters| counters.holding(amount).unwrap());
            self.change(&account.clearing(), |counters| counters.owing(amount).unwrap());
        }
    }

    pub(super) fn hold(&mut self, terms: &Arc<HoldTerms>) {
        self.set_aside(terms, 1);
        self.batch.opened.push(Arc::clone(terms));
    }

    fn row(&mut self, terms: &HoldTerms, end: CallEnd, transfers: (u64, u64)) {
        let (terms, ended_at_ms) = (terms.clone(), self.batch.at_ms);
        self.batch.calls.push(CallRow { terms, end, ended_at_ms, transfers });
    }

    pub(super) fn end(&mut self, terms: &HoldTerms, end: CallEnd) {
        if matches!(end, CallEnd::Refused(_)) {
            return self.row(terms, end, (0, 0));
        }
        self.set_aside(terms, -1);
        self.batch.closed.push((terms.org.clone(), terms.call));
        self.row(terms, end, (0, 0));
    }

    /// Charges a call 40 for the platform, 25 each for author, model's owner and provider, and
    /// one for rounding: five transfers, and one for each budget. A late one is owed.
    pub(super) fn capture(&mut self, terms: &HoldTerms, late: bool) {
        let first = self.books.transfer + 1;
        let payer = match late {
            true => Account::Receivable(terms.org.clone()),
            false => Account::Wallet(terms.org.clone()),
        };
        let payable = |org: &str| Account::Payable(OrgId::new(org));
        for (purpose, credit, amount) in [
            (Purpose::Platform, Account::Platform, 40),
            (Purpose::Author, payable("author"), 25),
            (Purpose::ModelOwner, payable("owner"), 25),
            (Purpose::Provider, payable("provider"), 25),
            (Purpose::Rounding, Account::Rounding, 1),
        ] {
            self.post(purpose, payer.clone(), credit, amount);
        }
        for budget in &terms.pinned.budgets {
            let budget = Account::Budget(*budget);
            self.post(Purpose::BudgetSpent, budget.clone(), budget.clearing(), 116);
        }
        let count = self.books.transfer + 1 - first;
        if !late {
            self.set_aside(terms, -1);
            self.batch.closed.push((terms.org.clone(), terms.call));
        }
        self.count(terms);
        let amount = nano(116);
        let end = CallEnd::Captured { amount, usage: usage(), ending: Ending::Normal, late };
        self.row(terms, end, (first, count));
    }

    fn count(&mut self, terms: &HoldTerms) {
        let day = Day::of(self.batch.at_ms);
        let (org, key, subject) = (terms.org.clone(), terms.key.clone(), terms.subject.clone());
        let mut row = UsageKey { org, day, key, subject: subject.clone(), model: None };
        row.model = matches!(subject, Subject::Model(_)).then(|| "tiny".to_owned());
        let own = self.usage.entry(row.clone()).or_default();
        own.calls += 1;
        own.cost = nano(own.cost.as_nano() + 116);
        let function = UsageKey { model: None, ..row.clone() };
        self.usage.entry(function).or_default().compute_micros += 77;
        let model =
            self.usage.entry(UsageKey { model: Some("tiny".to_owned()), ..row }).or_default();
        model.input_tokens = model.input_tokens.saturating_add(1_034);
        model.output_tokens = model.output_tokens.saturating_add(207);
        for (org, role) in
            [("author", Role::Author), ("owner", Role::ModelOwner), ("provider", Role::Provider)]
        {
            let (org, subject) = (OrgId::new(org), subject.clone());
            let sum = self.earned.entry(EarningsKey { org, day, role, subject }).or_default();
            *sum = (sum.0 + 1, sum.1 + 25);
        }
    }

    pub(super) fn enter(&mut self, op: &str, org: Option<OrgId>, act: impl FnOnce(&mut Draft<'_>)) {
        let first = self.books.transfer + 1;
        act(self);
        self.books.entry += 1;
        let payment = Payment {
            org: self::org(),
            amount: nano(1),
            rail: "operator".to_owned(),
            reference: None,
            note: "a NUL \0 is no harm".to_owned(),
        };
        self.batch.entries.push(EntryRow {
            number: self.books.entry,
            op: OpId::new(op).unwrap(),
            by: "operator".to_owned(),
            org,
            act: EntryAct::Order(Act::TopUp(payment)),
            digest: [7; 32],
            answer: EntryAnswer::Done(Outcome::Balance(Balance::default())),
            transfers: (first, self.books.transfer + 1 - first),
        });
    }

    pub(super) fn finish(self) -> Batch {
        let Draft { books, before, mut batch, usage, earned } = self;
        for (account, before) in before {
            let (number, after) = books.accounts[&account];
            batch.accounts.push(AccountChange { number, account, before, after });
        }
        batch.accounts.sort_by_key(|change| change.number);
        batch.usage = usage.into_iter().collect();
        let earned = earned.into_iter().map(|(key, (calls, sum))| (key, calls, nano(sum)));
        batch.earnings = earned.collect();
        batch
    }
}

pub(super) fn usage() -> Vec<UsageLine> {
    let tokens = |meter, quantity| UsageLine { model: Some("tiny".to_owned()), meter, quantity };
    let compute = UsageLine { model: None, meter: Meter::ComputeMicros, quantity: 77 };
    vec![compute, tokens(Meter::InputTokens, 1_034), tokens(Meter::OutputTokens, 207)]
}

pub(super) fn refusal() -> CallEnd {
    CallEnd::Refused(Refusal::InsufficientCredits { needed: nano(9), available: nano(8) })
}
