//! `emberbox platform`: what holds for every organisation.

use clap::{Args, Subcommand};
use emberbox_billing::Nano;
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
use super::format::{cell, credits_cell};
use super::output::{Paint, Table, left, right};
use super::settings::DataFlag;

/// Show and set what holds for every organisation; operator's commands
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    data: DataFlag,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show it (the default)
    Show,
    /// Set what is named; the rest stays
    Set {
        /// Credits that every organisation is given each month, gone at its end
        #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
        free_tier: Option<Nano>,
        /// How many days earnings wait before they can be paid out
        #[arg(long, value_parser = clap::value_parser!(u32).range(0..=365))]
        maturity_days: Option<u32>,
    },
    /// Show or set where the operator's own messages go
    Endpoint {
        /// The address, which begins with https://; left out, the present one is shown
        url: Option<String>,
        /// Send no more messages
        #[arg(long, conflicts_with = "url")]
        off: bool,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let admin = context.admin(&arguments.data)?;
    match &arguments.action {
        None | Some(Action::Show) => {
            let platform = admin.get("/admin/v1/platform")?;
            context.out.answer(&platform, |paint| shown(&platform, paint))
        }
        Some(Action::Set { free_tier, maturity_days }) => {
            let mut body = json!({});
            if let Some(credits) = free_tier {
                body["free_tier_per_month"] = json!(credits.to_string());
            }
            if let Some(days) = maturity_days {
                body["maturity_days"] = json!(days);
            }
            let platform = admin.patch("/admin/v1/platform", &body)?;
            context.out.answer(&platform, |paint| shown(&platform, paint))
        }
        Some(Action::Endpoint { url: Some(url), .. }) => {
            let answer = admin.put("/admin/v1/endpoint", &json!({ "url": url }))?;
            context.out.answer(&answer, |paint| {
                let secret = paint.cyan(&cell(&answer, "/secret"));
                format!("messages go to {url}\nThe secret, shown this once:\n\n  {secret}")
            })
        }
        Some(Action::Endpoint { url: None, off: false }) => {
            let answer = admin.get("/admin/v1/endpoint")?;
            context.out.answer(&answer, |_| {
                let gone = answer.pointer("/switched_off/url").and_then(Value::as_str);
                match (answer.get("url").and_then(Value::as_str), gone) {
                    (Some(url), _) => format!("messages go to {url}"),
                    (None, Some(gone)) => {
                        format!("no messages are sent: {gone} answered 410, it wants no more")
                    }
                    (None, None) => "no messages are sent to the operator".to_owned(),
                }
            })
        }
        Some(Action::Endpoint { url: None, .. }) => {
            let answer = admin.delete("/admin/v1/endpoint")?;
            context.out.answer(&answer, |_| "no messages are sent to the operator".to_owned())
        }
    }
}

fn shown(platform: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[left(""), right("")]);
    let free = credits_cell(platform, "/free_tier_per_month");
    table.row(vec!["free credits per month".to_owned(), free]);
    let days = cell(platform, "/maturity_days");
    table.row(vec!["days until earnings can be paid out".to_owned(), days]);
    table.render(paint, "")
}
