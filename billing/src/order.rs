//! Orders: what people and programs ask of the ledger beside calls. Each has an operation id, is
//! done once, and stays in the audit log with its author and its answer.

use serde::{Deserialize, Serialize};

use crate::ids::{BudgetId, CallId, KeyId, LotId, MessageId, OpId, OrgId};
use crate::money::Nano;
use crate::price::{NewPriceBook, PriceBook};
use crate::report::Balance;

/// An act, who asks for it, and the id that makes it happen once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The idempotency id. The same id with the same act gets the same answer, for ever.
    pub op: OpId,
    /// Who asks, for the audit log: `operator`, a key's id, `stripe`, `system`.
    pub by: String,
    /// What is asked.
    pub act: Act,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Act {
    /// Money came in: the wallet grows. What the organisation owes is settled first.
    TopUp(Payment),
    /// The payment provider took money back: the wallet shrinks as far as it can, and the rest
    /// is owed. New holds wait until it is paid.
    Chargeback(Payment),
    /// Credits are given, as a lot of their own.
    Grant(Grant),
    /// A charge is given back, to the accounts and from the shares that the call recorded.
    Refund {
        /// Who paid.
        org: OrgId,
        /// The call.
        call: CallId,
        /// How much; all that is left of the charge where it is missing.
        #[serde(default)]
        amount: Option<Nano>,
        /// Why, for the credit note.
        note: String,
    },
    /// The operator corrects a wallet, against `suspense`. Below zero takes.
    Adjust {
        /// Whose wallet.
        org: OrgId,
        /// How much; not zero.
        amount: Nano,
        /// Why.
        note: String,
    },
    /// What an organisation earned is paid out; only what has matured.
    Payout(Payment),
    /// A budget is set, changed, or (without a limit) removed.
    SetBudget {
        /// Whose budget.
        org: OrgId,
        /// Of one key; `None` counts all keys of the organisation.
        #[serde(default)]
        key: Option<KeyId>,
        /// How long a window is.
        window: Window,
        /// The most that calls may cost in a window; `None` removes the budget.
        limit: Option<Nano>,
    },
    /// A new version of the prices.
    SetPrices(NewPriceBook),
    /// When to tell an organisation that its balance is low; `None` for never.
    SetLowBalance {
        /// Whose balance.
        org: OrgId,
        /// Told once, each time the balance falls below this.
        below: Option<Nano>,
    },
    /// When to ask the payment provider for more; `None` for never.
    SetAutoTopUp {
        /// Whose wallet.
        org: OrgId,
        /// The rule.
        rule: Option<AutoTopUp>,
    },
    /// Where messages go; `None` switches them off.
    SetEndpoint {
        /// Whose messages; `None` for the operator's.
        #[serde(default)]
        org: Option<OrgId>,
        /// Where to, and how they are signed.
        endpoint: Option<Endpoint>,
    },
    /// What holds for everybody.
    SetPlatform(Platform),
    /// A gateway process introduces itself: open holds of its older processes are voided.
    RegisterGateway {
        /// Its name, the same after a restart.
        gateway: String,
    },
    /// What became of a message.
    Delivery {
        /// Which message.
        message: MessageId,
        /// Whether it is done; else when it is tried again, in milliseconds since 1970.
        retry_at_ms: Option<u64>,
        /// What happened, for the operator; never the receiver's words in full.
        note: String,
        /// The address, where its receiver answered that it wants no more messages at all: it is
        /// switched off, unless another was set meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gone: Option<String>,
    },
}

/// Money that came in or went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Whose wallet (or, for a payout, whose earnings).
    pub org: OrgId,
    /// How much; more than zero.
    pub amount: Nano,
    /// The way money took, such as `operator` or `stripe`: lower-case letters, digits, `-`.
    #[serde(default = "operator_rail")]
    pub rail: String,
    /// The provider's own name of the payment.
    #[serde(default)]
    pub reference: Option<String>,
    /// For the statement.
    #[serde(default)]
    pub note: String,
}

fn operator_rail() -> String {
    "operator".to_owned()
}

/// Credits that are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// To whom.
    pub org: OrgId,
    /// How much; more than zero.
    pub amount: Nano,
    /// Whether somebody paid for them.
    #[serde(default)]
    pub funding: Funding,
    /// Lower burns first.
    #[serde(default)]
    pub priority: u8,
    /// When they expire, in milliseconds since 1970; `None` for never.
    #[serde(default)]
    pub expires_at_ms: Option<u64>,
    /// What they may pay for.
    #[serde(default)]
    pub scope: Scope,
    /// For the statement.
    #[serde(default)]
    pub note: String,
}

