//! Events: what the provider says has happened, and what follows from it.

use serde::Deserialize;
use serde_json::Value;

use super::{CreditRates, PaymentError};
use crate::BillingError;
use crate::billing::Billing;
use crate::ids::{NAME_BYTES_MAX, OpId, OrgId};
use crate::money::Nano;
use crate::order::{Act, Order, Payment};
use crate::report::{EntryAct, EntryAnswer, Query, Report};

/// The way money takes, and the author of the orders.
const RAIL: &str = "stripe";
/// The provider's ids are shorter; they go into operation ids.
const PROVIDER_ID_BYTES_MAX: usize = 80;

/// An event that the provider has signed.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentEvent {
    /// Its own id, for logs.
    pub id: String,
    /// What has happened, such as `payment_intent.succeeded`.
    pub kind: String,
    /// Whether it is about real money.
    pub live: bool,
    /// The object that it happened to.
    object: Value,
    /// What the object's changed fields were before.
    before: Value,
}

/// What is to be done because of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Give this to the ledger.
    Order(Box<Order>),
    /// Money moved on a payment whose payer the event does not name.
    Unattributed(Unattributed),
    /// Nothing; the text says why. The provider is answered with success.
    Ignore(String),
}

/// Money that moved on an earlier payment. Its payer is found by the payment: see [`payer`].
/// Where the ledger never credited that payment, there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unattributed {
    /// The order that credited the payment.
    pub payment: OpId,
    posting: Posting,
}

/// An order without the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Posting {
    op: OpId,
    comes_in: bool,
    amount: Nano,
    reference: String,
    note: String,
}

impl Unattributed {
    /// The order, now that the payer is known.
    #[must_use]
    pub fn of(self, org: OrgId) -> Order {
        self.posting.of(org)
    }
}

impl Posting {
    fn of(self, org: OrgId) -> Order {
        let payment = Payment {
            org,
            amount: self.amount,
            rail: RAIL.to_owned(),
            reference: Some(self.reference),
            note: self.note,
        };
        let act = if self.comes_in { Act::TopUp(payment) } else { Act::Chargeback(payment) };
        Order { op: self.op, by: RAIL.to_owned(), act }
    }
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    livemode: bool,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
    #[serde(default)]
    previous_attributes: Value,
}

impl PaymentEvent {
    pub(crate) fn read(body: &[u8]) -> Result<PaymentEvent, PaymentError> {
        let envelope: Envelope = serde_json::from_slice(body)
            .map_err(|error| PaymentError::Malformed(format!("not an event: {error}")))?;
        let Data { object, previous_attributes: before } = envelope.data;
        if !object.is_object() {
            return Err(PaymentError::Malformed("`data.object` is not an object".to_owned()));
        }
        let (id, kind, live) = (envelope.id, envelope.kind, envelope.livemode);
        Ok(PaymentEvent { id, kind, live, object, before })
    }

