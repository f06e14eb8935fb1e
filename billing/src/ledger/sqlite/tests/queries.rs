//! What readers see.

use super::desk::{line, terms};
use super::*;
use crate::calendar::Day;
use crate::charge::Party;
use crate::hold::Subject;
use crate::ids::OrgId;
use crate::ledger::store::Reader;
use crate::price::Meter;
use crate::report::{DayQuery, EntryAct, EntryQuery, ReceiptQuery, Role};

fn with_everything() -> (Bench, SqliteStore, SqliteReader, Desk) {
    let bench = Bench::new();
    let (mut store, reader) = bench.open();
    store.load().unwrap();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    (bench, store, reader, desk)
}

fn days(org: &str, from: u64, to: u64) -> DayQuery {
    DayQuery { org: OrgId::new(org), from: Day::of(from), to: Day::of(to) }
}

#[tokio::test]
async fn receipts_come_newest_first_in_pages() {
    let (_bench, _store, reader, _) = with_everything();
    let page = |before, limit| ReceiptQuery { org: acme(), before, limit };
    let all = reader.receipts(&page(None, 10)).await.unwrap();
    let calls: Vec<_> = all.iter().map(|receipt| receipt.call).collect();
    assert_eq!(calls, [call_id(4), call_id(2), call_id(1)]);
    let next = reader.receipts(&page(Some(call_id(4)), 1)).await.unwrap();
    assert_eq!(next, [all[1].clone()]);
    assert_eq!(reader.receipt(&acme(), call_id(2)).await.unwrap().as_ref(), Some(&all[1]));
    for (org, call) in [(acme(), call_id(3)), (acme(), call_id(99)), (OrgId::new("x"), call_id(1))]
    {
        assert_eq!(reader.receipt(&org, call).await.unwrap(), None);
    }
    let (late, function) = (&all[0], &all[1]);
    assert!(late.late && !function.late);
    assert_eq!(late.usage[0], line(Some("tiny"), Meter::InputTokens, 33));
    assert_eq!(function.usage[2].model.as_deref(), Some("other"));
    assert_eq!(function.author.as_ref().map(|author| author.compute_markup_bps), Some(2_500));
    let parties: Vec<&Party> = function.parts.iter().map(|part| &part.party).collect();
    let (author, farm) = (OrgId::new("authors"), OrgId::new("farm"));
    let expected =
        [&Party::Platform, &Party::Author(author), &Party::Provider(farm), &Party::Rounding];
    assert_eq!(parties, expected);
    let sum: i64 = function.parts.iter().map(|part| part.amount.as_nano()).sum();
    assert_eq!(sum, function.amount.as_nano());
}

#[tokio::test]
async fn usage_and_earnings_are_cut_by_day() {
    let (_bench, _store, reader, desk) = with_everything();
    let (from, to) = (START_MS, desk.at_ms);
    let usage = reader.usage(&days("acme", from, to)).await.unwrap();
    let tiny = Subject::Model("tiny".to_owned());
    let row = usage.iter().find(|row| row.subject == tiny).unwrap();
    assert_eq!((row.sums.calls, row.sums.input_tokens, row.sums.output_tokens), (2, 66, 18));
    assert_eq!((row.model.as_deref(), row.sums.cost), (Some("tiny"), nano(2 * 6_900)));
    let other = usage.iter().find(|row| row.model.as_deref() == Some("other")).unwrap();
    assert_eq!((other.sums.calls, other.sums.output_tokens), (0, 5));
    let farm = reader.earnings(&days("farm", from, to)).await.unwrap();
    assert_eq!((farm[0].role, farm[0].calls), (Role::Provider, 1));
    let author = reader.earnings(&days("authors", from, to)).await.unwrap();
    assert_eq!((author[0].role, author[0].calls, author[0].amount), (Role::Author, 1, nano(0)));
    let totals = reader.totals(&days("acme", from, to)).await.unwrap();
    assert_eq!((totals.receipts, totals.amount), (3, totals.transferred));
    let summed: i64 = usage.iter().map(|row| row.sums.cost.as_nano()).sum();
    assert_eq!(totals.amount.as_nano(), summed);
    for query in [days("acme", 0, START_MS - 86_400_000), days("nobody", 0, to)] {
        assert!(reader.usage(&query).await.unwrap().is_empty());
        assert!(reader.earnings(&query).await.unwrap().is_empty());
        assert_eq!(reader.totals(&query).await.unwrap().receipts, 0);
    }
}

#[tokio::test]
async fn entries_are_found_by_organisation_and_time() {
    let (_bench, _store, reader, desk) = with_everything();
    let ask = async |org: Option<&str>, from_ms, to_ms, before, limit| {
        let org = org.map(OrgId::new);
        let query = EntryQuery { org, from_ms, to_ms, before, limit };
        let entries = reader.entries(&query).await.unwrap();
        entries.into_iter().map(|entry| entry.number).collect::<Vec<u64>>()
    };
    assert_eq!(ask(None, 0, u64::MAX, None, 10).await, [5, 4, 3, 2, 1]);
    assert_eq!(ask(None, 0, u64::MAX, Some(4), 2).await, [3, 2]);
    assert_eq!(ask(Some("acme"), 0, u64::MAX, None, 10).await, [4, 3, 2, 1]);
    assert_eq!(ask(None, START_MS + 1, u64::MAX, None, 10).await, [5, 4]);
    assert_eq!(ask(Some("acme"), 0, START_MS + 1, None, 2).await, [3, 2]);
    assert_eq!(ask(None, desk.at_ms + 1, u64::MAX, None, 10).await, [0_u64; 0]);
    assert_eq!(ask(Some("nobody"), 0, u64::MAX, None, 10).await, [0_u64; 0]);
    let query = EntryQuery { org: None, from_ms: 0, to_ms: u64::MAX, before: Some(2), limit: 1 };
    let first = reader.entries(&query).await.unwrap().remove(0);
    assert!(matches!(first.act, EntryAct::Order(crate::order::Act::TopUp(_))));
    assert_eq!((first.by.as_str(), first.at_ms), ("operator", START_MS));
    let moved = &first.transfers[0];
    assert_eq!((moved.debit.as_str(), moved.credit.as_str()), ("cash:operator", "wallet:acme"));
}

#[tokio::test]
async fn closed_months_and_the_audit_are_there() {
    let (_bench, mut store, reader, mut desk) = with_everything();
    let periods = reader.periods().await.unwrap();
    assert_eq!(periods.len(), 1);
    assert!(periods[0].trial_balance.iter().any(|row| row.class == "wallet"));
    let check = reader.check().await.unwrap();
    assert!(check.ok, "{check:?}");
    assert_eq!((check.captures, check.holds_open), (3, 2));
    assert_eq!(check.held, nano(10_005));
    // Readers see the next batch when it is committed.
    let terms = terms(50, 1_000);
    desk.open(&terms);
    desk.capture(&terms, &[line(Some("tiny"), Meter::OutputTokens, 1)], false);
    desk.at_ms += 1;
    let mut batch = desk.batch();
    (batch.opened, batch.closed) = (Vec::new(), Vec::new());
    assert_eq!(reader.receipt(&acme(), call_id(50)).await.unwrap(), None);
    store.commit(&batch).unwrap();
    assert!(reader.receipt(&acme(), call_id(50)).await.unwrap().is_some());
}
