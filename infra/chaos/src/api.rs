//! The comparison over HTTP: what the restarted server says, against the books.

use serde_json::Value;

use crate::books::{Books, Receipt};
use crate::client::{Ask, Client};
use crate::load::Stage;
use crate::nano;
use crate::operator::{Desk, ask_top_up};
use crate::record::{Call, Record, Subject, TopUp};

/// Receipts on one page: the most that the server gives.
const PAGE: usize = 1_000;
/// Acknowledged top-ups that are sent again after each restart.
const REPEATED: usize = 3;

/// Sends the top-ups again that were not acknowledged, and some that were, and enters the former.
/// The same id with another amount must be a conflict. Returns what is broken.
pub(crate) async fn repeat_top_ups(
    stage: &Stage,
    desk: &Desk,
    books: &mut Books,
    record: &Record,
) -> anyhow::Result<Vec<String>> {
    let mut admin = Client::new(stage.admin, &desk.token);
    let mut broken = Vec::new();
    let open = record.top_ups.iter().filter(|top_up| !top_up.acknowledged);
    for top_up in open {
        let answer = admin.want(ask_top_up(desk, top_up)).await?;
        match answer.ok() {
            Ok(_) => books.enter_top_up(top_up),
            Err(error) => broken.push(format!("{top_up:?}, repeated: {error:#}")),
        }
    }
    let made: Vec<&TopUp> = record.top_ups.iter().filter(|t| t.acknowledged).collect();
    for top_up in made.iter().rev().take(REPEATED) {
        let answer = admin.want(ask_top_up(desk, top_up)).await?;
        if let Err(error) = answer.ok() {
            broken.push(format!("{top_up:?}, repeated: {error:#}"));
        }
        let other = TopUp { amount: top_up.amount + 1, ..(*top_up).clone() };
        let answer = admin.want(ask_top_up(desk, &other)).await?;
        if answer.status.as_u16() != 409 {
            broken.push(format!("{other:?}: the same id, another amount: {}", answer.status));
        }
    }
    Ok(broken)
}

/// Compares balances, receipts, keys and prices, and the ledger's own check. Enters the receipts.
pub(crate) async fn compare(
    stage: &Stage,
    desk: &Desk,
    books: &mut Books,
    record: &Record,
) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for (place, org) in books.orgs.iter_mut().enumerate() {
        let mut client = Client::new(stage.public, &org.owner);
        let new = receipts(&mut client, |id| org.receipts.contains_key(id)).await?;
        let calls: Vec<&Call> = record.calls.iter().filter(|call| call.org == place).collect();
        broken.extend(org.settle(&calls, new));
        let balance = client.value(Ask::get("/v1/credits")).await?;
        let (posted, held) = (nano::field(&balance, "posted")?, nano::field(&balance, "held")?);
        let expected = org.topped_up - org.spent;
        if posted != expected {
            broken.push(format!(
                "{} has {posted} nano, but top-ups {} less receipts {} are {expected}: {} too many",
                org.name,
                org.topped_up,
                org.spent,
                posted - expected
            ));
        }
        if held != 0 {
            broken.push(format!("{} has {held} nano held after a restart", org.name));
        }
    }
    broken.extend(catalog_and_prices(stage, desk, books).await?);
    Ok(broken)
}

/// All receipts once more, from the first to the last, against the books.
pub(crate) async fn compare_all(stage: &Stage, books: &Books) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for org in &books.orgs {
        let mut client = Client::new(stage.public, &org.owner);
        let all = receipts(&mut client, |_| false).await?;
        let same = |receipt: &&Receipt| org.receipts.get(&receipt.id) == Some(&receipt.amount);
        let right = all.iter().filter(same).count();
        if right != all.len() || right != org.receipts.len() {
            let (told, kept) = (all.len(), org.receipts.len());
            broken.push(format!("{} has {told} receipts, {right} of {kept} right", org.name));
        }
    }
    Ok(broken)
}

async fn catalog_and_prices(
    stage: &Stage,
    desk: &Desk,
    books: &Books,
) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut admin = Client::new(stage.admin, &desk.token);
    let check = admin.value(Ask::get("/admin/v1/ledger/check")).await?;
    if check.get("ok") != Some(&Value::Bool(true)) {
        broken.push(format!("the ledger's check: {check}"));
    }
    let prices = admin.value(Ask::get("/admin/v1/prices")).await?;
    let version = prices.get("version").and_then(Value::as_u64).unwrap_or(0);
    if version < books.price_version {
        let expected = books.price_version;
        broken.push(format!("LOST: price version {expected} was made; {version} is the newest"));
    }
    let mut owner = Client::new(stage.public, &desk.owner);
    let keys = owner.value(Ask::get("/v1/keys")).await?;
    let rows = keys.get("data").and_then(Value::as_array);
    let ids: Vec<&str> =
        rows.into_iter().flatten().filter_map(|row| row.get("id")?.as_str()).collect();
    let lost = books.keys.iter().filter(|key| !ids.contains(&key.as_str()));
    broken.extend(lost.map(|key| format!("LOST: key {key} was shown and is not there")));
    Ok(broken)
}

/// Reads receipts, newest first, up to the first one that is known.
async fn receipts(
    client: &mut Client,
    known: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<Receipt>> {
    let mut found: Vec<Receipt> = Vec::new();
    loop {
        let before = found.last().map(|last| format!("&before={}", last.id)).unwrap_or_default();
        let path = format!("/v1/receipts?limit={PAGE}{before}");
        let page = client.value(Ask::get(&path)).await?;
        let rows = page.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        for row in &rows {
            let receipt = receipt(row)?;
            if known(&receipt.id) {
                return Ok(found);
            }
            found.push(receipt);
        }
        if rows.len() < PAGE {
            return Ok(found);
        }
    }
}

fn receipt(row: &Value) -> anyhow::Result<Receipt> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let whole = |name: &str| row.get(name).and_then(Value::as_u64);
    let subject = row.get("subject").and_then(|subject| subject.get("model"));
    let read = || {
        Some(Receipt {
            id: text("id").or_else(|| text("call"))?,
            key: text("key")?,
            subject: if subject.is_some() { Subject::Model } else { Subject::Function },
            amount: nano::field(row, "amount").ok()?,
            created_at_ms: whole("created_at_ms")?,
        })
    };
    read().ok_or_else(|| anyhow::anyhow!("this is no receipt: {row}"))
}
