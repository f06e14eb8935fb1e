//! `emberbox receipts`: what single calls cost, and why.

use clap::{Args, Subcommand};
use emberbox_billing::Period;
use serde_json::Value;

use super::context::{Context, plain};
use super::download::{Target, save};
use super::error::CliError;
use super::format::{cell, credits_cell, rows};
use super::output::{Paint, Table, left, right};
use super::usage::shown_receipts;

/// Show receipts, and recompute what a call cost
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the newest receipts (the default)
    List {
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Those before this one
        #[arg(long, value_name = "RECEIPT", value_parser = plain)]
        before: Option<String>,
    },
    /// Recompute a charge from the prices that were pinned for it, line by line
    Explain {
        /// The receipt
        #[arg(value_parser = plain)]
        receipt: String,
    },
    /// Write all receipts of a month as CSV
    Export {
        /// The month, such as 2026-11; the present one if left out
        period: Option<Period>,
        /// The file; - for standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        csv: Target,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    match &arguments.action {
        None => list(context, 20, None),
        Some(Action::List { limit, before }) => list(context, *limit, before.as_deref()),
        Some(Action::Explain { receipt }) => {
            let told = client.get(&format!("/v1/receipts/{receipt}/explain"))?;
            context.out.answer(&told, |paint| shown(&told, paint))?;
            match told.get("agrees") {
                Some(Value::Bool(true)) => Ok(()),
                _ => Err(CliError::Failed {
                    what: "the receipt is not what its prices make".to_owned(),
                    next: "tell the operator: `emberbox ledger check` shows more".to_owned(),
                }),
            }
        }
        Some(Action::Export { period, csv }) => {
            let period = period.map(|period| format!("&period={period}")).unwrap_or_default();
            save(&client, &format!("/v1/receipts?format=csv{period}"), (csv, context))
        }
    }
}

fn list(context: &Context, limit: u32, before: Option<&str>) -> Result<(), CliError> {
    let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
    let receipts = context.client()?.get(&format!("/v1/receipts?limit={limit}{before}"))?;
    context.out.answer(&receipts, |paint| shown_receipts(&receipts, paint))
}

fn shown(told: &Value, paint: Paint) -> String {
    let columns = [
        left("WHAT"),
        left("METER"),
        right("QUANTITY"),
        right("RATE"),
        left("PER"),
        right("EXACT"),
    ];
    let mut table = Table::new(&columns);
    for line in told.get("lines").map_or(&[][..], rows) {
        let model = line.get("model").is_some_and(Value::is_string);
        let what = if model { cell(line, "/model") } else { "the call".to_owned() };
        table.row(vec![
            what,
            cell(line, "/meter"),
            cell(line, "/quantity"),
            cell(line, "/rate"),
            cell(line, "/per"),
            cell(line, "/exact"),
        ]);
    }
    let agrees = told.get("agrees") == Some(&Value::Bool(true));
    let verdict = if agrees { paint.green("it agrees") } else { paint.red("it does not agree") };
    format!(
        "{}\n\nexact sum {}, prices version {}\ncharged   {}: {verdict}",
        table.render(paint, "nothing was used"),
        cell(told, "/exact"),
        cell(told, "/price_version"),
        credits_cell(told, "/charged"),
    )
}
