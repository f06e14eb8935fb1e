//! A ledger that answers what it was told, and a month of one. A ledger that works cannot be
//! brought to contradict itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use uuid::Builder;

use crate::BillingError;
use crate::billing::Billing;
use crate::calendar::{Day, Period};
use crate::capture::{CaptureRequest, Captured, Ending, Receipt};
use crate::charge::{Billed, payable};
use crate::error::Refusal;
use crate::hold::{Hold, HoldRequest, Subject};
use crate::ids::{CallId, KeyId, LotId, OpId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::order::{Act, Funding, Grant, Order, Outcome, Payment, Scope, SystemAct};
use crate::price::{Meter, PriceBook, UsageLine};
use crate::report::{
    Balance, DayQuery, Entry, EntryAct, EntryAnswer, PeriodClose, Query, ReceiptTotals, Report,
    TransferReport, UsageRow, UsageSums,
};
use crate::statement::sum;

/// 2026-10-20 12:00.
pub(super) const AT_MS: u64 = 1_792_497_600_000;
pub(super) const HOUR_MS: u64 = 3_600_000;

pub(super) fn nano(credits: &str) -> Nano {
    credits.parse().unwrap()
}

pub(super) fn october() -> Period {
    "2026-10".parse().unwrap()
}

pub(super) fn org() -> OrgId {
    OrgId::new("acme")
}

pub(super) fn after_ms() -> u64 {
    october().ends_at_ms() + HOUR_MS
}

/// A ledger that answers what it was told.
#[derive(Clone, Default)]
pub(super) struct Told {
    pub(super) usage: Vec<UsageRow>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) entries: Vec<Entry>,
    pub(super) closed: bool,
    /// What each answer about totals is more than the receipts: calls, amount, transferred.
    pub(super) off: (u64, Nano, Nano),
    /// Whether calls are charged between any two answers.
    pub(super) is_busy: bool,
    pub(super) asked: Arc<AtomicU64>,
}

#[async_trait]
impl Billing for Told {
    async fn hold(&self, _: HoldRequest) -> Result<Hold, BillingError> {
        Err(BillingError::Overloaded)
    }

    async fn capture(&self, _: CaptureRequest) -> Result<Captured, BillingError> {
        Err(BillingError::Overloaded)
    }

    async fn void(&self, _: OrgId, _: CallId) -> Result<(), BillingError> {
        Err(BillingError::Overloaded)
    }

    async fn capture_for(
        &self,
        _: Arc<[String]>,
        _: CaptureRequest,
    ) -> Result<Captured, BillingError> {
        Err(BillingError::Overloaded)
    }

    async fn void_for(&self, _: Arc<[String]>, _: OrgId, _: CallId) -> Result<(), BillingError> {
        Err(BillingError::Overloaded)
    }

    async fn order(&self, _: Order) -> Result<Outcome, BillingError> {
        Err(BillingError::Overloaded)
    }

    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError> {
        Ok(Arc::new(PriceBook::initial()))
    }

    async fn ask(&self, query: Query) -> Result<Report, BillingError> {
        Ok(match query {
            Query::Usage(query) => {
                let within = |row: &&UsageRow| (query.from..=query.to).contains(&row.day);
                Report::Usage(self.usage.iter().filter(within).cloned().collect())
            }
            Query::Receipts(query) => {
                let mut receipts = self.receipts.clone();
                receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.call));
                receipts.retain(|receipt| query.before.is_none_or(|before| receipt.call < before));
                receipts.truncate(usize::try_from(query.limit).unwrap());
                Report::Receipts(receipts)
            }
            Query::Entries(query) => {
                let mut entries = self.entries.clone();
                entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
                entries.retain(|entry| {
                    query.before.is_none_or(|before| entry.number < before)
                        && (query.from_ms..query.to_ms).contains(&entry.at_ms)
                });
                entries.truncate(usize::try_from(query.limit).unwrap());
                Report::Entries(entries)
            }
            Query::Entry(op) => {
                let entry = self.entries.iter().find(|entry| entry.op == op);
                Report::Entry(entry.cloned().map(Box::new))
            }
            Query::Totals(query) => Report::Totals(self.totals(&query)),
            Query::Periods if !self.closed => Report::Periods(Vec::new()),
            Query::Periods => Report::Periods(vec![PeriodClose {
                period: october(),
                closed_at_ms: after_ms(),
                last_transfer: 1,
                trial_balance: Vec::new(),
            }]),
            query => panic!("nobody asks {query:?}"),
        })
    }
}

