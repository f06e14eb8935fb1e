//! A charged call, from its quote to its receipt: quote, hold, run, meter, capture or void.
//!
//! The work of a call is a task of its own, which outlives its connection: a client that leaves
//! stops the work, and what was used until then is still charged. Two rules hold for every call:
//! no byte of its answer leaves before its hold is durable, and its last byte leaves only after its
//! capture is durable.
//!
//! What a call reports as used, by the way it ended; `ledger.md` has the table of what is paid:
//!
//! | ending | direct model call | function call |
//! |---|---|---|
//! | normal | all tokens, the call | the call, compute, tokens |
//! | client left | tokens prefilled, tokens handed to the socket | the same, up to then |
//! | deadline | tokens prefilled, tokens handed to the socket, the call | the same, up to then |
//! | budget, trap | | the same, up to then |
//! | platform fault | nothing without a delivered token, else as client left | nothing without a delivered byte, else tokens |
//! | refused before work | nothing: no hold, or a void | nothing: no hold, or a void |

use std::sync::Arc;
use std::time::Duration;

use emberbox_billing::{
    Balance, BillingError, CallId, CaptureRequest, Captured, Ending, Hold, HoldRequest, KeyId,
    Meter, Nano, OrgId, Receipt, UsageLine,
};
use emberbox_catalog::Principal;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use self::quote::Quote;
use crate::app::App;
use crate::errors::ApiError;
use crate::stack::Arrival;

/// What a call may cost at most.
pub(crate) mod quote;
/// Calls of functions.
pub(crate) mod function;
/// The answers to one prompt.
mod answers;
/// Direct calls of models.
pub(crate) mod model;
/// What a function's guest may spend, within its call's hold.
mod spend;
/// Quantities by model and meter.
mod tally;

pub(crate) use tally::Tally;

/// How much longer than its call a hold lives: the time to charge.
const HOLD_GRACE_MS: u64 = 60_000;
/// How long a charge is tried while the ledger is overloaded, fails or is not reached: within the
/// hold's grace. A server that stops waits longer than this.
pub(crate) const CHARGE_PATIENCE: Duration = Duration::from_secs(40);
/// The first pause between two tries, and the longest; they double.
const CHARGE_PAUSE: Duration = Duration::from_millis(50);
const CHARGE_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The most that the caller pays for the call, in credits.
const MAX_COST_HEADER: &str = "x-emberbox-max-cost";

/// Who calls, which request it is, and what it may cost.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Arc<Principal>,
    pub(crate) arrival: Arrival,
    pub(crate) max_cost: Option<Nano>,
}

impl Caller {
    /// Reads what a request's head says of the cost.
    pub(crate) fn new(
        principal: Arc<Principal>,
        arrival: Arrival,
        headers: &HeaderMap,
    ) -> Result<Caller, ApiError> {
        let max_cost = max_cost_header(headers)?;
        Ok(Caller { principal, arrival, max_cost })
    }

    /// Takes another limit of the cost into account: the lower one holds.
    pub(crate) fn limited(mut self, max_cost: Option<Nano>) -> Caller {
        self.max_cost = self.max_cost.into_iter().chain(max_cost).min();
        self
    }

    /// The organisation that pays.
    pub(crate) fn org(&self) -> OrgId {
        OrgId::new(&self.principal.org.id)
    }
}

/// The limit of the cost in a request's head.
pub(crate) fn max_cost_header(headers: &HeaderMap) -> Result<Option<Nano>, ApiError> {
    let Some(value) = headers.get(MAX_COST_HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => max_cost(MAX_COST_HEADER, text).map(Some),
        Err(_) => Err(ApiError::field(MAX_COST_HEADER, "must be credits, such as 0.001")),
    }
}

/// A limit of the cost as decimal credits.
pub(crate) fn max_cost(param: &str, text: &str) -> Result<Nano, ApiError> {
    let amount: Nano =
        text.parse().map_err(|error: BillingError| ApiError::field(param, error.to_string()))?;
    match amount.is_negative() {
        true => Err(ApiError::field(param, format!("{param} must not be negative"))),
        false => Ok(amount),
    }
}

/// An open hold, to be ended by [`Tab::charge`] or [`Tab::release`].
struct Tab {
    app: Arc<App>,
    org: OrgId,
    call: CallId,
}

/// A charge that was made: what the reply tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Charged {
    pub(crate) receipt: Receipt,
    pub(crate) balance: Balance,
}

