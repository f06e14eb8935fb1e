//! A ledger that answers what a test wants: errors that a sound ledger gives to nobody, and
//! answers at the moment that the test chooses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use crate::billing::Billing;
use crate::capture::{CaptureRequest, Captured};
use crate::error::BillingError;
use crate::hold::{Durability, Hold, HoldRequest, Subject};
use crate::ids::{CallId, KeyId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::order::{Act, Order, Outcome};
use crate::price::PriceBook;
use crate::report::{Query, Report};

/// What is asked of it waits for a permit of `gate`, and is noted in `log` when it comes and when
/// it goes.
pub(super) struct Scripted {
    pub(super) gate: Semaphore,
    pub(super) log: Mutex<Vec<String>>,
    pub(super) waiting: AtomicUsize,
    /// Whether it knows only the calls that were held.
    pub(super) strict: AtomicBool,
    /// What everything but a registration is answered.
    pub(super) error: Mutex<Option<BillingError>>,
    /// The commit of the next hold.
    pub(super) commit: Mutex<Option<oneshot::Receiver<Result<(), BillingError>>>>,
}

impl Scripted {
    pub(super) fn open() -> Arc<Scripted> {
        Scripted::with(Semaphore::MAX_PERMITS)
    }

    pub(super) fn with(permits: usize) -> Arc<Scripted> {
        Arc::new(Scripted {
            gate: Semaphore::new(permits),
            log: Mutex::default(),
            waiting: AtomicUsize::new(0),
            strict: AtomicBool::new(false),
            error: Mutex::default(),
            commit: Mutex::default(),
        })
    }

    /// It, as the service takes it.
    pub(super) fn billing(self: &Arc<Scripted>) -> Arc<dyn Billing> {
        Arc::<Scripted>::clone(self)
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    async fn pass(&self, what: &str) -> Result<(), BillingError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.log.lock().unwrap().push(what.to_owned());
        self.error.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Billing for Scripted {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError> {
        // Whoever does not wait for it comes first.
        tokio::task::yield_now().await;
        self.pass(&format!("hold {}", request.call)).await?;
        let commit = self.commit.lock().unwrap().take();
        let durability = commit.map_or(Durability::Known(Ok(())), Durability::Pending);
        let terms = (request.price_version, request.ttl_ms);
        Ok(Hold::decided(request.call, request.amount, terms, durability))
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError> {
        self.pass(&format!("capture {}", request.call)).await?;
        Err(BillingError::UnknownHold)
    }

    async fn void(&self, _org: OrgId, call: CallId) -> Result<(), BillingError> {
        if self.strict.load(Ordering::SeqCst) && !self.log().contains(&format!("hold {call}")) {
            return Err(BillingError::UnknownHold);
        }
        self.pass(&format!("void {call}")).await
    }

    /// It does not ask who holds what.
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
        if let Act::RegisterGateway { .. } = order.act {
            return Ok(Outcome::Registered { epoch: 1, voided: 0 });
        }
        self.pass("order").await?;
        Ok(Outcome::Done)
    }

    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError> {
        Ok(Arc::new(PriceBook::initial()))
    }

    async fn ask(&self, _query: Query) -> Result<Report, BillingError> {
        self.pass("ask").await?;
        Ok(Report::Periods(Vec::new()))
    }
}

pub(super) fn hold_request(call: CallId) -> HoldRequest {
    HoldRequest {
        call,
        org: OrgId::new("acme"),
        key: KeyId::new("key-1"),
        amount: Nano::from_nano(1000),
        price_version: PriceVersion(1),
        subject: Subject::Model("tiny".to_owned()),
        author: None,
        provider: None,
        ttl_ms: 600_000,
        holder: None,
    }
}