impl Told {
    fn totals(&self, query: &DayQuery) -> ReceiptTotals {
        let within =
            |receipt: &&Receipt| (query.from..=query.to).contains(&Day::of(receipt.created_at_ms));
        let receipts: Vec<&Receipt> = self.receipts.iter().filter(within).collect();
        let amount = sum(receipts.iter().map(|receipt| receipt.amount)).unwrap();
        let (calls, more, transferred) = self.off;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        ReceiptTotals {
            receipts: u64::try_from(receipts.len()).unwrap() + calls,
            amount: sum([amount, more]).unwrap(),
            transferred: sum([
                amount,
                transferred,
                Nano::from_nano(if self.is_busy { asked.try_into().unwrap() } else { 0 }),
            ])
            .unwrap(),
        }
    }

    /// A charged call, with its receipt and its row of usage.
    pub(super) fn charge(&mut self, at_ms: u64, key: &str, receipt: Receipt) {
        let call = CallId::from_uuid(
            Builder::from_unix_timestamp_millis(
                at_ms,
                &[u8::try_from(self.receipts.len() % 250).unwrap(); 10],
            )
            .into_uuid(),
        );
        let model = match &receipt.subject {
            Subject::Model(model) => Some(model.clone()),
            Subject::Function { .. } => None,
        };
        let used = |meter| {
            let lines = receipt.usage.iter().filter(|line| line.meter == meter);
            lines.map(|line| line.quantity).sum()
        };
        self.usage.push(UsageRow {
            day: Day::of(at_ms),
            key: KeyId::new(key),
            subject: receipt.subject.clone(),
            model,
            sums: UsageSums {
                calls: 1,
                input_tokens: used(Meter::InputTokens),
                output_tokens: used(Meter::OutputTokens),
                compute_micros: used(Meter::ComputeMicros),
                cost: receipt.amount,
                ..UsageSums::default()
            },
        });
        let key = KeyId::new(key);
        self.receipts.push(Receipt { call, key, created_at_ms: at_ms, ..receipt });
    }

    pub(super) fn enter(
        &mut self,
        at_ms: u64,
        act: EntryAct,
        answer: EntryAnswer,
        moved: &[(&str, &str, &str)],
    ) {
        let number = u64::try_from(self.entries.len()).unwrap() + 1;
        let transfers = moved.iter().map(|(debit, credit, amount)| TransferReport {
            debit: (*debit).to_owned(),
            credit: (*credit).to_owned(),
            amount: nano(amount),
        });
        self.entries.push(Entry {
            number,
            op: OpId::new(format!("op-{number}")).unwrap(),
            by: "operator".to_owned(),
            act,
            answer,
            at_ms,
            transfers: transfers.collect(),
        });
    }
}

/// A call of `subject`, priced by the first price book.
pub(super) fn receipt(
    subject: Subject,
    usage: &[(Option<&str>, Meter, u64)],
    ending: Ending,
) -> Receipt {
    let usage: Vec<UsageLine> = usage
        .iter()
        .map(|(model, meter, quantity)| UsageLine {
            model: model.map(str::to_owned),
            meter: *meter,
            quantity: *quantity,
        })
        .collect();
    let due = payable(&subject, ending, &usage);
    let billed = Billed { org: &org(), author: None, provider: None };
    let charge = PriceBook::initial().charge(&billed, &due.lines, due.markup).unwrap();
    Receipt {
        call: CallId::generate(),
        org: org(),
        key: KeyId::new("key"),
        subject,
        amount: charge.total,
        held: nano("1000"),
        usage,
        ending,
        late: false,
        price_version: PriceVersion(1),
        author: None,
        provider: None,
        held_at_ms: AT_MS,
        created_at_ms: AT_MS,
        parts: charge.parts,
    }
}

