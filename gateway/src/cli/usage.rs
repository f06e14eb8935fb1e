//! `emberbox usage`: what was called and what it cost.

use std::time::Duration;

use clap::{Args, ValueEnum};
use emberbox_billing::Day;
use serde_json::Value;

use super::context::{Context, plain};
use super::download::{Target, save};
use super::error::CliError;
use super::format::{before_now_ms, cell, credits_cell, rows, span, time_cell};
use super::output::{Column, Paint, Table, left, right};

/// Show what was called and what it cost
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How far back: 90s, 15m, 24h, 7d
    #[arg(long, default_value = "30d", value_parser = span)]
    since: Duration,
    /// The first day, in UTC, such as 2026-11-01; instead of --since
    #[arg(long, value_name = "DAY", conflicts_with = "since")]
    from: Option<Day>,
    /// The last day
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
    /// By what sums are told apart; may be given several times
    #[arg(long, value_enum, value_delimiter = ',', default_value = "subject")]
    by: Vec<By>,
    /// Write every row by day, key, subject and model to this file as CSV; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<Target>,
    /// Show single receipts instead of sums, newest first
    #[arg(long)]
    receipts: bool,
    /// With --receipts: how many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// With --receipts: those before this one
    #[arg(long, value_name = "RECEIPT", value_parser = plain)]
    before: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Day,
    Key,
    Subject,
    Model,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Subject => "subject",
            Self::Model => "model",
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    if arguments.receipts {
        let before = arguments.before.as_ref().map(|id| format!("&before={id}"));
        let before = before.unwrap_or_default();
        let receipts = client.get(&format!("/v1/receipts?limit={}{before}", arguments.limit))?;
        return context.out.answer(&receipts, |paint| shown_receipts(&receipts, paint));
    }
    let mut query = match arguments.from {
        Some(from) => format!("from={from}"),
        None => format!("since_ms={}", before_now_ms(arguments.since)?),
    };
    if let Some(to) = arguments.to {
        query.push_str(&format!("&to={to}"));
    }
    if let Some(file) = &arguments.csv {
        return save(&client, &format!("/v1/usage?{query}&format=csv"), (file, context));
    }
    let by: Vec<&str> = arguments.by.iter().map(|by| by.as_str()).collect();
    let usage = client.get(&format!("/v1/usage?{query}&by={}", by.join(",")))?;
    context.out.answer(&usage, |paint| shown_usage(&usage, paint))
}

/// The sums as a table with a line for the total.
pub(crate) fn shown_usage(usage: &Value, paint: Paint) -> String {
    let lines = usage.get("rows").map_or_else(|| rows(usage), rows);
    // A column for each thing by which the rows are told apart.
    let told = [("day", "DAY"), ("key", "KEY"), ("subject", "WHAT"), ("model", "MODEL")];
    let told = told.map(|(name, title)| (name, title, tells_apart(usage, name)));
    let mut columns: Vec<Column> =
        told.iter().filter(|(_, _, on)| *on).map(|(_, title, _)| left(title)).collect();
    let fuel_of = |line: &Value| line.pointer("/fuel").and_then(Value::as_u64).unwrap_or(0);
    let any_fuel = lines.iter().any(|line| fuel_of(line) > 0);
    columns.extend(["CALLS", "INPUT", "CACHED", "OUTPUT", "CPU MS"].map(right));
    columns.extend(any_fuel.then(|| right("FUEL")));
    columns.push(right("COST"));
    let mut table = Table::new(&columns);
    for line in lines {
        let named = told.iter().filter(|(_, _, on)| *on);
        let mut row: Vec<String> = named.map(|(name, _, _)| named_cell(line, name)).collect();
        row.extend([
            cell(line, "/calls"),
            cell(line, "/input_tokens"),
            cell(line, "/cached_input_tokens"),
            cell(line, "/output_tokens"),
            milliseconds(line.pointer("/compute_micros").and_then(Value::as_u64)),
        ]);
        row.extend(any_fuel.then(|| fuel_of(line).to_string()));
        row.push(credits_cell(line, "/cost"));
        table.row(row);
    }
    if lines.is_empty() {
        return "nothing was called in this time".to_owned();
    }
    let mut total = vec!["total".to_owned()];
    let sums = if any_fuel { 7 } else { 6 };
    total.resize(columns.len().saturating_sub(sums), String::new());
    total.push(cell(usage, "/calls"));
    total.resize(columns.len().saturating_sub(1), String::new());
    total.push(credits_cell(usage, "/total"));
    table.row(total);
    table.render(paint, "")
}

/// Whether rows are told apart by this; sums that do not say are by subject.
fn tells_apart(usage: &Value, name: &str) -> bool {
    match usage.get("by").and_then(Value::as_array) {
        Some(by) => by.iter().any(|by| by == name) || (by.is_empty() && name == "subject"),
        None => name == "subject",
    }
}

fn named_cell(line: &Value, name: &str) -> String {
    match name {
        "subject" => subject(line.get("subject").unwrap_or(&Value::Null)),
        name => cell(line, &format!("/{name}")),
    }
}

pub(super) fn shown_receipts(receipts: &Value, paint: Paint) -> String {
    let columns = [
        left("AT (UTC)"),
        left("WHAT"),
        left("ENDING"),
        right("HELD"),
        right("PAID"),
        left("RECEIPT"),
    ];
    let mut table = Table::new(&columns);
    for receipt in rows(receipts) {
        table.row(vec![
            time_cell(receipt, "/created_at_ms"),
            subject(receipt.get("subject").unwrap_or(&Value::Null)),
            cell(receipt, "/ending"),
            credits_cell(receipt, "/held"),
            credits_cell(receipt, "/amount"),
            cell(receipt, "/id"),
        ]);
    }
    table.render(paint, "no receipts yet")
}

/// A model by its name, a function by its owner, name and version.
pub(super) fn subject(subject: &Value) -> String {
    if let Some(model) = subject.get("model") {
        return cell(model, "");
    }
    match subject.get("function") {
        Some(f) => format!("{}/{}@{}", cell(f, "/owner"), cell(f, "/name"), cell(f, "/version")),
        None => cell(subject, ""),
    }
}

/// Microseconds as milliseconds with two decimals.
fn milliseconds(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |us| format!("{}.{:02}", us / 1000, us % 1000 / 10))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_are_aligned_and_totalled() {
        let usage = json!({"since_ms": 0, "calls": 3, "total": "0.0015", "rows": [
            {"subject": {"model": "tiny"}, "key": "k", "calls": 2, "input_tokens": 10,
             "cached_input_tokens": 0, "output_tokens": 200, "compute_micros": 0, "cost": "0.001"},
            {"subject": {"function": {"owner": "acme", "name": "hello", "version": 1}},
             "key": "k", "calls": 1, "input_tokens": 0, "cached_input_tokens": 0,
             "output_tokens": 0, "compute_micros": 1234, "cost": "0.0005"},
        ]});
        let expected = "\
WHAT          CALLS  INPUT  CACHED  OUTPUT  CPU MS         COST
tiny              2     10       0     200    0.00  0.001000000
acme/hello@1      1      0       0       0    1.23  0.000500000
total             3                                 0.001500000";
        assert_eq!(shown_usage(&usage, Paint::new(false)), expected);
    }

    #[test]
    fn nothing_called_says_so() {
        let usage = json!({"calls": 0, "total": "0", "rows": []});
        assert!(shown_usage(&usage, Paint::new(false)).starts_with("nothing"));
    }
}
