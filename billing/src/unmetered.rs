//! Billing for operators who do not bill: calls are priced, nobody pays, nothing is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::billing::Billing;
use crate::capture::{CaptureRequest, Captured, Receipt, normal_form};
use crate::charge::price_capture;
use crate::error::{BillingError, Refusal};
use crate::hold::{Durability, Hold, HoldRequest, HoldTerms, Pinned};
use crate::ids::{CallId, OrgId, PriceVersion};
use crate::ledger::Clock;
use crate::money::Nano;
use crate::order::{Act, Order, Outcome, Platform};
use crate::price::{PriceBook, in_force};
use crate::report::{AccountReport, Balance, EndpointReport, LedgerCheck, Query, Report};

/// Holds that are remembered at most; the oldest are forgotten first.
const HOLDS_OPEN_MAX: usize = 100_000;

/// Prices without a store. Wallets are bottomless, and operation ids are not remembered.
#[derive(Clone, Debug)]
pub struct Unmetered(Arc<Mutex<Memory>>);

#[derive(Debug)]
struct Memory {
    /// Ordered by id, which is ordered by time.
    open: BTreeMap<CallId, HoldTerms>,
    /// By version, from 1 on without a gap.
    books: Vec<Arc<PriceBook>>,
}

impl Default for Unmetered {
    fn default() -> Unmetered {
        Unmetered::new()
    }
}

impl Unmetered {
    /// Billing with the initial prices.
    #[must_use]
    pub fn new() -> Unmetered {
        let books = vec![Arc::new(PriceBook::initial())];
        Unmetered(Arc::new(Mutex::new(Memory { open: BTreeMap::new(), books })))
    }

    /// A panic while the lock was held cannot leave the two plain collections half-changed.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn book(&self, version: PriceVersion) -> Result<Arc<PriceBook>, Refusal> {
        let book = self.books.iter().find(|book| book.version == version);
        book.map(Arc::clone).ok_or(Refusal::UnknownPrice)
    }
}

const BOTTOMLESS: Balance =
    Balance { posted: Nano::MAX, held: Nano::ZERO, available: Nano::MAX, owed: Nano::ZERO };

#[async_trait]
impl Billing for Unmetered {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError> {
        let at_ms = Clock::System.now_ms();
        let terms = HoldTerms {
            call: request.call,
            org: request.org,
            key: request.key,
            amount: request.amount,
            price_version: request.price_version,
            subject: request.subject,
            pinned: Arc::new(Pinned {
                author: request.author,
                provider: request.provider,
                ..Pinned::default()
            }),
            lots: Vec::new(),
            created_at_ms: at_ms,
            expires_at_ms: at_ms.saturating_add(request.ttl_ms),
        };
        let hold = Hold::new(&terms, Durability::Known(Ok(())));
        let mut memory = self.memory();
        memory.book(request.price_version)?;
        memory.open.insert(terms.call, terms);
        if memory.open.len() > HOLDS_OPEN_MAX {
            drop(memory.open.pop_first());
        }
        Ok(hold)
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError> {
        let mut memory = self.memory();
        let held = memory.open.get(&request.call).ok_or(BillingError::UnknownHold)?;
        let book = memory.book(held.price_version)?;
        let usage = normal_form(&request.usage);
        let charge = price_capture(&book, held, (&usage, request.ending))?;
        let receipt = Receipt::new(
            held,
            (usage, request.ending),
            (charge.total, charge.parts),
            (false, Clock::System.now_ms()),
        );
        memory.open.remove(&request.call);
        Ok(Captured { receipt, balance: BOTTOMLESS })
    }

    async fn void(&self, _org: OrgId, call: CallId) -> Result<(), BillingError> {
        self.memory().open.remove(&call).map(drop).ok_or(BillingError::UnknownHold)
    }

    /// It has no holders: it serves its own process only.
    async fn capture_for(
        &self,
        _gateways: Arc<[String]>,
        request: CaptureRequest,
    ) -> Result<Captured, BillingError> {
        self.capture(request).await
    }

    async fn void_for(
        &self,
        _gateways: Arc<[String]>,
        org: OrgId,
        call: CallId,
    ) -> Result<(), BillingError> {
        self.void(org, call).await
    }

    async fn order(&self, order: Order) -> Result<Outcome, BillingError> {
        match order.act {
            Act::SetPrices(book) => {
                let mut memory = self.memory();
                let last = memory.books.iter().map(|book| book.version.0).max().unwrap_or(0);
                let version = PriceVersion(last.saturating_add(1));
                let book = book.published(version, Clock::System.now_ms());
                memory.books.push(Arc::new(book.clone()));
                Ok(Outcome::Priced(Box::new(book)))
            }
            Act::TopUp(_) | Act::Chargeback(_) | Act::Adjust { .. } => {
                Ok(Outcome::Balance(BOTTOMLESS))
            }
            Act::RegisterGateway { .. } => Ok(Outcome::Registered { epoch: 1, voided: 0 }),
            _ => Err(BillingError::Invalid(
                "this server does not bill: it runs with `billing = \"unmetered\"`".to_owned(),
            )),
        }
    }

    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError> {
        let memory = self.memory();
        let book = in_force(&memory.books, Clock::System.now_ms());
        Ok(book.unwrap_or_else(|| Arc::new(PriceBook::initial())))
    }

    async fn ask(&self, query: Query) -> Result<Report, BillingError> {
        Ok(match query {
            Query::Account(_) => {
                let account = AccountReport { balance: BOTTOMLESS, ..AccountReport::default() };
                Report::Account(Box::new(account))
            }
            Query::Messages { .. } => Report::Messages(Vec::new()),
            Query::Platform => Report::Platform(Platform::default()),
            Query::Endpoint(_) => Report::Endpoint(EndpointReport::default()),
            Query::Receipt { .. } => Report::Receipt(None),
            Query::Receipts(_) => Report::Receipts(Vec::new()),
            Query::Usage(_) => Report::Usage(Vec::new()),
            Query::Earnings(_) => Report::Earnings(Vec::new()),
            Query::UsageSums(_) => Report::UsageSums(Vec::new()),
            Query::EarningsSums(_) => Report::EarningsSums(Vec::new()),
            Query::Entries(_) => Report::Entries(Vec::new()),
            Query::Entry(_) => Report::Entry(None),
            Query::Totals(_) => Report::Totals(crate::report::ReceiptTotals::default()),
            Query::Periods => Report::Periods(Vec::new()),
            Query::Ready => Report::Ready,
            Query::Prices => {
                let memory = self.memory();
                Report::Prices(memory.books.iter().map(|book| book.as_ref().clone()).collect())
            }
            Query::Check => {
                Report::Check(Box::new(LedgerCheck { ok: true, ..LedgerCheck::default() }))
            }
        })
    }
}

#[cfg(test)]
mod tests;
