//! `emberbox invoices`: what each month came to.

use clap::Args;
use emberbox_billing::Period;
use serde_json::Value;

use super::context::Context;
use super::download::{Target, save};
use super::error::CliError;
use super::format::{cell, credits_cell, rows};
use super::output::{Paint, Table, left, right};
use super::usage::subject;

/// List the months, or show the invoice of one
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The month, such as 2026-11
    period: Option<Period>,
    /// Write the invoice to this file as a page that prints; - for standard output
    #[arg(long, value_name = "FILE", requires = "period")]
    html: Option<Target>,
    /// Write the receipts that it is the sum of to this file as CSV; - for standard output
    #[arg(long, value_name = "FILE", requires = "period")]
    csv: Option<Target>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let Some(period) = arguments.period else {
        let invoices = client.get("/v1/invoices")?;
        return context.out.answer(&invoices, |paint| listed(&invoices, paint));
    };
    let files = [("html", &arguments.html), ("csv", &arguments.csv)];
    for (kind, file) in files.iter().filter_map(|(kind, file)| Some((kind, file.as_ref()?))) {
        save(&client, &format!("/v1/invoices/{period}.{kind}"), (file, context))?;
    }
    if arguments.html.is_some() || arguments.csv.is_some() {
        return Ok(());
    }
    let invoice = client.get(&format!("/v1/invoices/{period}"))?;
    context.out.answer(&invoice, |paint| shown(&invoice, paint))
}

fn listed(invoices: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[left("MONTH"), left("STATUS"), left("NUMBER")]);
    for invoice in rows(invoices) {
        let fields = ["/period", "/status", "/number"];
        table.row(fields.iter().map(|field| cell(invoice, field)).collect());
    }
    table.render(paint, "no months yet")
}

fn shown(invoice: &Value, paint: Paint) -> String {
    let mut lines = Table::new(&[left("WHAT"), right("CALLS"), right("COST")]);
    for line in invoice.get("lines").map_or(&[][..], rows) {
        lines.row(vec![
            subject(line.get("subject").unwrap_or(&Value::Null)),
            cell(line, "/calls"),
            credits_cell(line, "/cost"),
        ]);
    }
    let mut sums = Table::new(&[left(""), right("")]);
    for (name, field) in
        [("charged", "/total"), ("given back", "/credited"), ("net", "/net"), ("paid in", "/paid")]
    {
        sums.row(vec![name.to_owned(), credits_cell(invoice, field)]);
    }
    format!(
        "{} ({})\n\n{}\n\n{}",
        paint.bold(&cell(invoice, "/number")),
        cell(invoice, "/status"),
        lines.render(paint, "nothing was called"),
        sums.render(paint, "")
    )
}