/// Whether somebody paid for granted credits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Funding {
    /// Nobody did: what they pay for earns nobody anything.
    #[default]
    Promotional,
    /// Money did, by the operator's own ways.
    Paid,
}

/// What a grant may pay for. Empty lists restrict nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Direct calls of these models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Calls of these functions, as `owner/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

/// How long a budget counts before it starts again, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
    /// Never again.
    Total,
}

/// A rule that asks the payment provider for money when a wallet runs low.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoTopUp {
    /// Asks when the balance falls below this.
    pub below: Nano,
    /// For this much.
    pub amount: Nano,
    /// At most so often in a month (UTC).
    pub per_month_max: u32,
}

/// Where messages are sent, by the Standard Webhooks convention.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// An `https://` address (or `http://` where the operator allows it).
    pub url: String,
    /// The secret that signs; `whsec_` and base64.
    pub secret: String,
}

/// An endpoint that the ledger switched off by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointGone {
    /// Its address.
    pub url: String,
    /// When its receiver said that it wants no more, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The secret stays out of logs.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What holds for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Credits that every organisation is given each month, gone at its end; zero for none.
    pub free_tier_per_month: Nano,
    /// How many days earnings wait before they can be paid out.
    pub maturity_days: u32,
}

impl Default for Platform {
    fn default() -> Platform {
        Platform { free_tier_per_month: Nano::ZERO, maturity_days: 30 }
    }
}

/// What an order is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The wallet after a payment, chargeback or adjustment.
    Balance(Balance),
    /// The lot that was granted, and the balance with it.
    Granted {
        /// The lot.
        lot: LotId,
        /// The balance.
        balance: Balance,
    },
    /// What was given back.
    Refunded {
        /// Now.
        amount: Nano,
        /// With all refunds of this call before.
        in_all: Nano,
        /// The balance.
        balance: Balance,
    },
    /// What can be paid out after a payout.
    PaidOut {
        /// Matured and not yet paid out.
        matured: Nano,
    },
    /// The budget that was set; `None` where it was removed.
    Budget(Option<BudgetId>),
    /// The prices as published.
    Priced(Box<PriceBook>),
    /// The gateway's epoch, and how many holds of older ones were voided.
    Registered {
        /// To be named in holds.
        epoch: u64,
        /// Holds voided.
        voided: u64,
    },
    /// Done; there is nothing to tell.
    Done,
}

/// What the ledger does by itself, written to the journal like any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SystemAct {
    /// What is left of a lot that has expired.
    ExpireLot {
        /// The lot.
        lot: LotId,
    },
    /// A new window of a budget.
    OpenWindow {
        /// The budget.
        budget: BudgetId,
    },
    /// This month's free credits.
    FreeTier {
        /// For whom.
        org: OrgId,
    },
    /// The books of a month that has ended.
    ClosePeriod {
        /// The month.
        period: crate::calendar::Period,
    },
}

impl Act {
    /// The act as the audit log keeps it: without secrets.
    pub(crate) fn redacted(&self) -> Act {
        match self {
            Act::SetEndpoint { org, endpoint: Some(endpoint) } => Act::SetEndpoint {
                org: org.clone(),
                endpoint: Some(Endpoint { url: endpoint.url.clone(), secret: "***".to_owned() }),
            },
            act => act.clone(),
        }
    }

    /// The organisation on whose statement it stands.
    #[must_use]
    pub fn org(&self) -> Option<&OrgId> {
        match self {
            Act::TopUp(payment) | Act::Chargeback(payment) | Act::Payout(payment) => {
                Some(&payment.org)
            }
            Act::Grant(grant) => Some(&grant.org),
            Act::Refund { org, .. }
            | Act::Adjust { org, .. }
            | Act::SetBudget { org, .. }
            | Act::SetLowBalance { org, .. }
            | Act::SetAutoTopUp { org, .. } => Some(org),
            Act::SetEndpoint { org, .. } => org.as_ref(),
            Act::SetPrices(_)
            | Act::SetPlatform(_)
            | Act::RegisterGateway { .. }
            | Act::Delivery { .. } => None,
        }
    }
}
