use clap::Args;
use emberbox_billing::Nano;
use serde_json::{Value, json};

use super::amount;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::format::{cell, credits_cell};

#[derive(Debug, Args)]
pub(super) struct Notice {
    /// The balance below which a message is sent to the endpoint, or `none`
    #[arg(value_parser = amount_or_none, allow_negative_numbers = true)]
    below: Amount,
}

#[derive(Debug, Args)]
pub(super) struct AutoTopUp {
    /// Ask when the balance falls below this
    #[arg(long, value_parser = amount, allow_negative_numbers = true, required_unless_present = "off")]
    below: Option<Nano>,
    /// For this much
    #[arg(long, value_parser = amount, allow_negative_numbers = true, required_unless_present = "off")]
    amount: Option<Nano>,
    /// At most so often in a month
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_month_max: u32,
    /// Ask no more
    #[arg(long, conflicts_with_all = ["below", "amount"])]
    off: bool,
}

#[derive(Debug, Args)]
pub(super) struct Endpoint {
    /// The address, which begins with https://
    #[arg(required_unless_present = "off")]
    url: Option<String>,
    /// Send no more messages
    #[arg(long, conflicts_with = "url")]
    off: bool,
}

/// An amount, or nothing on purpose.
#[derive(Debug, Clone, Copy)]
struct Amount(Option<Nano>);

fn amount_or_none(text: &str) -> Result<Amount, String> {
    match text {
        "none" => Ok(Amount(None)),
        text => amount(text).map(|amount| Amount(Some(amount))),
    }
}

pub(super) fn notice(notice: &Notice, context: &Context) -> Result<(), CliError> {
    let below = notice.below.0.map(|below| below.to_string());
    let answer = context.client()?.put("/v1/notices", &json!({ "low_balance": below }))?;
    context.out.answer(&answer, |_| match answer.get("low_balance") {
        Some(Value::String(_)) => {
            let below = credits_cell(&answer, "/low_balance");
            format!("a message is sent when the balance falls below {below}")
        }
        _ => "no message is sent when the balance is low".to_owned(),
    })
}

pub(super) fn auto_top_up(rule: &AutoTopUp, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let answer = match (rule.below, rule.amount) {
        (Some(below), Some(amount)) => {
            let body = json!({
                "below": below.to_string(),
                "amount": amount.to_string(),
                "per_month_max": rule.per_month_max,
            });
            client.put("/v1/auto-top-up", &body)?
        }
        _ => client.delete("/v1/auto-top-up")?,
    };
    context.out.answer(&answer, |_| match answer.pointer("/auto_top_up/below") {
        Some(_) => {
            let (amount, below) = ("/auto_top_up/amount", "/auto_top_up/below");
            let (amount, below) = (credits_cell(&answer, amount), credits_cell(&answer, below));
            format!("{amount} credits are asked for when the balance falls below {below}")
        }
        None => "no credits are asked for when the balance is low".to_owned(),
    })
}

pub(super) fn endpoint(endpoint: &Endpoint, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let answer = match &endpoint.url {
        Some(url) => client.put("/v1/endpoint", &json!({ "url": url }))?,
        None => client.delete("/v1/endpoint")?,
    };
    context.out.answer(&answer, |paint| match answer.get("secret") {
        Some(_) => format!(
            "messages go to {}\nThe secret that signs them, shown this once:\n\n  {}",
            cell(&answer, "/url"),
            paint.cyan(&cell(&answer, "/secret"))
        ),
        None => "no messages are sent".to_owned(),
    })
}
