//! The interface to a ledger in another process.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::error::ServiceError;
use super::renewal::Renewed;
use super::tls::TlsFiles;
use super::wire::{Operation, QUERY_PATH, VoidRequest};
use crate::billing::Billing;
use crate::capture::{CaptureRequest, Captured};
use crate::error::BillingError;
use crate::hold::{Hold, HoldRequest, Holder};
use crate::ids::{CallId, OpId, OrgId};
use crate::order::{Act, Order, Outcome};
use crate::price::PriceBook;
use crate::report::{Query, Report};
use link::{Failure, Link};
use queue::{Queue, Waiter, Waiting};

mod link; // The connection, and one request on it.
mod prices; // The prices, kept here.
mod queue; // What waits to be sent.
mod sender; // One batch, sent until it is answered.

/// How a gateway reaches the service.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// The service, as `https://billing.example:7443`.
    pub url: String,
    /// This gateway's name, the same after a restart; its certificate names it too.
    pub gateway: String,
    /// The gateway's certificate, and the authority that signed the service's.
    pub tls: TlsFiles,
    /// What it bears.
    pub limits: RemoteLimits,
}

/// What a gateway's client bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteLimits {
    /// Holds that wait or are on their way; further ones are [`BillingError::Overloaded`].
    pub holds_max: usize,
    /// Other operations that wait or are on their way; further ones wait for a place.
    pub others_max: usize,
    /// Batches on their way. While all of them are, the next one grows.
    pub batches_max: usize,
    /// Operations of one batch; no more than the service takes.
    pub batch_operations_max: usize,
    /// Bytes of one batch of more than one operation, and of one operation alone; no more than
    /// the service takes.
    pub batch_bytes_max: usize,
    /// How long one attempt to send a batch may take until all its answers are there.
    pub attempt_deadline: Duration,
    /// How long a hold or a question is tried: somebody waits for it.
    pub hold_retry_for: Duration,
    /// How long everything else is tried: money depends on it.
    pub retry_for: Duration,
    /// How long the first registration is tried.
    pub connect_for: Duration,
    /// How long a question may take once it is asked.
    pub query_deadline: Duration,
    /// How often the prices are looked at.
    pub prices_every: Duration,
}

impl Default for RemoteLimits {
    fn default() -> RemoteLimits {
        RemoteLimits {
            holds_max: 8192,
            others_max: 8192,
            batches_max: 8,
            batch_operations_max: 512,
            batch_bytes_max: 2 << 20,
            attempt_deadline: Duration::from_secs(15),
            hold_retry_for: Duration::from_secs(5),
            retry_for: Duration::from_secs(30),
            connect_for: Duration::from_secs(15),
            query_deadline: Duration::from_secs(600),
            prices_every: Duration::from_secs(1),
        }
    }
}

/// A ledger behind the billing service. Operations that wait are sent together, without a timer:
/// while one request is on its way the next one grows. Lost answers are asked for again, by id.
///
/// It lives on the runtime on which it was connected. When it is dropped, what is queued is still
/// sent.
#[derive(Debug)]
pub struct RemoteBilling {
    shared: Arc<Shared>,
    holder: Holder,
}

/// What the client's tasks share.
#[derive(Debug)]
struct Shared {
    link: Link,
    queue: Queue,
    limits: RemoteLimits,
    prices: RwLock<Option<Arc<PriceBook>>>,
}

impl RemoteBilling {
    /// Registers this process as the gateway's, which ends the holds of its earlier processes,
    /// and fetches the prices. Tries for [`RemoteLimits::connect_for`].
    ///
    /// # Errors
    /// [`ServiceError`] where a file or the address is no good, or the service cannot be reached
    /// or refuses.
    pub async fn connect(options: RemoteOptions) -> Result<Arc<RemoteBilling>, ServiceError> {
        let RemoteOptions { url, gateway, tls, limits } = options;
        let name = gateway.clone();
        let tls = Renewed::new(tls, move |files| files.client(&name))?;
        let link = Link::new(&url, tls)?;
        let shared = Arc::new(Shared {
            link,
            queue: Queue::new(&limits),
            limits,
            prices: RwLock::new(None),
        });
        let mut remote =
            RemoteBilling { shared, holder: Holder { gateway: gateway.clone(), epoch: 0 } };
        tokio::spawn(sender::pump(Arc::clone(&remote.shared)));
        let registration = Order {
            op: OpId::generate(),
            by: gateway.clone(),
            act: Act::RegisterGateway { gateway },
        };
        let connect_for = remote.shared.limits.connect_for;
        match remote.ordered(registration, connect_for).await {
            Ok(Outcome::Registered { epoch, .. }) => remote.holder.epoch = epoch,
            Ok(_) => return Err(ServiceError::NotRegistered(another_kind())),
            Err(error) => return Err(ServiceError::NotRegistered(error)),
        }
        remote.shared.refresh_prices().await.map_err(ServiceError::NotRegistered)?;
        tokio::spawn(prices::refresh(Arc::downgrade(&remote.shared)));
        Ok(Arc::new(remote))
    }

    /// This process, as its holds name it.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Takes nothing more, and waits until what is queued has been answered or given up, which
    /// takes at most about twice [`RemoteLimits::retry_for`].
    pub async fn close(&self) {
        self.shared.queue.close();
        self.shared.queue.empty().await;
    }

