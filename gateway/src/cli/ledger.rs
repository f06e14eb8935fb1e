//! `emberbox ledger`: whether the books add up.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use emberbox_billing::{
    BillingError, LedgerCheck, PostgresLedgerOptions, audit_database, audit_file,
};
use serde_json::Value;

use super::context::Context;
use super::error::CliError;
use super::format::{cell, credits_cell, rows, time_cell};
use super::output::{Output, Paint, Table, left, right};
use super::serve::runtime;
use super::settings::DataFlag;

/// The ledger's file in a data folder.
const LEDGER_FILE: &str = "ledger.db";

/// Check whether the books add up; operator's commands
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Derive every balance again from the journal of a ledger's file, and compare
    ///
    /// A server may have the file open. Every break is named, and the exit code is 1 for any.
    Audit {
        /// The ledger's file; DATA/ledger.db if left out
        file: Option<PathBuf>,
        /// A ledger in PostgreSQL instead: postgres://user:password@host/database
        #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
        database: Option<String>,
        #[command(flatten)]
        data: DataFlag,
    },
    /// Ask the running server to do the same with its ledger, wherever that is kept
    Check {
        #[command(flatten)]
        data: DataFlag,
    },
    /// Show the closed months and their trial balances
    Periods {
        #[command(flatten)]
        data: DataFlag,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        Action::Audit { file, database, data } => {
            let check = match (file, database) {
                (_, Some(database)) => {
                    let options = PostgresLedgerOptions::new(database);
                    runtime()?.block_on(audit_database(&options))
                }
                (Some(file), None) => audit_file(file),
                (None, None) => audit_file(&context.settings.data_folder(data).join(LEDGER_FILE)),
            };
            verdict(&document(check)?, context.out)
        }
        Action::Check { data } => {
            verdict(&context.admin(data)?.get("/admin/v1/ledger/check")?, context.out)
        }
        Action::Periods { data } => {
            let periods = context.admin(data)?.get("/admin/v1/periods")?;
            context.out.answer(&periods, |paint| shown_periods(&periods, paint))
        }
    }
}

fn document(check: Result<LedgerCheck, BillingError>) -> Result<Value, CliError> {
    let check = check.map_err(|error| {
        let mut what = format!("the ledger cannot be audited: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            what.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        CliError::Failed { what, next: String::new() }
    })?;
    serde_json::to_value(&check).map_err(|error| CliError::Failed {
        what: format!("the result cannot be shown: {error}"),
        next: String::new(),
    })
}

/// Prints what was found; anything broken is a failure.
fn verdict(check: &Value, out: Output) -> Result<(), CliError> {
    out.answer(check, |paint| shown(check, paint))?;
    let breaks = check.get("breaks").map_or(0, |breaks| rows(breaks).len());
    if check.get("ok") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    Err(CliError::Failed {
        what: format!("the ledger does not add up: {breaks} break(s)"),
        next: "keep a copy of the data folder as it is before anything else".to_owned(),
    })
}

fn shown(check: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[left(""), right("")]);
    for name in ["accounts", "transfers", "holds_open", "captures", "receipts"] {
        table.row(vec![name.replace('_', " "), cell(check, &format!("/{name}"))]);
    }
    for name in ["debits", "credits", "held", "captured", "receipted"] {
        table.row(vec![name.to_owned(), credits_cell(check, &format!("/{name}"))]);
    }
    let mut text = table.render(paint, "");
    for broken in check.get("breaks").map_or(&[][..], rows) {
        text.push_str(&format!("\n{} {}", paint.red("broken:"), cell(broken, "")));
    }
    if check.get("ok") == Some(&Value::Bool(true)) {
        text.push_str(&format!("\n{}", paint.green("everything adds up")));
    }
    text
}

fn shown_periods(periods: &Value, paint: Paint) -> String {
    let columns =
        [left("MONTH"), left("CLOSED (UTC)"), left("ACCOUNTS"), right("DEBITS"), right("CREDITS")];
    let mut table = Table::new(&columns);
    for period in rows(periods) {
        for class in period.get("trial_balance").map_or(&[][..], rows) {
            table.row(vec![
                cell(period, "/period"),
                time_cell(period, "/closed_at_ms"),
                cell(class, "/class"),
                credits_cell(class, "/debits"),
                credits_cell(class, "/credits"),
            ]);
        }
    }
    table.render(paint, "no month is closed yet")
}
