//! Billing for operators who do not bill: calls are priced, nobody pays, nothing is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use crate::billing::Billing;
use crate::capture::{CaptureRequest, Receipt};
use crate::charge::price_capture;
use crate::error::BillingError;
use crate::hold::{Durability, Hold, HoldRequest, HoldTerms};
use crate::ids::{HoldId, OpId, OrgId, PriceVersion, ReceiptId};
use crate::ledger::Clock;
use crate::money::Nano;
use crate::price::{NewPriceBook, PriceBook, in_force};
use crate::report::{Balance, LedgerCheck, ReceiptQuery, UsageSummary};

/// Holds that are remembered at most; the oldest are forgotten first.
const HOLDS_OPEN_MAX: usize = 100_000;

/// Prices without a store. Wallets are bottomless, and operation ids are not remembered.
#[derive(Clone, Debug)]
pub struct Unmetered(Arc<Mutex<Memory>>);

#[derive(Debug)]
struct Memory {
    /// Ordered by id, which is ordered by time.
    open: BTreeMap<HoldId, HoldTerms>,
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
    fn book(&self, version: PriceVersion) -> Result<Arc<PriceBook>, BillingError> {
        self.books
            .iter()
            .find(|book| book.version == version)
            .map(Arc::clone)
            .ok_or(BillingError::UnknownPrice)
    }

    fn in_force(&self, now_ms: u64) -> Arc<PriceBook> {
        in_force(&self.books, now_ms).unwrap_or_else(|| Arc::new(PriceBook::initial()))
    }
}

const BOTTOMLESS: Balance = Balance { posted: Nano::MAX, held: Nano::ZERO, available: Nano::MAX };

#[async_trait]
impl Billing for Unmetered {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError> {
        let id = HoldId::from_uuid(Uuid::now_v7());
        let terms = HoldTerms::new(id, &request, Clock::System.now_ms());
        let hold = Hold::new(&terms, Durability::Known(Ok(())));
        let mut memory = self.memory();
        memory.book(request.price_version)?;
        memory.open.insert(id, terms);
        if memory.open.len() > HOLDS_OPEN_MAX {
            drop(memory.open.pop_first());
        }
        Ok(hold)
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Receipt, BillingError> {
        let mut memory = self.memory();
        let held = memory.open.get(&request.hold).ok_or(BillingError::UnknownHold)?;
        let book = memory.book(held.price_version)?;
        let charge = price_capture(&book, held, &request)?;
        let id = ReceiptId::from_uuid(Uuid::now_v7());
        let receipt = Receipt::new(id, Clock::System.now_ms(), held, &request, charge);
        memory.open.remove(&request.hold);
        Ok(receipt)
    }

    async fn void(&self, _op: OpId, hold: HoldId) -> Result<(), BillingError> {
        self.memory().open.remove(&hold).map(drop).ok_or(BillingError::UnknownHold)
    }

    async fn top_up(
        &self,
        _op: OpId,
        _org: OrgId,
        _amount: Nano,
        _note: String,
    ) -> Result<Balance, BillingError> {
        Ok(BOTTOMLESS)
    }

    async fn balance(&self, _org: &OrgId) -> Result<Balance, BillingError> {
        Ok(BOTTOMLESS)
    }

    async fn prices(&self) -> Arc<PriceBook> {
        self.memory().in_force(Clock::System.now_ms())
    }

    async fn set_prices(&self, book: NewPriceBook) -> Result<Arc<PriceBook>, BillingError> {
        let now_ms = Clock::System.now_ms();
        let mut memory = self.memory();
        let last = memory.books.iter().map(|book| book.version.0).max().unwrap_or(0);
        let book = Arc::new(book.published(PriceVersion(last.saturating_add(1)), now_ms));
        memory.books.push(Arc::clone(&book));
        Ok(book)
    }

    async fn receipt(&self, _org: &OrgId, _id: ReceiptId) -> Result<Option<Receipt>, BillingError> {
        Ok(None)
    }

    async fn receipts(
        &self,
        _org: &OrgId,
        _query: ReceiptQuery,
    ) -> Result<Vec<Receipt>, BillingError> {
        Ok(Vec::new())
    }

    async fn usage(&self, _org: &OrgId, since_ms: u64) -> Result<UsageSummary, BillingError> {
        Ok(UsageSummary { since_ms, ..UsageSummary::default() })
    }

    async fn check(&self) -> Result<LedgerCheck, BillingError> {
        Ok(LedgerCheck { ok: true, ..LedgerCheck::default() })
    }
}

#[cfg(test)]
mod tests;