    async fn ordered(&self, order: Order, try_for: Duration) -> Result<Outcome, BillingError> {
        let (answer, answered) = oneshot::channel();
        self.other((Operation::Order(Box::new(order)), Waiter::Ordered(answer)), try_for).await?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Queues an operation that is not a hold. It waits for a place.
    async fn other(
        &self,
        (operation, waiter): (Operation, Waiter),
        try_for: Duration,
    ) -> Result<(), BillingError> {
        let body = self.written(&operation)?;
        let place = self.shared.queue.other_place().await?;
        self.push(&operation, (body, waiter), (try_for, place))
    }

    fn push(
        &self,
        operation: &Operation,
        (body, waiter): (Vec<u8>, Waiter),
        (try_for, place): (Duration, OwnedSemaphorePermit),
    ) -> Result<(), BillingError> {
        let now = Instant::now();
        let until = now.checked_add(try_for).unwrap_or(now);
        let key = operation.call();
        self.shared.queue.push(Waiting { body, key, waiter, until, _place: place })
    }

    /// An operation in JSON: written once, however often it is sent.
    fn written(&self, operation: &Operation) -> Result<Vec<u8>, BillingError> {
        let body = serde_json::to_vec(operation)
            .map_err(|error| BillingError::Invalid(error.to_string()))?;
        if body.len() > self.shared.limits.batch_bytes_max {
            return Err(BillingError::Invalid("the operation is too large to be sent".to_owned()));
        }
        Ok(body)
    }
}

/// What is queued is still sent.
impl Drop for RemoteBilling {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

#[async_trait]
impl Billing for RemoteBilling {
    async fn hold(&self, mut request: HoldRequest) -> Result<Hold, BillingError> {
        request.holder = Some(self.holder.clone());
        let operation = Operation::Hold(Box::new(request));
        let body = self.written(&operation)?;
        let place = self.shared.queue.hold_place()?;
        let (decide, decided) = oneshot::channel();
        let (sync, durable) = oneshot::channel();
        let waiter =
            Waiter::Hold { decided: Some(decide), sync: Some(sync), durable: Some(durable) };
        let try_for = self.shared.limits.hold_retry_for;
        self.push(&operation, (body, waiter), (try_for, place))?;
        match tokio::time::timeout(try_for, decided).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(BillingError::Unreachable("it did not answer in time".to_owned())),
        }
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError> {
        let (answer, answered) = oneshot::channel();
        let operation = (Operation::Capture(request), Waiter::Captured(answer));
        self.other(operation, self.shared.limits.retry_for).await?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn void(&self, org: OrgId, call: CallId) -> Result<(), BillingError> {
        let (answer, answered) = oneshot::channel();
        let operation = (Operation::Void(VoidRequest { org, call }), Waiter::Voided(answer));
        self.other(operation, self.shared.limits.retry_for).await?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Who is behind this gateway cannot be told to the service.
    async fn capture_for(
        &self,
        _gateways: Arc<[String]>,
        _request: CaptureRequest,
    ) -> Result<Captured, BillingError> {
        Err(not_passed_on())
    }

    async fn void_for(
        &self,
        _gateways: Arc<[String]>,
        _org: OrgId,
        _call: CallId,
    ) -> Result<(), BillingError> {
        Err(not_passed_on())
    }

    async fn order(&self, order: Order) -> Result<Outcome, BillingError> {
        let prices = matches!(order.act, Act::SetPrices(_));
        let outcome = self.ordered(order, self.shared.limits.retry_for).await?;
        // Who sets prices sees them at once; where that fails, the next look will.
        if prices && let Err(error) = self.shared.refresh_prices().await {
            tracing::warn!(%error, "the new prices could not be fetched yet");
        }
        Ok(outcome)
    }

    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError> {
        let prices = self.shared.prices.read().unwrap_or_else(PoisonError::into_inner);
        prices.clone().ok_or_else(|| BillingError::Unreachable("no prices were fetched".to_owned()))
    }

    async fn ask(&self, query: Query) -> Result<Report, BillingError> {
        let body =
            serde_json::to_vec(&query).map_err(|error| BillingError::Invalid(error.to_string()))?;
        let limits = &self.shared.limits;
        let now = Instant::now();
        let until = now.checked_add(limits.hold_retry_for).unwrap_or(now);
        let mut pause = link::Pause::default();
        loop {
            let asked = self.shared.link.question(QUERY_PATH, body.clone());
            let failure = match tokio::time::timeout(limits.query_deadline, asked).await {
                Ok(Ok(report)) => return Ok(report),
                Ok(Err(Failure::Answered(error) | Failure::TooMuch(error))) => return Err(error),
                Ok(Err(Failure::Lost(text))) => text,
                Err(_) => return Err(BillingError::Unreachable("it took too long".to_owned())),
            };
            if Instant::now() >= until {
                return Err(BillingError::Unreachable(failure));
            }
            pause.wait().await;
        }
    }
}

fn gone() -> BillingError {
    BillingError::Stopped("the client of the billing service was closed".to_owned())
}

fn not_passed_on() -> BillingError {
    BillingError::Invalid("a gateway asks the billing service itself".to_owned())
}

fn another_kind() -> BillingError {
    BillingError::Stopped("an answer of another kind came".to_owned())
}