    pub(super) fn instruction(&self, rates: &CreditRates) -> Result<Instruction, PaymentError> {
        match self.kind.as_str() {
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
                self.session_paid(rates)
            }
            "payment_intent.succeeded" => self.intent_paid(rates),
            "charge.refunded" => self.refunded(rates),
            "charge.dispute.created" | "charge.dispute.funds_withdrawn" => {
                self.disputed(rates, false)
            }
            "charge.dispute.closed" => self.disputed(rates, true),
            kind => {
                let shown: String = kind.chars().take(80).collect();
                Ok(Instruction::Ignore(format!("events of type `{shown}` move no credits")))
            }
        }
    }

    fn session_paid(&self, rates: &CreditRates) -> Result<Instruction, PaymentError> {
        if self.text("payment_status")? != "paid" {
            return ignore("the session is not paid yet");
        }
        let Some(org) = self.org()? else {
            return ignore("the session has no metadata.emberbox_org");
        };
        let Some(intent) = self.id_of("payment_intent")? else {
            let reason = "the session was paid without a payment intent: only single payments \
                          become credits";
            return Err(PaymentError::Malformed(reason.to_owned()));
        };
        self.paid(rates, (org, intent), "amount_total")
    }

    fn intent_paid(&self, rates: &CreditRates) -> Result<Instruction, PaymentError> {
        let Some(org) = self.org()? else {
            // The session's event, if there is one, names the organisation.
            return ignore("the payment intent has no metadata.emberbox_org");
        };
        let intent = self.own_id()?;
        self.paid(rates, (org, intent), "amount_received")
    }

    fn paid(
        &self,
        rates: &CreditRates,
        (org, intent): (OrgId, String),
        amount: &str,
    ) -> Result<Instruction, PaymentError> {
        let amount = rates.credits(self.text("currency")?, self.minor_units(amount)?)?;
        if amount == Nano::ZERO {
            return ignore("nothing was paid");
        }
        let op = paid_op(&intent)?;
        let note = "payment received".to_owned();
        let posting = Posting { op, comes_in: true, amount, reference: intent, note };
        Ok(Instruction::Order(Box::new(posting.of(org))))
    }

    fn refunded(&self, rates: &CreditRates) -> Result<Instruction, PaymentError> {
        if self.object.get("captured") == Some(&Value::Bool(false)) {
            return ignore("the charge was never captured");
        }
        let charge = self.own_id()?;
        if self.object.get("amount_captured").is_some()
            && self.minor_units("amount_captured")? != self.minor_units("amount")?
        {
            // What was not captured counts as refunded too, and was never credited.
            let reason = "the charge was captured in part: adjust the wallet by hand";
            return Err(PaymentError::Malformed(reason.to_owned()));
        }
        let in_all = self.minor_units("amount_refunded")?;
        let before = minor_units(&self.before, "amount_refunded", "data.previous_attributes")?;
        let refunded = in_all.checked_sub(before).filter(|refunded| *refunded > 0);
        let Some(refunded) = refunded else {
            let reason = "`amount_refunded` has not grown";
            return Err(PaymentError::Malformed(reason.to_owned()));
        };
        let intent = self.id_of("payment_intent")?;
        let posting = Posting {
            op: op(&format!("stripe:{charge}:refund:{in_all}"))?,
            comes_in: false,
            amount: rates.credits(self.text("currency")?, refunded)?,
            reference: intent.clone().unwrap_or(charge),
            note: "payment refunded".to_owned(),
        };
        self.attributed(posting, intent)
    }

    fn disputed(&self, rates: &CreditRates, closed: bool) -> Result<Instruction, PaymentError> {
        let dispute = self.own_id()?;
        let (step, note) = match (closed, self.text("status")?) {
            (true, "won") => ("reinstated", "dispute won"),
            (true, status) => return ignore(&format!("the dispute was closed as `{status}`")),
            (false, "needs_response" | "under_review" | "won" | "lost") => {
                ("withdrawn", "payment disputed")
            }
            (false, status) => {
                return ignore(&format!("a dispute that is `{status}` has taken no money"));
            }
        };
        let amount = rates.credits(self.text("currency")?, self.minor_units("amount")?)?;
        if amount == Nano::ZERO {
            return ignore("nothing is disputed");
        }
        let intent = self.id_of("payment_intent")?;
        let posting = Posting {
            op: op(&format!("stripe:{dispute}:{step}"))?,
            comes_in: closed,
            amount,
            reference: intent.clone().unwrap_or_else(|| dispute.clone()),
            note: format!("{note}: {dispute}"),
        };
        self.attributed(posting, intent)
    }

    /// With the organisation, if the object names it, else with the payment that does.
    fn attributed(
        &self,
        posting: Posting,
        intent: Option<String>,
    ) -> Result<Instruction, PaymentError> {
        match (self.org()?, intent) {
            (Some(org), _) => Ok(Instruction::Order(Box::new(posting.of(org)))),
            (None, Some(intent)) => {
                let payment = paid_op(&intent)?;
                Ok(Instruction::Unattributed(Unattributed { payment, posting }))
            }
            (None, None) => ignore("it names neither an organisation nor a payment intent"),
        }
    }

    fn org(&self) -> Result<Option<OrgId>, PaymentError> {
        let named = self.object.get("metadata").and_then(|data| data.get("emberbox_org"));
        let Some(named) = named else { return Ok(None) };
        let name = named.as_str().filter(|name| {
            (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
        });
        let reason = || "`metadata.emberbox_org` is not the name of an organisation".to_owned();
        name.map(OrgId::new).map(Some).ok_or_else(|| PaymentError::Malformed(reason()))
    }

    fn text(&self, field: &str) -> Result<&str, PaymentError> {
        let text = self.object.get(field).and_then(Value::as_str);
        text.ok_or_else(|| PaymentError::Malformed(format!("`{field}` is missing or no text")))
    }

    fn minor_units(&self, field: &str) -> Result<u64, PaymentError> {
        minor_units(&self.object, field, "data.object")
    }

    fn own_id(&self) -> Result<String, PaymentError> {
        self.id_of("id")?.ok_or_else(|| PaymentError::Malformed("`id` is missing".to_owned()))
    }

    /// The id in a field; `None` where there is none.
    fn id_of(&self, field: &str) -> Result<Option<String>, PaymentError> {
        let named = match self.object.get(field) {
            None | Some(Value::Null) => return Ok(None),
            // Expanded objects carry their id.
            Some(Value::Object(object)) => object.get("id"),
            other => other,
        };
        let id = named.and_then(Value::as_str).filter(|id| {
            (1..=PROVIDER_ID_BYTES_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        let reason = || PaymentError::Malformed(format!("`{field}` is not an id"));
        id.map(|id| Some(id.to_owned())).ok_or_else(reason)
    }
}

/// A whole number of minor units; floats, text and negative numbers are refused.
fn minor_units(object: &Value, field: &str, within: &str) -> Result<u64, PaymentError> {
    let value = object.get(field);
    value.and_then(Value::as_u64).ok_or_else(|| {
        let found = match value {
            None => "missing".to_owned(),
            Some(value) => value.to_string().chars().take(40).collect(),
        };
        PaymentError::Malformed(format!(
            "`{within}.{field}` is {found}, where a whole number of minor units belongs"
        ))
    })
}

fn paid_op(intent: &str) -> Result<OpId, PaymentError> {
    op(&format!("stripe:{intent}:paid"))
}

fn op(id: &str) -> Result<OpId, PaymentError> {
    OpId::new(id).map_err(|error| PaymentError::Malformed(error.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "it ends functions that answer a result")]
fn ignore(reason: &str) -> Result<Instruction, PaymentError> {
    Ok(Instruction::Ignore(reason.to_owned()))
}

/// The organisation whose wallet the order `payment` topped up; `None` where it was never done.
///
/// # Errors
/// As [`Billing::ask`].
pub async fn payer(billing: &dyn Billing, payment: &OpId) -> Result<Option<OrgId>, BillingError> {
    let Report::Entry(entry) = billing.ask(Query::Entry(payment.clone())).await? else {
        return Err(BillingError::Stopped("an answer of another kind came".to_owned()));
    };
    Ok(entry.and_then(|entry| match (entry.act, entry.answer) {
        (EntryAct::Order(Act::TopUp(paid)), EntryAnswer::Done(_)) => Some(paid.org),
        _ => None,
    }))
}
