//! `emberbox credits`: the balance, and adding to it.

use clap::{Args, Subcommand};
use emberbox_billing::Nano;
use serde_json::{Value, json};

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, credits_cell};
use super::output::{Paint, Table, left, right};
use super::settings::DataFlag;
use crate::client::ClientError;

/// Show the balance, or add credits to it
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the balance of the organisation (the default)
    Show,
    /// Add credits to an organisation; an operator's command
    Add(Add),
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
            context.out.answer(&balance, |paint| shown(&balance, paint))
        }
        Some(Action::Add(add)) => run_add(add, context),
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
    // Made here, so that the same command can be repeated after a broken connection.
    let id = add.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let body = json!({"org": org, "amount": add.amount.to_string(), "id": id, "note": add.note});
    let balance = admin.post("/admin/v1/credits", &body).inspect_err(|error| {
        if !matches!(error, ClientError::Refused(_)) {
            // Nobody knows whether it arrived.
            context.out.note(&format!("to try again without paying twice, add --id {id}"));
        }
    })?;
    context.out.answer(&balance, |paint| {
        format!("{} credits added to {org}\n{}", add.amount, shown(&balance, paint))
    })
}

fn shown(balance: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[left(""), right("")]);
    if balance.get("org").is_some_and(Value::is_string) {
        table.row(vec!["organisation".to_owned(), cell(balance, "/org")]);
    }
    for name in ["available", "held", "posted"] {
        table.row(vec![name.to_owned(), credits_cell(balance, &format!("/{name}"))]);
    }
    table.render(paint, "")
}
