//! The last scene: the receipts, one by one, against the ledger's own sums.

use emberbox_billing::Nano;
use serde_json::Value;

use super::stage::amount;
use super::{Outcome, Play, expect, sum};
use crate::cli::CliError;
use crate::cli::format::{cell, credits, rows};
use crate::cli::output::{Table, left, right};
use crate::client::Client;

/// Receipts in one answer.
const PAGE: usize = 100;
/// Answers that are read: more receipts than any demo makes.
const PAGES_MAX: usize = 100;

/// Adds up the receipts of both organisations and compares them with the ledger.
pub(super) fn play(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    play.screen.command(
        "curl $EMBERBOX_ADMIN_URL/admin/v1/ledger/check -H \"Authorization: Bearer $(cat \
         $EMBERBOX_DATA/operator.token)\"",
    )?;
    let ledger = play.stage.admin.get("/admin/v1/ledger/check")?;
    let mut all = Vec::new();
    for client in std::iter::once(&play.stage.client).chain(&play.guest) {
        all.extend(receipts(client)?);
    }
    let (count, total) = (all.len().to_string(), sum(all)?);
    let captured = amount(&ledger, "/captured")?;
    let receipted = amount(&ledger, "/receipted")?;
    let spent = play.spent()?;
    let mut table = Table::new(&[left(""), right(""), right("")]);
    let mut line = |name: &str, count: String, amount: Nano| {
        table.row(vec![name.to_owned(), count, credits(amount)]);
    };
    line("what the steps above cost", String::new(), spent);
    line("receipts of both organisations", count, total);
    line("receipts in the ledger", cell(&ledger, "/receipts"), receipted);
    line("calls charged in the ledger", cell(&ledger, "/captures"), captured);
    line("all debits of the ledger", String::new(), amount(&ledger, "/debits")?);
    line("all credits of the ledger", String::new(), amount(&ledger, "/credits")?);
    play.screen.block(&table.render(play.screen.paint(), ""))?;
    expect(total == receipted, || {
        format!("the organisations' receipts are {total} credits, the ledger's {receipted}")
    })?;
    compare(&ledger, captured, receipted, spent)?;
    Ok(Outcome::default())
}

fn compare(ledger: &Value, captured: Nano, receipted: Nano, spent: Nano) -> Result<(), CliError> {
    expect(cell(ledger, "/ok") == "yes", || {
        format!("the ledger's own check failed: {}", cell(ledger, "/breaks"))
    })?;
    expect(amount(ledger, "/debits")? == amount(ledger, "/credits")?, || {
        "the sum of the debits is not the sum of the credits".to_owned()
    })?;
    expect(captured == receipted, || {
        format!("captures are {captured} credits, and receipts {receipted}")
    })?;
    expect(receipted == spent, || {
        format!("receipts are {receipted} credits, and the steps cost {spent}")
    })?;
    expect(amount(ledger, "/held")? == Nano::from_nano(0), || {
        "credits are still held although no call is running".to_owned()
    })
}

/// The amount of every receipt of an organisation.
fn receipts(client: &Client) -> Result<Vec<Nano>, CliError> {
    let mut amounts = Vec::new();
    let mut before = String::new();
    for _ in 0..PAGES_MAX {
        let page = client.get(&format!("/v1/receipts?limit={PAGE}{before}"))?;
        for receipt in rows(&page) {
            amounts.push(amount(receipt, "/amount")?);
        }
        match rows(&page).last() {
            Some(last) if rows(&page).len() == PAGE => {
                before = format!("&before={}", cell(last, "/id"));
            }
            _ => break,
        }
    }
    Ok(amounts)
}
