//! Holds: money set aside for a call before it starts.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::BillingError;
use crate::ids::{HoldId, KeyId, OpId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::price::AuthorPrice;

/// What a call is charged for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A direct call of a model.
    Model(String),
    /// A call of a deployed function.
    Function {
        /// The organisation that deployed it.
        owner: String,
        /// Its name.
        name: String,
        /// The version that ran.
        version: u64,
    },
}

/// A request to set the worst case of a call aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRequest {
    /// The idempotency id.
    pub op: OpId,
    /// Who pays.
    pub org: OrgId,
    /// With which key.
    pub key: KeyId,
    /// The most the call may cost.
    pub amount: Nano,
    /// The prices of the call, whatever is published meanwhile.
    pub price_version: PriceVersion,
    /// What is called.
    pub subject: Subject,
    /// What the function's author adds.
    pub author: Option<AuthorPrice>,
    /// How long the hold lives; longer than the call's hard deadline plus a grace.
    pub ttl_ms: u64,
}

/// How a hold has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldEnd {
    /// The call was charged.
    Captured,
    /// The caller gave it up.
    Voided,
    /// Its time-to-live passed.
    Expired,
    /// The process that held it is gone; the ledger voided it when it was opened again.
    Restarted,
}

impl fmt::Display for HoldEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HoldEnd::Captured => "it was captured",
            HoldEnd::Voided => "it was voided",
            HoldEnd::Expired => "it expired",
            HoldEnd::Restarted => "the server restarted",
        })
    }
}

/// A hold that was decided. Work may begin; no byte may leave before [`Hold::durable`].
#[derive(Debug)]
pub struct Hold {
    /// Its id, for the capture or void.
    pub id: HoldId,
    /// What is set aside.
    pub amount: Nano,
    /// The pinned prices.
    pub price_version: PriceVersion,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: u64,
    durability: Durability,
}

/// What is known about the sync of a hold.
#[derive(Debug)]
pub(crate) enum Durability {
    /// The writer has not committed yet.
    Pending(oneshot::Receiver<Result<(), BillingError>>),
    /// The commit's outcome.
    Known(Result<(), BillingError>),
}

/// The terms of a hold, pinned when it is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HoldTerms {
    pub(crate) id: HoldId,
    pub(crate) org: OrgId,
    pub(crate) key: KeyId,
    pub(crate) amount: Nano,
    pub(crate) price_version: PriceVersion,
    pub(crate) subject: Subject,
    pub(crate) author: Option<AuthorPrice>,
    pub(crate) expires_at_ms: u64,
}

impl HoldTerms {
    /// The terms of a request that is decided at `at_ms`.
    pub(crate) fn new(id: HoldId, request: &HoldRequest, at_ms: u64) -> HoldTerms {
        HoldTerms {
            id,
            org: request.org.clone(),
            key: request.key.clone(),
            amount: request.amount,
            price_version: request.price_version,
            subject: request.subject.clone(),
            author: request.author.clone(),
            expires_at_ms: at_ms.saturating_add(request.ttl_ms),
        }
    }
}

impl Hold {
    pub(crate) fn new(terms: &HoldTerms, durability: Durability) -> Hold {
        Hold {
            id: terms.id,
            amount: terms.amount,
            price_version: terms.price_version,
            expires_at_ms: terms.expires_at_ms,
            durability,
        }
    }

    /// Waits until the hold would survive a crash. It may be cancelled and awaited again.
    ///
    /// # Errors
    /// [`BillingError::Store`] or [`BillingError::Stopped`] where the commit failed: the hold
    /// does not exist, and nothing may be delivered on it.
    pub async fn durable(&mut self) -> Result<(), BillingError> {
        let outcome = match &mut self.durability {
            Durability::Known(outcome) => return outcome.clone(),
            Durability::Pending(commit) => commit.await.unwrap_or_else(|_| {
                Err(BillingError::Stopped("the writer ended before the commit".to_owned()))
            }),
        };
        self.durability = Durability::Known(outcome.clone());
        outcome
    }
}
