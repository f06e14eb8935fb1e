//! Holds: money set aside for a call before it starts.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::BillingError;
use crate::account::Account;
use crate::ids::{BudgetId, CallId, KeyId, LotId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::price::{AuthorPrice, ProviderShare};

/// What a call is charged for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// The call: chosen by the caller, and its idempotency id within the organisation.
    pub call: CallId,
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
    #[serde(default)]
    pub author: Option<AuthorPrice>,
    /// Who runs the call, where it is not the operator.
    #[serde(default)]
    pub provider: Option<ProviderShare>,
    /// How long the hold lives; longer than the call's hard deadline plus a grace.
    pub ttl_ms: u64,
    /// The gateway process that asks; `None` for the process that has the ledger embedded.
    #[serde(default)]
    pub holder: Option<Holder>,
}

/// A gateway process. When a gateway registers again, the holds of its older epochs are voided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The gateway's name, the same after a restart.
    pub gateway: String,
    /// What its registration was answered.
    pub epoch: u64,
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
    /// The process that held it is gone; the ledger voided it when it, or the ledger, came back.
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
    /// The call.
    pub call: CallId,
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
    pub(crate) call: CallId,
    pub(crate) org: OrgId,
    pub(crate) key: KeyId,
    pub(crate) amount: Nano,
    pub(crate) price_version: PriceVersion,
    pub(crate) subject: Subject,
    pub(crate) pinned: Arc<Pinned>,
    /// The lots that pay, in the order in which they burn, and how much of each is set aside.
    /// What is missing to the amount is set aside in the wallet, which burns last.
    pub(crate) lots: Vec<(LotId, Nano)>,
    pub(crate) created_at_ms: u64,
    pub(crate) expires_at_ms: u64,
}

/// The terms that many calls share or most calls lack, kept together as one interned JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Pinned {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<AuthorPrice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<ProviderShare>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<Holder>,
    /// The budgets that count this call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) budgets: Vec<BudgetId>,
    /// Those of its lots that were paid for; the others are free credits. A lot that is gone when
    /// the call is charged late cannot tell any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) paid_lots: Vec<LotId>,
}

impl HoldTerms {
    /// What was set aside, account by account, in the order in which it is spent.
    pub(crate) fn legs(&self) -> Vec<(Account, Nano)> {
        let mut left = self.amount;
        let mut legs: Vec<(Account, Nano)> = Vec::new();
        for (lot, amount) in &self.lots {
            legs.push((Account::Lot(*lot), *amount));
            left = left.checked_sub(*amount).unwrap_or(Nano::ZERO);
        }
        if left > Nano::ZERO {
            legs.push((Account::Wallet(self.org.clone()), left));
        }
        legs
    }

    /// Whether a repeated request asks for the same as the one these terms were decided for.
    pub(crate) fn is_for(&self, request: &HoldRequest) -> bool {
        self.org == request.org
            && self.key == request.key
            && self.amount == request.amount
            && self.price_version == request.price_version
            && self.subject == request.subject
            && self.pinned.author == request.author
            && self.pinned.provider == request.provider
            && self.expires_at_ms.checked_sub(self.created_at_ms) == Some(request.ttl_ms)
    }
}

impl Hold {
    pub(crate) fn new(terms: &HoldTerms, durability: Durability) -> Hold {
        Hold {
            call: terms.call,
            amount: terms.amount,
            price_version: terms.price_version,
            expires_at_ms: terms.expires_at_ms,
            durability,
        }
    }

    /// A hold that was decided in another process.
    pub(crate) fn decided(
        call: CallId,
        amount: Nano,
        (price_version, expires_at_ms): (PriceVersion, u64),
        durability: Durability,
    ) -> Hold {
        Hold { call, amount, price_version, expires_at_ms, durability }
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
