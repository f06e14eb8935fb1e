//! Operations as the writer takes them, what makes one invalid, and what is answered.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capture::{CaptureRequest, Receipt};
use crate::charge::USAGE_LINES_MAX;
use crate::error::{BillingError, Refusal};
use crate::hold::{Hold, HoldEnd, HoldRequest, Subject};
use crate::ids::{HoldId, NAME_BYTES_MAX, OpId, OrgId, PriceVersion, ReceiptId};
use crate::money::Nano;
use crate::price::{NewPriceBook, PriceBook};
use crate::report::Balance;

/// The longest life of a hold: a day.
pub const HOLD_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The most bytes of a top-up's note.
pub const NOTE_BYTES_MAX: usize = 1024;
/// The most models with prices of their own.
pub const PRICED_MODELS_MAX: usize = 10_000;
/// A markup of a hundred times the platform's price is a mistake.
pub const MARKUP_BPS_MAX: u32 = 1_000_000;

/// What the ledger can be asked to do.
#[derive(Clone, Debug, Serialize)]
pub(crate) enum Operation {
    Hold(HoldRequest),
    Capture(CaptureRequest),
    Void { op: OpId, hold: HoldId },
    TopUp { op: OpId, org: OrgId, amount: Nano, note: String },
    SetPrices(NewPriceBook),
}

/// The answer that an operation id keeps. Holds, receipts and books are read from their tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Held(HoldId),
    Captured(ReceiptId),
    Voided,
    ToppedUp(Balance),
    Priced(PriceVersion),
    Failed(Failure),
}

/// The failures that an operation id keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    Refused(Refusal),
    UnknownHold,
    UnknownPrice,
    HoldEnded(HoldEnd),
}

/// What goes back to the caller.
#[derive(Debug)]
pub(crate) enum Reply {
    Hold(Hold),
    Receipt(Box<Receipt>),
    Voided,
    Balance(Balance),
    Prices(Arc<PriceBook>),
}

impl Failure {
    /// The part of an error that is kept; `None` for those that do not use the id up.
    pub(crate) fn of(error: &BillingError) -> Option<Failure> {
        match error {
            BillingError::Refused(refusal) => Some(Failure::Refused(refusal.clone())),
            BillingError::UnknownHold => Some(Failure::UnknownHold),
            BillingError::UnknownPrice => Some(Failure::UnknownPrice),
            BillingError::HoldEnded(end) => Some(Failure::HoldEnded(*end)),
            BillingError::Conflict
            | BillingError::Overloaded
            | BillingError::Invalid(_)
            | BillingError::Stopped(_)
            | BillingError::Store(_)
            | BillingError::CannotOpen { .. } => None,
        }
    }
}

impl From<Failure> for BillingError {
    fn from(failure: Failure) -> BillingError {
        match failure {
            Failure::Refused(refusal) => BillingError::Refused(refusal),
            Failure::UnknownHold => BillingError::UnknownHold,
            Failure::UnknownPrice => BillingError::UnknownPrice,
            Failure::HoldEnded(end) => BillingError::HoldEnded(end),
        }
    }
}

impl Operation {
    /// The idempotency id.
    pub(crate) fn op(&self) -> &OpId {
        match self {
            Operation::Hold(request) => &request.op,
            Operation::Capture(request) => &request.op,
            Operation::SetPrices(book) => &book.op,
            Operation::Void { op, .. } | Operation::TopUp { op, .. } => op,
        }
    }

    /// The hold that it would end.
    pub(crate) fn ends(&self) -> Option<HoldId> {
        match self {
            Operation::Capture(request) => Some(request.hold),
            Operation::Void { hold, .. } => Some(*hold),
            Operation::Hold(_) | Operation::TopUp { .. } | Operation::SetPrices(_) => None,
        }
    }

    /// Whether it is worth nothing once its caller has left.
    pub(crate) fn is_for_caller_only(&self) -> bool {
        matches!(self, Operation::Hold(_))
    }

    /// A digest of everything asked: two payloads of one id are equal when their digests are.
    pub(crate) fn payload(&self) -> Result<[u8; 32], BillingError> {
        let json = serde_json::to_vec(self)
            .map_err(|error| BillingError::Invalid(format!("the request: {error}")))?;
        Ok(Sha256::digest(json).into())
    }

    /// Refuses what makes no sense in any state.
    pub(crate) fn validate(&self) -> Result<(), BillingError> {
        match self {
            Operation::Hold(request) => validate_hold(request),
            Operation::Capture(request) => validate_capture(request),
            Operation::Void { .. } => Ok(()),
            Operation::TopUp { org, amount, note, .. } => {
                name("org", org.as_str())?;
                ensure(*amount > Nano::ZERO, "amount: must be more than zero")?;
                ensure(note.len() <= NOTE_BYTES_MAX, "note: longer than 1024 bytes")
            }
            Operation::SetPrices(book) => {
                ensure(book.models.len() <= PRICED_MODELS_MAX, "models: more than 10000")?;
                book.models.keys().try_for_each(|model| name("models", model))
            }
        }
    }
}

fn validate_hold(request: &HoldRequest) -> Result<(), BillingError> {
    name("org", request.org.as_str())?;
    name("key", request.key.as_str())?;
    match &request.subject {
        Subject::Model(model) => name("subject", model)?,
        Subject::Function { owner, name: function, .. } => {
            name("subject.owner", owner)?;
            name("subject.name", function)?;
        }
    }
    ensure(!request.amount.is_negative(), "amount: must not be negative")?;
    ensure(
        (1..=HOLD_TTL_MS_MAX).contains(&request.ttl_ms),
        "ttl_ms: must be from 1 to 86400000 (a day)",
    )?;
    if let Some(author) = &request.author {
        name("author.org", author.org.as_str())?;
        ensure(!author.call_fee.is_negative(), "author.call_fee: must not be negative")?;
        ensure(
            author.compute_markup_bps <= MARKUP_BPS_MAX,
            "author.compute_markup_bps: must be at most 1000000",
        )?;
    }
    Ok(())
}

fn validate_capture(request: &CaptureRequest) -> Result<(), BillingError> {
    ensure(request.usage.len() <= USAGE_LINES_MAX, "usage: more than 1000 lines")?;
    let mut models = request.usage.iter().filter_map(|line| line.model.as_deref());
    models.try_for_each(|model| name("usage.model", model))
}

fn name(field: &str, name: &str) -> Result<(), BillingError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let reason = format!("{field}: must have 1 to {NAME_BYTES_MAX} bytes, all printable");
        return Err(BillingError::Invalid(reason));
    }
    Ok(())
}

fn ensure(holds: bool, reason: &str) -> Result<(), BillingError> {
    if holds { Ok(()) } else { Err(BillingError::Invalid(reason.to_owned())) }
}
