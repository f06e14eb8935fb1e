//! `emberbox credits`: the balance, what moves it, and who is told when it is low.

use clap::{Args, Subcommand};
use emberbox_billing::Nano;
use serde_json::{Value, json};

use super::budgets;
use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, credits_cell, rows, time_cell};
use super::output::{Paint, Table, left, right};
use super::settings::DataFlag;
use crate::client::{Client, ClientError};

/// What the operator does to organisations' credits.
mod operator;
/// Notices, automatic top-ups, and where messages go.
mod rules;

/// Show the balance, add to it, and say who is told when it is low
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the balance of the organisation, its grants, budgets and rules (the default)
    Show,
    /// Add credits to an organisation; an operator's command
    Add(Add),
    /// Give credits that may expire or pay only for some things; an operator's command
    Grant(operator::Grant),
    /// Give a charge back; an operator's command
    Refund(operator::Refund),
    /// Correct a balance; an operator's command
    Adjust(operator::Adjust),
    /// Note that the payment provider took money back; an operator's command
    Chargeback(operator::Pay),
    /// Note that an organisation was paid what it earned; an operator's command
    Payout(operator::Pay),
    /// Be told when the balance falls below an amount; `none` for never
    Notice(rules::Notice),
    /// Ask the payment provider for more when the balance is low
    AutoTopUp(rules::AutoTopUp),
    /// Where messages go, signed by the Standard Webhooks convention
    Endpoint(rules::Endpoint),
}

#[derive(Debug, Args)]
struct Add {
    /// How many credits, such as 10 or 0.5
    #[arg(value_parser = amount, allow_negative_numbers = true)]
    amount: Nano,
    /// The organisation; the one of your key if left out
    #[arg(long, value_parser = plain)]
    org: Option<String>,
    /// An id of your own for this payment: sent twice, it counts once
    #[arg(long, value_parser = plain)]
    id: Option<String>,
    /// What the payment was, for the books
    #[arg(long, default_value = "added by the operator")]
    note: String,
    #[command(flatten)]
    data: DataFlag,
}

/// An amount above zero.
fn amount(text: &str) -> Result<Nano, String> {
    let amount = text.parse::<Nano>().map_err(|error| error.to_string())?;
    if amount > Nano::from_nano(0) {
        return Ok(amount);
    }
    Err("it must be above zero".to_owned())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        None | Some(Action::Show) => {
            let balance = context.client()?.get("/v1/credits")?;
            context.out.answer(&balance, |paint| whole(&balance, paint))
        }
        Some(Action::Add(add)) => run_add(add, context),
        Some(Action::Grant(grant)) => operator::grant(grant, context),
        Some(Action::Refund(refund)) => operator::refund(refund, context),
        Some(Action::Adjust(adjust)) => operator::adjust(adjust, context),
        Some(Action::Chargeback(pay)) => operator::pay(pay, "/admin/v1/chargebacks", context),
        Some(Action::Payout(pay)) => operator::pay(pay, "/admin/v1/payouts", context),
        Some(Action::Notice(notice)) => rules::notice(notice, context),
        Some(Action::AutoTopUp(rule)) => rules::auto_top_up(rule, context),
        Some(Action::Endpoint(endpoint)) => rules::endpoint(endpoint, context),
    }
}

fn run_add(add: &Add, context: &Context) -> Result<(), CliError> {
    let admin = context.admin(&add.data)?;
    let org = match &add.org {
        Some(org) => org.clone(),
        None if context.settings.key.is_none() => {
            return Err(CliError::Usage(
                "whose credits? name the organisation with --org, or set your API key".to_owned(),
            ));
        }
        None => context.organisation()?,
    };
    let body = json!({"org": org, "amount": add.amount.to_string(), "note": add.note});
    let balance = post_once(&admin, "/admin/v1/credits", body, (add.id.as_ref(), context))?;
    context.out.answer(&balance, |paint| {
        format!("{} credits added to {org}\n{}", add.amount, shown(&balance, paint))
    })
}

/// Posts an order under an id. The id is made here, so that the same command can be repeated after
/// a broken connection.
fn post_once(
    admin: &Client,
    path: &str,
    mut body: Value,
    (id, context): (Option<&String>, &Context),
) -> Result<Value, CliError> {
    let id = id.cloned().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    body["id"] = json!(id);
    let answer = admin.post(path, &body).inspect_err(|error| {
        if !matches!(error, ClientError::Refused(_)) {
            // Nobody knows whether it arrived.
            context.out.note(&format!("to try again without doing it twice, add --id {id}"));
        }
    })?;
    Ok(answer)
}

fn shown(balance: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[left(""), right("")]);
    if balance.get("org").is_some_and(Value::is_string) {
        table.row(vec!["organisation".to_owned(), cell(balance, "/org")]);
    }
    for name in ["available", "held", "posted"] {
        table.row(vec![name.to_owned(), credits_cell(balance, &format!("/{name}"))]);
    }
    for name in ["owed", "payable", "matured"] {
        let amount = cell(balance, &format!("/{name}"));
        if !matches!(amount.as_str(), "0" | "-") {
            table.row(vec![name.to_owned(), credits_cell(balance, &format!("/{name}"))]);
        }
    }
    table.render(paint, "")
}

/// The balance and everything that bears on it.
fn whole(account: &Value, paint: Paint) -> String {
    let mut parts = vec![shown(account, paint)];
    if let Some(lots) = account.get("lots").filter(|lots| !rows(lots).is_empty()) {
        parts.push(shown_lots(lots, paint));
    }
    if let Some(list) = account.get("budgets").filter(|budgets| !rows(budgets).is_empty()) {
        parts.push(budgets::shown(list, paint));
    }
    let mut rules = Table::new(&[left(""), left("")]);
    if account.get("low_balance").is_some_and(Value::is_string) {
        rules.row(vec!["told below".to_owned(), credits_cell(account, "/low_balance")]);
    }
    if account.get("auto_top_up").is_some_and(Value::is_object) {
        let (amount, below) = ("/auto_top_up/amount", "/auto_top_up/below");
        let rule = format!("{} below {}", cell(account, amount), cell(account, below));
        rules.row(vec!["top-ups asked for".to_owned(), rule]);
    }
    if account.get("endpoint_url").is_some_and(Value::is_string) {
        rules.row(vec!["messages go to".to_owned(), cell(account, "/endpoint_url")]);
    }
    if account.get("endpoint_switched_off").is_some_and(Value::is_object) {
        let url = cell(account, "/endpoint_switched_off/url");
        let what = format!("{url} (it answered 410: it wants no more)");
        rules.row(vec!["messages no longer go to".to_owned(), what]);
    }
    parts.push(rules.render(paint, ""));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn shown_lots(lots: &Value, paint: Paint) -> String {
    let columns = [
        right("LOT"),
        left("FUNDING"),
        right("AVAILABLE"),
        right("HELD"),
        left("EXPIRES (UTC)"),
        left("NOTE"),
    ];
    let mut table = Table::new(&columns);
    for lot in rows(lots) {
        table.row(vec![
            cell(lot, "/lot"),
            cell(lot, "/funding"),
            credits_cell(lot, "/available"),
            credits_cell(lot, "/held"),
            time_cell(lot, "/expires_at_ms"),
            cell(lot, "/note"),
        ]);
    }
    table.render(paint, "")
}
