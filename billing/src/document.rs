//! What the ledger remembers beside accounts and calls: few, small, and kept in memory whole
//! while they matter. Each is stored as one JSON text under its kind and name.

use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::ids::{BudgetId, CallId, KeyId, LotId, OrgId};
use crate::message::Message;
use crate::money::Nano;
use crate::order::{AutoTopUp, Endpoint, EndpointGone, Funding, Platform, Scope, Window};
use crate::report::PeriodClose;

/// A remembered thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Document {
    Lot(Lot),
    Budget(Budget),
    Settings(Settings),
    Platform(Platform),
    Gateway(Gateway),
    /// A message that waits, or one that is done.
    Message {
        message: Message,
        done: bool,
    },
    Period(PeriodClose),
    Refunds(Refunds),
}

/// Where a document is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DocumentKey {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
}

/// A lot: its money is in its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lot {
    pub(crate) lot: LotId,
    pub(crate) org: OrgId,
    pub(crate) funding: Funding,
    pub(crate) priority: u8,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) scope: Scope,
    pub(crate) granted_at_ms: u64,
    pub(crate) note: String,
    /// Whether it has expired and what was left has gone.
    pub(crate) expired: bool,
}

/// A budget: what its window still allows is in its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budget {
    pub(crate) budget: BudgetId,
    pub(crate) org: OrgId,
    pub(crate) key: Option<KeyId>,
    pub(crate) window: Window,
    /// `None`: it was removed.
    pub(crate) limit: Option<Nano>,
    /// When the present window began, in milliseconds since 1970.
    pub(crate) opened_at_ms: u64,
    /// The account's posted debits at that time.
    pub(crate) debits_before: Nano,
}

/// What an organisation (or, without one, the operator) has set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) org: Option<OrgId>,
    pub(crate) low_balance: Option<Nano>,
    /// Whether it was told since the balance fell below.
    pub(crate) told: bool,
    pub(crate) auto_top_up: Option<AutoTopUp>,
    /// Whether money was asked for and has not come yet.
    pub(crate) asked: bool,
    /// In which month, and how often in it.
    pub(crate) asked_in: Option<(Period, u32)>,
    pub(crate) endpoint: Option<Endpoint>,
    /// The endpoint before, where its receiver wanted no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gone: Option<EndpointGone>,
    /// The last month whose free credits were granted.
    pub(crate) free_tier_in: Option<Period>,
}

/// A gateway and the epoch of its newest process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gateway {
    pub(crate) gateway: String,
    pub(crate) epoch: u64,
}

/// What was given back of one call. Not kept in memory; found when it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refunds {
    pub(crate) org: String,
    pub(crate) call: Option<CallId>,
    /// Of each transfer of the capture, in order, how much was given back.
    pub(crate) given_back: Vec<Nano>,
}

impl Document {
    /// Where it is kept.
    pub(crate) fn key(&self) -> DocumentKey {
        let (kind, id) = match self {
            Document::Lot(lot) => ("lot", lot.lot.to_string()),
            Document::Budget(budget) => ("budget", budget.budget.to_string()),
            Document::Settings(settings) => {
                ("settings", settings.org.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            Document::Platform(_) => ("platform", String::new()),
            Document::Gateway(gateway) => ("gateway", gateway.gateway.clone()),
            Document::Message { message, .. } => ("message", message.id.to_string()),
            Document::Period(close) => ("period", close.period.to_string()),
            Document::Refunds(refunds) => return Refunds::key(&refunds.org, refunds.call),
        };
        DocumentKey { kind, id }
    }

    /// Whether the rules need it in memory. The store keeps the others too.
    pub(crate) fn is_live(&self) -> bool {
        match self {
            Document::Lot(lot) => !lot.expired,
            Document::Budget(budget) => budget.limit.is_some(),
            Document::Message { done, .. } => !done,
            Document::Settings(_) | Document::Platform(_) | Document::Gateway(_) => true,
            // The last close tells which month is open.
            Document::Period(_) => true,
            Document::Refunds(_) => false,
        }
    }
}

impl Refunds {
    /// Where the refunds of a call are kept.
    pub(crate) fn key(org: &str, call: Option<CallId>) -> DocumentKey {
        let call = call.map(|call| call.to_string()).unwrap_or_default();
        DocumentKey { kind: "refunds", id: format!("{org}/{call}") }
    }
}
