//! Captures: what a call has used, how it ended, and the receipt for it.

use serde::{Deserialize, Serialize};

use crate::charge::{Charge, Part};
use crate::hold::{HoldTerms, Subject};
use crate::ids::{HoldId, KeyId, OpId, OrgId, PriceVersion, ReceiptId};
use crate::money::Nano;
use crate::price::UsageLine;

/// How a call ended. [`crate::payable`] holds the table of what is paid for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It ran to its end.
    Normal,
    /// The client left before the end.
    ClientLeft,
    /// The call's deadline passed.
    Deadline,
    /// The hold was used up.
    Budget,
    /// The guest trapped.
    GuestTrap,
    /// Our fault.
    PlatformFault,
}

/// A request to charge a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRequest {
    /// The idempotency id.
    pub op: OpId,
    /// The hold of the call.
    pub hold: HoldId,
    /// What the call used; for a platform fault, what of it was delivered.
    pub usage: Vec<UsageLine>,
    /// How it ended.
    pub ending: Ending,
}

/// The record of one charged call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its id, ordered by time.
    pub id: ReceiptId,
    /// Who paid.
    pub org: OrgId,
    /// With which key.
    pub key: KeyId,
    /// For what.
    pub subject: Subject,
    /// The hold that was captured.
    pub hold: HoldId,
    /// The charge: never more than `held`.
    pub amount: Nano,
    /// What was set aside.
    pub held: Nano,
    /// The quantities as reported, paid or not.
    pub usage: Vec<UsageLine>,
    /// How the call ended, which decides what of `usage` is paid.
    pub ending: Ending,
    /// The prices that were applied.
    pub price_version: PriceVersion,
    /// When it was written, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Who gets what of `amount`; the parts sum to it exactly.
    pub parts: Vec<Part>,
}

impl Receipt {
    pub(crate) fn new(
        id: ReceiptId,
        created_at_ms: u64,
        held: &HoldTerms,
        capture: &CaptureRequest,
        charge: Charge,
    ) -> Receipt {
        Receipt {
            id,
            org: held.org.clone(),
            key: held.key.clone(),
            subject: held.subject.clone(),
            hold: held.id,
            amount: charge.total,
            held: held.amount,
            usage: capture.usage.clone(),
            ending: capture.ending,
            price_version: held.price_version,
            created_at_ms,
            parts: charge.parts,
        }
    }
}