pub(super) fn model_call(name: &str, output: u64) -> Receipt {
    let usage = [(Some(name), Meter::InputTokens, 10), (Some(name), Meter::OutputTokens, output)];
    receipt(Subject::Model(name.to_owned()), &usage, Ending::Normal)
}

pub(super) fn function_call() -> Receipt {
    let subject =
        Subject::Function { owner: "bo".to_owned(), name: "fetch".to_owned(), version: 3 };
    let usage = [(None, Meter::Calls, 1), (None, Meter::ComputeMicros, 1500)];
    receipt(subject, &usage, Ending::Normal)
}

pub(super) fn payment(amount: &str, note: &str) -> Payment {
    Payment {
        org: org(),
        amount: nano(amount),
        rail: "stripe".to_owned(),
        reference: Some("pi_1".to_owned()),
        note: note.to_owned(),
    }
}

pub(super) fn done() -> EntryAnswer {
    EntryAnswer::Done(Outcome::Balance(Balance::default()))
}

/// October: two calls of a model, one of a function, a refund, and some payments; and a call and
/// a top-up in November.
pub(super) fn told() -> Told {
    let mut told = Told { closed: true, ..Told::default() };
    told.charge(AT_MS, "key-1", model_call("tiny", 5));
    told.charge(AT_MS + 24 * HOUR_MS, "key-2", model_call("tiny", 2));
    told.charge(AT_MS + 24 * HOUR_MS, "key-1", function_call());
    told.charge(after_ms(), "key-1", model_call("tiny", 99));
    let call = told.receipts[0].call;
    let order = EntryAct::Order;
    let paid = [("cash:stripe", "wallet:acme", "25"), ("wallet:acme", "receivable:acme", "1")];
    told.enter(AT_MS, order(Act::TopUp(payment("25", "first"))), done(), &paid);
    let taken = [("wallet:acme", "cash:stripe", "4"), ("receivable:acme", "cash:stripe", "1")];
    told.enter(AT_MS + 1, order(Act::Chargeback(payment("5", ""))), done(), &taken);
    let refused = EntryAnswer::Refused(Refusal::BalanceOverflow);
    told.enter(AT_MS + 2, order(Act::TopUp(payment("7", "refused"))), refused, &[]);
    let refund = Act::Refund { org: org(), call, amount: None, note: "was <slow>".to_owned() };
    let amount = nano("0.000001");
    let refunded = Outcome::Refunded { amount, in_all: amount, balance: Balance::default() };
    let back = [("platform", "wallet:acme", "0.000001")];
    told.enter(AT_MS + 3, order(refund), EntryAnswer::Done(refunded), &back);
    let grant = Grant {
        org: org(),
        amount: nano("2"),
        funding: Funding::Promotional,
        priority: 0,
        expires_at_ms: None,
        scope: Scope::default(),
        note: "welcome".to_owned(),
    };
    told.enter(AT_MS + 4, order(Act::Grant(grant)), done(), &[("promo", "lot:1", "2")]);
    let free = EntryAct::System(SystemAct::FreeTier { org: org() });
    told.enter(AT_MS + 5, free, EntryAnswer::Done(Outcome::Done), &[("promo", "lot:2", "0.5")]);
    let expired = EntryAct::System(SystemAct::ExpireLot { lot: LotId(2) });
    let gone = [("lot:2", "breakage", "0.25")];
    told.enter(AT_MS + 6, expired, EntryAnswer::Done(Outcome::Done), &gone);
    told.enter(after_ms(), order(Act::TopUp(payment("9", "november"))), done(), &paid);
    told
}
