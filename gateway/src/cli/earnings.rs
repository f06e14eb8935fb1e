//! `emberbox earnings`: what the organisation's functions, models and machines earned.

use clap::Args;
use emberbox_billing::Day;
use serde_json::Value;

use super::context::Context;
use super::download::{Target, save};
use super::error::CliError;
use super::format::{cell, credits_cell, rows};
use super::output::{Paint, Table, left, right};
use super::usage::subject;

/// Show what the organisation's functions, models and machines earned
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The first day, in UTC, such as 2026-11-01
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    /// The last day
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
    /// Write the rows to this file as CSV; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<Target>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let day = |name: &str, day: Option<Day>| day.map(|day| format!("&{name}={day}"));
    let days = [day("from", arguments.from), day("to", arguments.to)];
    let days: String = days.into_iter().flatten().collect();
    if let Some(file) = &arguments.csv {
        return save(&client, &format!("/v1/earnings?format=csv{days}"), (file, context));
    }
    let earnings = client.get(&format!("/v1/earnings?format=json{days}"))?;
    context.out.answer(&earnings, |paint| shown(&earnings, paint))
}

fn shown(earnings: &Value, paint: Paint) -> String {
    let columns = [left("DAY"), left("AS"), left("OF"), right("CALLS"), right("EARNED")];
    let mut table = Table::new(&columns);
    for row in earnings.get("rows").map_or(&[][..], rows) {
        table.row(vec![
            cell(row, "/day"),
            cell(row, "/role"),
            subject(row.get("subject").unwrap_or(&Value::Null)),
            cell(row, "/calls"),
            credits_cell(row, "/amount"),
        ]);
    }
    format!(
        "{}\n\nnot paid out {}, of which {} can be",
        table.render(paint, "nothing was earned in this time"),
        credits_cell(earnings, "/payable"),
        credits_cell(earnings, "/matured"),
    )
}
