//! `emberbox usage`: what was called and what it cost.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{before_now_ms, cell, credits_cell, rows, span, time_cell};
use super::output::{Paint, Table, left, right};

/// Show what was called and what it cost
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How far back: 90s, 15m, 24h, 7d
    #[arg(long, default_value = "30d", value_parser = span)]
    since: Duration,
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

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    if arguments.receipts {
        let before = arguments.before.as_ref().map(|id| format!("&before={id}"));
        let before = before.unwrap_or_default();
        let receipts = client.get(&format!("/v1/receipts?limit={}{before}", arguments.limit))?;
        return context.out.answer(&receipts, |paint| shown_receipts(&receipts, paint));
    }
    let since_ms = before_now_ms(arguments.since)?;
    let usage = client.get(&format!("/v1/usage?since_ms={since_ms}"))?;
    context.out.answer(&usage, |paint| shown_usage(&usage, paint))
}

/// The sums as a table with a line for the total.
pub(crate) fn shown_usage(usage: &Value, paint: Paint) -> String {
    let columns = [
        left("WHAT"),
        right("CALLS"),
        right("INPUT"),
        right("CACHED"),
        right("OUTPUT"),
        right("CPU MS"),
        right("COST"),
    ];
    let mut table = Table::new(&columns);
    let lines = usage.get("rows").map_or_else(|| rows(usage), rows);
    for line in lines {
        table.row(vec![
            subject(line.get("subject").unwrap_or(&Value::Null)),
            cell(line, "/calls"),
            cell(line, "/input_tokens"),
            cell(line, "/cached_input_tokens"),
            cell(line, "/output_tokens"),
            milliseconds(line.pointer("/compute_micros").and_then(Value::as_u64)),
            credits_cell(line, "/cost"),
        ]);
    }
    if lines.is_empty() {
        return "nothing was called in this time".to_owned();
    }
    let mut total = vec!["total".to_owned(), cell(usage, "/calls")];
    total.extend(["", "", "", ""].map(str::to_owned));
    total.push(credits_cell(usage, "/total"));
    table.row(total);
    table.render(paint, "")
}

fn shown_receipts(receipts: &Value, paint: Paint) -> String {
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
fn subject(subject: &Value) -> String {
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
