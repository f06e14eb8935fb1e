//! `emberbox functions`: what is deployed, and taking it away.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, own_function};
use super::error::CliError;
use super::format::{cell, rows, time_cell};
use super::output::{Table, left, right};

/// List the deployed functions, or delete one
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the deployed functions (the default)
    List,
    /// Delete a function with all its versions
    Delete {
        /// The function
        #[arg(value_parser = own_function)]
        function: String,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        None | Some(Action::List) => list(context),
        Some(Action::Delete { function }) => {
            context.client()?.delete(&format!("/v1/functions/{function}"))?;
            let answer = json!({"function": function, "deleted": true});
            context.out.answer(&answer, |_| format!("{function} and its versions are deleted"))
        }
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let functions = context.client()?.get("/v1/functions")?;
    context.out.answer(&functions, |paint| {
        let columns = [left("FUNCTION"), right("LIVE VERSION"), left("CREATED (UTC)")];
        let mut table = Table::new(&columns);
        for function in rows(&functions) {
            table.row(vec![
                format!("{}/{}", cell(function, "/owner"), cell(function, "/function")),
                cell(function, "/live"),
                time_cell(function, "/created_at_ms"),
            ]);
        }
        table.render(paint, "nothing is deployed; try `emberbox new hello`")
    })
}
