//! Captures: what a call has used, how it ended, and the receipt for it.

use serde::{Deserialize, Serialize};

use crate::charge::Part;
use crate::hold::{HoldTerms, Subject};
use crate::ids::{CallId, KeyId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::price::{AuthorPrice, ProviderShare, UsageLine};
use crate::report::Balance;

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

/// A request to charge a call. The call's id makes it idempotent: a call is charged once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// Who pays, as in the hold.
    pub org: OrgId,
    /// The call.
    pub call: CallId,
    /// What the call used; for a platform fault, what of it was delivered. Lines of the same
    /// model and meter are added up, and lines of nothing are left out.
    pub usage: Vec<UsageLine>,
    /// How it ended.
    pub ending: Ending,
}

/// A charge that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The receipt. It never changes.
    pub receipt: Receipt,
    /// What the organisation has after it; for a repeated request, what it has now.
    pub balance: Balance,
}

/// The record of one charged call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The call; the receipt is found by it.
    pub call: CallId,
    /// Who paid.
    pub org: OrgId,
    /// With which key.
    pub key: KeyId,
    /// For what.
    pub subject: Subject,
    /// The charge: never more than `held`.
    pub amount: Nano,
    /// What was set aside.
    pub held: Nano,
    /// The quantities as reported, paid or not, ordered by model and meter.
    pub usage: Vec<UsageLine>,
    /// How the call ended, which decides what of `usage` is paid.
    pub ending: Ending,
    /// Whether the hold had expired: the charge went to the organisation's receivable.
    pub late: bool,
    /// The prices that were applied.
    pub price_version: PriceVersion,
    /// What the function's author added, pinned with the hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<AuthorPrice>,
    /// Who ran the call, where it was not the operator, pinned with the hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderShare>,
    /// When the hold was decided, in milliseconds since 1970.
    pub held_at_ms: u64,
    /// When it was written, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Who gets what of `amount`; the parts sum to it exactly.
    pub parts: Vec<Part>,
}

impl Receipt {
    pub(crate) fn new(
        terms: &HoldTerms,
        (usage, ending): (Vec<UsageLine>, Ending),
        (amount, parts): (Nano, Vec<Part>),
        (late, created_at_ms): (bool, u64),
    ) -> Receipt {
        Receipt {
            call: terms.call,
            org: terms.org.clone(),
            key: terms.key.clone(),
            subject: terms.subject.clone(),
            amount,
            held: terms.amount,
            usage,
            ending,
            late,
            price_version: terms.price_version,
            author: terms.pinned.author.clone(),
            provider: terms.pinned.provider.clone(),
            held_at_ms: terms.created_at_ms,
            created_at_ms,
            parts,
        }
    }
}

/// Usage in its one written form: ordered, added up, without lines of nothing.
pub(crate) fn normal_form(usage: &[UsageLine]) -> Vec<UsageLine> {
    let mut sorted: Vec<&UsageLine> = usage.iter().filter(|line| line.quantity > 0).collect();
    sorted.sort_by_key(|line| (&line.model, line.meter));
    let mut lines: Vec<UsageLine> = Vec::with_capacity(sorted.len());
    for line in sorted {
        match lines.last_mut() {
            Some(last) if last.model == line.model && last.meter == line.meter => {
                last.quantity = last.quantity.saturating_add(line.quantity);
            }
            _ => lines.push(line.clone()),
        }
    }
    lines
}
