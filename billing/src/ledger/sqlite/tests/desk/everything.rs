//! A row of every kind.

use uuid::Uuid;

use super::*;
use crate::calendar::Period;
use crate::document::{Budget, Gateway, Lot, Refunds, Settings};
use crate::error::Refusal;
use crate::ids::{BudgetId, LotId, MessageId};
use crate::message::Message;
use crate::order::{Funding, Grant, Platform, Scope, SystemAct, Window};
use crate::price::{AuthorPrice, ProviderShare};
use crate::report::{PeriodClose, TrialBalanceRow};

impl Desk {
    /// Commits a row of every kind.
    pub(in crate::ledger::sqlite::tests) fn everything(&mut self, store: &mut SqliteStore) {
        self.at_ms = START_MS;
        self.top_up("top-up-1", &acme(), 50_000_000);
        self.grant_and_limit();
        self.documents.extend(documents());
        self.commit(store);
        let (plain, function) = (terms(1, 60_000), function(2));
        let (voided, expired) = (terms(3, 1_000), terms(4, 20_000));
        let pinned = Pinned { budgets: vec![BudgetId(1)], ..Pinned::default() };
        let open = HoldTerms {
            pinned: Arc::new(pinned),
            lots: vec![(LotId(1), nano(3_000))],
            ..terms(5, 10_000)
        };
        for terms in [&plain, &function, &voided, &expired, &open] {
            self.open(terms);
        }
        self.at_ms += 10;
        self.commit(store);
        self.at_ms += 10;
        let tokens = [
            line(Some("tiny"), Meter::InputTokens, 33),
            line(Some("tiny"), Meter::OutputTokens, 9),
        ];
        self.capture(&plain, &tokens, false);
        let used = [
            line(None, Meter::Calls, 1),
            line(None, Meter::ComputeMicros, 1_507),
            line(Some("other"), Meter::OutputTokens, 5),
        ];
        self.capture(&function, &used, false);
        self.end(&voided, CallEnd::Voided);
        self.end(&expired, CallEnd::Expired);
        let refusal = Refusal::InsufficientCredits { needed: nano(2), available: nano(1) };
        self.refuse(&terms(6, 2), refusal);
        self.commit(store);
        self.at_ms += 90_000;
        self.capture(&expired, &tokens, true);
        self.refund(&function);
        self.close_month();
        self.commit(store);
        // Times come after the last transfers too.
        self.at_ms += 1;
        self.open(&terms(7, 5));
        self.commit(store);
    }

    fn grant_and_limit(&mut self) {
        let first = self.last_transfer + 1;
        self.post(Purpose::Grant, Account::Promo, Account::Lot(LotId(1)), 500_000);
        let grant = Grant {
            org: acme(),
            amount: nano(500_000),
            funding: Funding::Promotional,
            priority: 0,
            expires_at_ms: None,
            scope: Scope::default(),
            note: String::new(),
        };
        let balance = Balance::default();
        self.order("grant", Act::Grant(grant), Outcome::Granted { lot: LotId(1), balance }, first);
        let first = self.last_transfer + 1;
        let budget = Account::Budget(BudgetId(1));
        self.post(Purpose::BudgetLimit, budget.clearing(), budget, 1_000_000);
        let (window, limit) = (Window::Month, Some(nano(1_000_000)));
        let act = Act::SetBudget { org: acme(), key: None, window, limit };
        self.order("budget", act, Outcome::Budget(Some(BudgetId(1))), first);
    }

    /// Gives back what the author of a call got.
    fn refund(&mut self, terms: &HoldTerms) {
        let author = terms.pinned.author.clone().unwrap().org;
        let payable = Account::Payable(author.clone());
        let amount = self.counters(&payable).credits_posted;
        let first = self.last_transfer + 1;
        let wallet = Account::Wallet(terms.org.clone());
        self.post(Purpose::Refund, payable, wallet, amount.as_nano());
        let day = Day::of(self.at_ms);
        self.earn((author, day, Role::Author, terms.subject.clone()), 0, nano(-amount.as_nano()));
        let (org, call) = (terms.org.clone(), terms.call);
        let given_back = vec![amount];
        let key = org.to_string();
        self.documents.push(Document::Refunds(Refunds { org: key, call: Some(call), given_back }));
        let act = Act::Refund { org, call, amount: Some(amount), note: "sorry".to_owned() };
        let balance = Balance::default();
        let outcome = Outcome::Refunded { amount, in_all: amount, balance };
        self.order("refund", act, outcome, first);
    }

    /// Closes a month early, which only the calendar would mind.
    fn close_month(&mut self) {
        let mut rows: Vec<TrialBalanceRow> = Vec::new();
        for (account, (_, counters)) in &self.accounts {
            let (class, asset) = (account.class(), account.asset().name().to_owned());
            let add = |sum: Nano, more: Nano| sum.checked_add(more).unwrap();
            let at = rows.iter().position(|row| row.class == class).unwrap_or(rows.len());
            if at == rows.len() {
                let (debits, credits) = (Nano::ZERO, Nano::ZERO);
                rows.push(TrialBalanceRow { class, asset, debits, credits });
            }
            rows[at].debits = add(rows[at].debits, counters.debits_posted);
            rows[at].credits = add(rows[at].credits, counters.credits_posted);
        }
        let period = Period::of(START_MS);
        self.documents.push(Document::Period(PeriodClose {
            period,
            closed_at_ms: self.at_ms,
            last_transfer: self.last_transfer,
            trial_balance: rows,
        }));
        let act = EntryAct::System(SystemAct::ClosePeriod { period });
        let answer = EntryAnswer::Done(Outcome::Done);
        self.enter("system-close", act, answer, self.last_transfer + 1);
    }
}

/// A call of a function that has an author and a provider.
pub(in crate::ledger::sqlite::tests) fn function(number: u128) -> HoldTerms {
    let author = AuthorPrice {
        org: OrgId::new("authors"),
        call_fee: nano(1_234),
        compute_markup_bps: 2_500,
    };
    let provider = ProviderShare { org: OrgId::new("farm"), share_bps: 1_000 };
    let pinned = Pinned { author: Some(author), provider: Some(provider), ..Pinned::default() };
    let subject =
        Subject::Function { owner: "authors".to_owned(), name: "summarise".to_owned(), version: 3 };
    HoldTerms { subject, pinned: Arc::new(pinned), ..terms(number, 90_000) }
}

fn documents() -> [Document; 6] {
    let lot = Lot {
        lot: LotId(1),
        org: acme(),
        funding: Funding::Promotional,
        priority: 0,
        expires_at_ms: None,
        scope: Scope::default(),
        granted_at_ms: START_MS,
        note: String::new(),
        expired: false,
    };
    let budget = Budget {
        budget: BudgetId(1),
        org: acme(),
        key: None,
        window: Window::Month,
        limit: Some(nano(1_000_000)),
        opened_at_ms: START_MS,
        debits_before: Nano::ZERO,
    };
    let message = Message {
        id: MessageId::from_uuid(Uuid::from_u128(7)),
        org: None,
        topic: "balance.low".to_owned(),
        body: serde_json::json!({"org": "acme"}),
        created_at_ms: START_MS,
        attempts: 0,
        due_at_ms: START_MS,
    };
    [
        Document::Lot(lot),
        Document::Budget(budget),
        Document::Settings(Settings { org: Some(acme()), ..Settings::default() }),
        Document::Platform(Platform::default()),
        Document::Gateway(Gateway { gateway: "g".to_owned(), epoch: 3 }),
        Document::Message { message, done: true },
    ]
}
