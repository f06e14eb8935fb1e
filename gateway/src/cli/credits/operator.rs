use clap::Args;
use emberbox_billing::{Day, Nano};
use serde_json::{Value, json};

use super::{amount, post_once, shown};
use crate::cli::context::{Context, plain};
use crate::cli::error::CliError;
use crate::cli::format::{cell, credits_cell};
use crate::cli::settings::DataFlag;

/// Whose credits, and the id that makes it happen once.
#[derive(Debug, Args)]
struct Whose {
    /// The organisation
    #[arg(long, value_parser = plain)]
    org: String,
    /// An id of your own: sent twice, it counts once
    #[arg(long, value_parser = plain)]
    id: Option<String>,
    #[command(flatten)]
    data: DataFlag,
}

#[derive(Debug, Args)]
pub(super) struct Grant {
    /// How many credits
    #[arg(value_parser = amount, allow_negative_numbers = true)]
    amount: Nano,
    /// The last day on which they can be spent, in UTC
    #[arg(long, value_name = "DAY")]
    expires_on: Option<Day>,
    /// Only for direct calls of this model; may be given several times
    #[arg(long)]
    model: Vec<String>,
    /// Only for calls of this function; may be given several times
    #[arg(long, value_name = "OWNER/NAME")]
    function: Vec<String>,
    /// Somebody paid for them: what they pay for earns authors and owners their share
    #[arg(long)]
    paid: bool,
    /// Lower burns first
    #[arg(long, default_value_t = 0)]
    priority: u8,
    /// What they are for, for the books
    #[arg(long, default_value = "granted by the operator")]
    note: String,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub(super) struct Refund {
    /// The receipt of the call
    #[arg(value_parser = plain)]
    receipt: String,
    /// How much of it; all that is left of the charge if left out
    #[arg(long, value_parser = amount, allow_negative_numbers = true)]
    amount: Option<Nano>,
    /// Why, for the credit note
    #[arg(long)]
    note: String,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub(super) struct Adjust {
    /// How many credits; below zero takes
    #[arg(allow_negative_numbers = true)]
    amount: Nano,
    /// Why, for the books
    #[arg(long)]
    note: String,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub(super) struct Pay {
    /// How many credits
    #[arg(value_parser = amount, allow_negative_numbers = true)]
    amount: Nano,
    /// The way that the money took
    #[arg(long, default_value = "operator", value_parser = plain)]
    rail: String,
    /// The payment's name there
    #[arg(long)]
    reference: Option<String>,
    /// What it was, for the books
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    whose: Whose,
}

impl Whose {
    fn post(&self, path: &str, body: Value, context: &Context) -> Result<Value, CliError> {
        let mut body = body;
        body["org"] = json!(self.org);
        post_once(&context.admin(&self.data)?, path, body, (self.id.as_ref(), context))
    }
}

pub(super) fn grant(grant: &Grant, context: &Context) -> Result<(), CliError> {
    let mut body = json!({
        "amount": grant.amount.to_string(),
        "priority": grant.priority,
        "note": grant.note,
        "funding": if grant.paid { "paid" } else { "promotional" },
        "scope": { "models": grant.model, "functions": grant.function },
    });
    if let Some(day) = grant.expires_on {
        body["expires_on"] = json!(day);
    }
    let answer = grant.whose.post("/admin/v1/grants", body, context)?;
    context.out.answer(&answer, |paint| {
        let (lot, org) = (cell(&answer, "/lot"), &grant.whose.org);
        format!("{} credits granted to {org} as lot {lot}\n{}", grant.amount, shown(&answer, paint))
    })
}

pub(super) fn refund(refund: &Refund, context: &Context) -> Result<(), CliError> {
    let mut body = json!({"call": refund.receipt, "note": refund.note});
    if let Some(amount) = refund.amount {
        body["amount"] = json!(amount.to_string());
    }
    let answer = refund.whose.post("/admin/v1/refunds", body, context)?;
    context.out.answer(&answer, |paint| {
        let number = cell(&answer, "/credit_note/number");
        let amount = credits_cell(&answer, "/credit_note/amount");
        let balance = answer.get("balance").cloned().unwrap_or_default();
        format!("{amount} credits given back, credit note {number}\n{}", shown(&balance, paint))
    })
}

pub(super) fn adjust(adjust: &Adjust, context: &Context) -> Result<(), CliError> {
    let body = json!({"amount": adjust.amount.to_string(), "note": adjust.note});
    let answer = adjust.whose.post("/admin/v1/adjustments", body, context)?;
    context.out.answer(&answer, |paint| shown(&answer, paint))
}

pub(super) fn pay(pay: &Pay, path: &str, context: &Context) -> Result<(), CliError> {
    let body = json!({
        "amount": pay.amount.to_string(),
        "rail": pay.rail,
        "reference": pay.reference,
        "note": pay.note,
    });
    let answer = pay.whose.post(path, body, context)?;
    context.out.answer(&answer, |paint| shown(&answer, paint))
}
