//! `emberbox versions`: the versions of a function, newest first.

use clap::Args;
use serde_json::Value;

use super::context::{Context, own_function};
use super::error::CliError;
use super::format::{cell, rows, short, size_cell, time_cell};
use super::output::{Table, left, right};

/// Show the versions of a function
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function
    #[arg(value_parser = own_function)]
    function: String,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let path = format!("/v1/functions/{}/versions", arguments.function);
    let versions = context.client()?.get(&path)?;
    context.out.answer(&versions, |paint| {
        let columns =
            [right("VERSION"), left("LIVE"), right("SIZE"), left("DIGEST"), left("DEPLOYED (UTC)")];
        let mut table = Table::new(&columns);
        for version in rows(&versions) {
            table.row(vec![
                cell(version, "/version"),
                if is_live(version) { "live".to_owned() } else { String::new() },
                size_cell(version, "/size_bytes"),
                short(&cell(version, "/digest")),
                time_cell(version, "/created_at_ms"),
            ]);
        }
        table.render(paint, "no versions")
    })
}

/// Whether calls reach this version now.
pub(super) fn is_live(version: &Value) -> bool {
    version.get("live") == Some(&Value::Bool(true))
}
