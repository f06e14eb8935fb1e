//! `emberbox reconcile`: whether all figures of a month agree.

use clap::Args;
use emberbox_billing::Period;
use serde_json::{Value, json};

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, credits_cell, rows};
use super::output::{Paint, Table, left, right};
use super::settings::DataFlag;

/// Compare transfers, receipts, sums of usage and invoices of a month; an operator's command
///
/// Everything that does not agree is named, and the exit code is 1 for any.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The month, such as 2026-11; the present one if left out
    period: Option<Period>,
    /// The organisation; all of them if left out
    #[arg(long, value_parser = plain)]
    org: Option<String>,
    #[command(flatten)]
    data: DataFlag,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let admin = context.admin(&arguments.data)?;
    let orgs = match &arguments.org {
        Some(org) => vec![org.clone()],
        None => {
            let orgs = admin.get("/admin/v1/orgs")?;
            rows(&orgs).iter().map(|org| cell(org, "/name")).collect()
        }
    };
    let period = arguments.period.map(|period| format!("&period={period}")).unwrap_or_default();
    let mut found = Vec::new();
    for org in orgs {
        let mut one = admin.get(&format!("/admin/v1/reconcile?org={org}{period}"))?;
        one["name"] = json!(org);
        found.push(one);
    }
    let broken = found.iter().filter(|one| one.get("ok") != Some(&Value::Bool(true))).count();
    let answer = json!({ "object": "list", "ok": broken == 0, "data": found });
    context.out.answer(&answer, |paint| shown(&answer, paint))?;
    match broken {
        0 => Ok(()),
        broken => Err(CliError::Failed {
            what: format!("the figures of {broken} organisation(s) do not agree"),
            next: "`emberbox ledger check` says whether the journal is sound".to_owned(),
        }),
    }
}

fn shown(answer: &Value, paint: Paint) -> String {
    let columns = [left("ORGANISATION"), left("FIGURE"), right("CALLS"), right("AMOUNT")];
    let mut table = Table::new(&columns);
    let mut broken = String::new();
    for one in rows(answer) {
        for figure in one.get("figures").map_or(&[][..], rows) {
            table.row(vec![
                cell(one, "/name"),
                cell(figure, "/source"),
                cell(figure, "/calls"),
                credits_cell(figure, "/amount"),
            ]);
        }
        for line in one.get("breaks").map_or(&[][..], rows) {
            broken.push_str(&format!("\n{} {}", paint.red("broken:"), cell(line, "")));
        }
    }
    if broken.is_empty() {
        broken = format!("\n{}", paint.green("everything agrees"));
    }
    format!("{}{broken}", table.render(paint, "no organisations"))
}