impl Tab {
    /// Asks for a hold of what was quoted, for a call that lasts at most this long. It returns when
    /// the ledger has decided, which is before the hold is durable; a refusal sets nothing aside.
    async fn open(
        app: &Arc<App>,
        caller: &Caller,
        (quote, lasts_ms_max): (Quote, u64),
    ) -> Result<(Tab, Hold), ApiError> {
        let tab = Tab { app: Arc::clone(app), org: caller.org(), call: CallId::generate() };
        let request = HoldRequest {
            call: tab.call,
            org: tab.org.clone(),
            key: KeyId::new(&caller.principal.key.id),
            amount: quote.amount,
            price_version: quote.book.version,
            subject: quote.subject,
            author: quote.author,
            provider: None,
            ttl_ms: lasts_ms_max.saturating_add(HOLD_GRACE_MS),
            holder: None,
        };
        match app.billing.hold(request).await {
            Ok(hold) => Ok((tab, hold)),
            // Nobody knows whether it was set aside; no work was done, and the caller may try again.
            Err(error @ (BillingError::Store(_) | BillingError::Unreachable(_))) => {
                tracing::error!(%error, "a hold failed");
                app.settling.spawn(tab.release());
                Err(ApiError::Overloaded("the ledger does not answer".to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Charges what was used; durable when it returns.
    async fn charge(self, usage: Vec<UsageLine>, ending: Ending) -> Result<Charged, ApiError> {
        let request = CaptureRequest { org: self.org.clone(), call: self.call, usage, ending };
        let Captured { receipt, balance } = self.capture(request).await.map_err(|error| {
            // The work was done and may be charged yet, so that the client must not try again.
            ApiError::internal("a call was not charged", &error)
        })?;
        let sum = |meters: &[Meter]| -> u64 {
            let lines = receipt.usage.iter().filter(|line| meters.contains(&line.meter));
            lines.map(|line| line.quantity).sum()
        };
        self.app.metrics.charged(
            sum(&[Meter::InputTokens, Meter::CachedInputTokens]),
            sum(&[Meter::OutputTokens]),
            receipt.amount.as_nano(),
        );
        Ok(Charged { receipt, balance })
    }

    /// What was delivered is owed, so that a ledger that fails for a moment is asked again: the
    /// call's id makes it one charge.
    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError> {
        self.persist(|| self.app.billing.capture(request.clone())).await
    }

    /// Gives the hold up: nothing is charged. A failure is logged and left to the hold's expiry.
    async fn release(self) {
        let voided = self.persist(|| self.app.billing.void(self.org.clone(), self.call)).await;
        match voided {
            Ok(()) | Err(BillingError::UnknownHold) => {}
            Err(error) => tracing::error!(%error, "a hold was not released; it will expire"),
        }
    }

    /// Asks the ledger until it answers for good, or [`CHARGE_PATIENCE`] is over. What has been
    /// queued by then is done all the same.
    async fn persist<'a, T>(&'a self, ask: impl Fn() -> Asking<'a, T>) -> Result<T, BillingError> {
        let until = Instant::now() + CHARGE_PATIENCE;
        let late = || Err(BillingError::Unreachable("it did not answer in time".to_owned()));
        let mut pause = CHARGE_PAUSE;
        loop {
            let answer = tokio::time::timeout_at(until, ask()).await.unwrap_or_else(|_| late());
            match answer {
                Err(
                    error @ (BillingError::Overloaded
                    | BillingError::Store(_)
                    | BillingError::Unreachable(_)),
                ) if Instant::now() + pause < until => {
                    tracing::warn!(%error, call = %self.call, "the ledger is asked again");
                }
                answer => return answer,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(CHARGE_PAUSE_MAX);
        }
    }
}

/// A question to the ledger that is on its way.
type Asking<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, BillingError>> + Send + 'a>>;

impl Charged {
    /// Tells the cost in the headers of a reply whose head leaves after the charge.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let values = [
            ("x-emberbox-cost", self.receipt.amount.to_string()),
            ("x-emberbox-receipt", self.receipt.call.to_string()),
            ("x-emberbox-balance", self.balance.available.to_string()),
        ];
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_limit_of_the_cost_holds() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(MAX_COST_HEADER, HeaderValue::from_str(text).unwrap());
            max_cost_header(&headers)
        };
        assert_eq!(read("0.001").unwrap(), Some(Nano::from_nano(1_000_000)));
        assert_eq!(read("0").unwrap(), Some(Nano::ZERO));
        assert_eq!(max_cost_header(&HeaderMap::new()).unwrap(), None);
        for wrong in ["1e-3", "-1", "", "NaN", "0.0000000001", "1,5"] {
            match read(wrong) {
                Err(ApiError::Invalid { param: Some(param), .. }) => {
                    assert_eq!(param, MAX_COST_HEADER, "{wrong}");
                }
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }
}
