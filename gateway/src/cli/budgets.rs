//! `emberbox budgets`: how much may be spent in a day, a month, or ever.

use clap::{Args, Subcommand, ValueEnum};
use emberbox_billing::Nano;
use serde_json::{Value, json};

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, credits_cell, rows, time_cell};
use super::output::{Paint, Table, left, right};

/// Show and set how much may be spent in a day, a month, or ever
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the budgets and what is left of them (the default)
    List,
    /// Set the most that calls may cost in a window
    Set {
        /// How many credits; 0 lets no call through that costs anything
        #[arg(allow_negative_numbers = true)]
        limit: Nano,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a budget
    Remove {
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Debug, Args)]
struct Of {
    /// How long a window is, in UTC
    #[arg(long, value_enum, default_value = "month")]
    window: Window,
    /// The id of a key; without it the budget is the whole organisation's
    #[arg(long, value_parser = plain)]
    key: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Window {
    Day,
    Month,
    Total,
}

impl Window {
    fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let budgets = match &arguments.action {
        None | Some(Action::List) => client.get("/v1/budgets")?,
        Some(Action::Set { limit, of }) => {
            let (limit, window) = (limit.to_string(), of.window.as_str());
            let body = json!({"window": window, "limit": limit, "key": of.key});
            client.put("/v1/budgets", &body)?
        }
        Some(Action::Remove { of }) => {
            let key = of.key.as_ref().map(|key| format!("&key={key}")).unwrap_or_default();
            client.delete(&format!("/v1/budgets?window={}{key}", of.window.as_str()))?
        }
    };
    context.out.answer(&budgets, |paint| shown(&budgets, paint))
}

/// Budgets as a table.
pub(super) fn shown(budgets: &Value, paint: Paint) -> String {
    let columns = [
        left("OF"),
        left("WINDOW"),
        right("LIMIT"),
        right("SPENT"),
        right("HELD"),
        left("BEGINS AGAIN (UTC)"),
    ];
    let mut table = Table::new(&columns);
    for budget in rows(budgets) {
        let of = budget.get("key").filter(|key| !key.is_null());
        table.row(vec![
            of.map_or_else(|| "organisation".to_owned(), |_| cell(budget, "/key")),
            cell(budget, "/window"),
            credits_cell(budget, "/limit"),
            credits_cell(budget, "/spent"),
            credits_cell(budget, "/held"),
            time_cell(budget, "/resets_at_ms"),
        ]);
    }
    table.render(paint, "no budgets: only the balance limits what is spent")
}
