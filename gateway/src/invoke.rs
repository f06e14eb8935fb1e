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
    AuthorPrice, Balance, BillingError, CaptureRequest, Ending, Hold, HoldId, HoldRequest, KeyId,
    Meter, Nano, OpId, OrgId, PriceBook, Receipt, Subject, UsageLine,
};
use emberbox_catalog::Principal;
use http::{HeaderMap, HeaderValue};

use crate::app::App;
use crate::errors::ApiError;
use crate::stack::Arrival;

/// Calls of functions.
pub(crate) mod function;
/// Direct calls of models.
pub(crate) mod model;
/// What a function's guest may spend on models, within its call's hold.
mod spend;
/// Quantities by model and meter.
mod tally;

pub(crate) use tally::Tally;

/// How much longer than its call a hold lives: the time to charge.
const HOLD_GRACE_MS: u64 = 60_000;
/// How often a charge is tried while the ledger's disk or queue fails, and the first pause. The
/// pauses double: together they stay within the hold's grace.
const CHARGE_TRIES: u32 = 9;
const CHARGE_PAUSE: Duration = Duration::from_millis(50);
/// How long a reply waits to tell the balance. It is a courtesy: the charge is made already.
const BALANCE_PATIENCE: Duration = Duration::from_millis(50);

/// Who calls, and which request it is.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Arc<Principal>,
    pub(crate) arrival: Arrival,
}

/// What is to be held.
struct Quote {
    subject: Subject,
    amount: Nano,
    book: Arc<PriceBook>,
    author: Option<AuthorPrice>,
    /// How long the call may last, in milliseconds.
    lasts_ms_max: u64,
}

/// An open hold, to be ended by [`Tab::charge`] or [`Tab::release`].
struct Tab {
    app: Arc<App>,
    hold: HoldId,
    org: OrgId,
    request_id: Arc<str>,
}

/// A charge that was made: what the reply tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Charged {
    pub(crate) receipt: Receipt,
    pub(crate) balance: Option<Balance>,
}

impl Tab {
    /// Asks for a hold. It returns when the ledger has decided, which is before the hold is
    /// durable; a refusal leaves nothing behind.
    async fn open(app: &Arc<App>, caller: &Caller, quote: Quote) -> Result<(Tab, Hold), ApiError> {
        let request_id = Arc::clone(&caller.arrival.request_id);
        let org = OrgId::new(&caller.principal.org.id);
        let request = HoldRequest {
            op: OpId::new(format!("hold-{request_id}"))?,
            org: org.clone(),
            key: KeyId::new(&caller.principal.key.id),
            amount: quote.amount,
            price_version: quote.book.version,
            subject: quote.subject,
            author: quote.author,
            ttl_ms: quote.lasts_ms_max.saturating_add(HOLD_GRACE_MS),
        };
        let hold = app.billing.hold(request).await?;
        Ok((Tab { app: Arc::clone(app), hold: hold.id, org, request_id }, hold))
    }

    /// Charges what was used; durable when it returns.
    async fn charge(self, usage: Vec<UsageLine>, ending: Ending) -> Result<Charged, ApiError> {
        let op = OpId::new(format!("capture-{}", self.request_id))?;
        let request = CaptureRequest { op, hold: self.hold, usage, ending };
        let receipt = self.capture(request).await?;
        let sum = |meters: &[Meter]| -> u64 {
            let lines = receipt.usage.iter().filter(|line| meters.contains(&line.meter));
            lines.map(|line| line.quantity).sum()
        };
        self.app.metrics.charged(
            sum(&[Meter::InputTokens, Meter::CachedInputTokens]),
            sum(&[Meter::OutputTokens]),
            receipt.amount.as_nano(),
        );
        // Nothing may fail any more: an error here would tell the client to try, and pay, again.
        let balance = tokio::time::timeout(BALANCE_PATIENCE, self.app.billing.balance(&self.org));
        let balance = balance.await.ok().and_then(Result::ok);
        Ok(Charged { receipt, balance })
    }

    /// What was delivered is owed, so that a ledger that fails for a moment is asked again: the
    /// operation's id makes it one charge.
    async fn capture(&self, request: CaptureRequest) -> Result<Receipt, ApiError> {
        let mut pause = CHARGE_PAUSE;
        for _ in 1..CHARGE_TRIES {
            match self.app.billing.capture(request.clone()).await {
                Err(error @ (BillingError::Overloaded | BillingError::Store(_))) => {
                    tracing::warn!(%error, "a charge is tried again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return Ok(answer?),
            }
        }
        Ok(self.app.billing.capture(request).await?)
    }

    /// Gives the hold up: nothing is charged. A failure is logged and left to the hold's expiry.
    async fn release(self) {
        let void = async {
            let op = OpId::new(format!("void-{}", self.request_id))?;
            self.app.billing.void(op, self.hold).await
        };
        if let Err(error) = void.await {
            tracing::error!(%error, "a hold was not released; it will expire");
        }
    }
}

impl Charged {
    /// Tells the cost in the headers of a reply whose head leaves after the charge.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let balance = self.balance.as_ref().map(|balance| balance.available.to_string());
        let values = [
            ("x-emberbox-cost", Some(self.receipt.amount.to_string())),
            ("x-emberbox-receipt", Some(self.receipt.id.to_string())),
            ("x-emberbox-balance", balance),
        ];
        for (name, value) in values.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}
