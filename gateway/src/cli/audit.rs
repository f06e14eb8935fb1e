//! `emberbox audit`: who did what to money, prices and rules.

use clap::Args;
use emberbox_billing::Day;
use serde_json::Value;

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, rows, time_cell};
use super::output::{Paint, Table, left, right};
use super::settings::DataFlag;

/// Show who did what to money, prices and rules, newest first; an operator's command
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only what stands on the statement of this organisation
    #[arg(long, value_parser = plain)]
    org: Option<String>,
    /// The first day, in UTC
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    /// The last day
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
    /// Only entries before this number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    data: DataFlag,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let mut path = format!("/admin/v1/audit?limit={}", arguments.limit);
    let more = [
        ("org", arguments.org.clone()),
        ("from", arguments.from.map(|day| day.to_string())),
        ("to", arguments.to.map(|day| day.to_string())),
        ("before", arguments.before.map(|number| number.to_string())),
    ];
    for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        path.push_str(&format!("&{name}={value}"));
    }
    let page = context.admin(&arguments.data)?.get(&path)?;
    context.out.answer(&page, |paint| shown(&page, paint))
}

fn shown(page: &Value, paint: Paint) -> String {
    let columns =
        [right("NUMBER"), left("AT (UTC)"), left("BY"), left("ACT"), left("ANSWER"), left("ID")];
    let mut table = Table::new(&columns);
    for entry in rows(page) {
        let act = entry.pointer("/act/order").or_else(|| entry.pointer("/act/system"));
        let refused = entry.pointer("/answer/refused").is_some();
        table.row(vec![
            cell(entry, "/number"),
            time_cell(entry, "/at_ms"),
            cell(entry, "/by"),
            act.map_or_else(|| "-".to_owned(), |act| cell(act, "/kind")),
            if refused { "refused" } else { "done" }.to_owned(),
            cell(entry, "/op"),
        ]);
    }
    table.render(paint, "no entries")
}
