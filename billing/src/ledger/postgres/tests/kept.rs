use super::books::{Books, START_MS, lot, nano, org, plain, refusal, terms, usage};
use super::{ask, database, loaded, opened, psql, started};
use crate::account::Account;
use crate::calendar::Day;
use crate::document::{Document, DocumentKey};
use crate::hold::HoldTerms;
use crate::ids::{CallId, OpId, OrgId};
use crate::ledger::store::{CallEnd, Found, Reader, Store, Wanted};
use crate::report::{DayQuery, EntryQuery, ReceiptQuery, Role};

fn found(store: &mut dyn Store, calls: &[&HoldTerms]) -> Found {
    let calls = calls.iter().map(|terms| (terms.org.clone(), terms.call)).collect();
    let entries = vec![OpId::new("pay-1").unwrap(), OpId::new("never").unwrap()];
    let documents = vec![
        DocumentKey { kind: "lot", id: "9".to_owned() },
        DocumentKey { kind: "lot", id: "10".to_owned() },
    ];
    store.find(&Wanted { calls, entries, documents }).unwrap()
}

fn whole_day(org: &OrgId) -> DayQuery {
    let day = Day::of(START_MS);
    DayQuery { org: org.clone(), from: day, to: day }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_new_ledger_is_empty_and_takes_its_first_batch() {
    let url = database();
    let (mut store, reader, mut books) = started(&url);
    let state = loaded(&mut store);
    assert_eq!((state.last_transfer, state.last_entry, state.last_at_ms), (3, 3, START_MS + 1));
    assert_eq!((state.last_lot, state.last_budget), (9, 3));
    let versions: Vec<u64> = state.books.iter().map(|book| book.version.0).collect();
    assert_eq!(versions, [1, 2]);
    assert!(state.documents.contains(&Document::Lot(lot(7, false))));
    assert!(!state.documents.contains(&Document::Lot(lot(9, true))), "an expired lot is not live");
    for (number, account, counters) in &state.accounts {
        assert!(*number > 0);
        assert_eq!(*counters, books.counters(account), "{}", account.name());
    }
    assert_eq!(state.accounts.len(), 6);
    let open = [terms(CallId::generate(), 500), plain(CallId::generate(), 300)];
    let mut draft = books.draft();
    open.iter().for_each(|terms| draft.hold(terms));
    let batch = draft.finish();
    store.commit(&batch).unwrap();
    Box::new(store).close().unwrap();
    let (mut again, _) = opened(&url);
    let mut holds = loaded(&mut again).holds;
    holds.sort_by_key(|hold| hold.call);
    assert_eq!(holds, open.each_ref().map(|terms| terms.as_ref().clone()));
    let check = ask(reader.check()).unwrap();
    assert_eq!(check.breaks, [""; 0]);
    assert_eq!((check.holds_open, check.held), (2, nano(800)));
    let mut late = Books::default();
    assert!(late.beginning().transfers.len() == 3);
}

/// Four calls held, then ended in each way; the expired one is charged late. Returns them.
fn lives(store: &mut dyn Store, books: &mut Books) -> [std::sync::Arc<HoldTerms>; 5] {
    let calls: [_; 5] = std::array::from_fn(|_| terms(CallId::generate(), 500));
    let mut draft = books.draft();
    calls[..4].iter().for_each(|terms| draft.hold(terms));
    let batch = draft.finish();
    store.commit(&batch).unwrap();
    let mut draft = books.draft();
    draft.capture(&calls[0], false);
    draft.end(&calls[1], CallEnd::Voided);
    draft.end(&calls[2], CallEnd::Expired);
    draft.end(&calls[3], CallEnd::Restarted);
    draft.end(&calls[4], refusal());
    let batch = draft.finish();
    store.commit(&batch).unwrap();
    let mut draft = books.draft();
    draft.capture(&calls[2], true);
    let batch = draft.finish();
    store.commit(&batch).unwrap();
    calls
}

#[test]
#[ignore = "needs PostgreSQL"]
fn calls_are_found_as_they_ended() {
    let url = database();
    let (mut store, _, mut books) = started(&url);
    let calls = lives(&mut store, &mut books);
    let refs: Vec<&HoldTerms> = calls.iter().map(AsRef::as_ref).collect();
    let before = found(&mut store, &refs);
    drop(store);
    // A store that knows nothing yet but what it loads.
    let (mut store, _) = opened(&url);
    loaded(&mut store);
    let found = found(&mut store, &refs);
    for terms in &calls {
        let key = (org(), terms.call);
        assert_eq!(found.calls[&key], before.calls[&key]);
        let row = &found.calls[&key].0;
        // Which lots were set aside matters only where a late charge may come, or came.
        let lots = if row.end.keeps_lots() { terms.lots.clone() } else { Vec::new() };
        assert_eq!(row.terms, HoldTerms { lots, ..terms.as_ref().clone() });
    }
    let end = |index: usize| &found.calls[&(org(), calls[index].call)];
    let (row, transfers) = end(0);
    assert!(
        matches!(&row.end, CallEnd::Captured { late: false, usage: lines, .. } if *lines == usage())
    );
    assert_eq!((row.transfers, transfers.len()), ((4, 6), 6));
    assert_eq!(transfers[0].debit, Account::Wallet(org()));
    assert!(matches!(end(2).0.end, CallEnd::Captured { late: true, .. }));
    assert_eq!(end(2).0.ended_at_ms, START_MS + 4);
    let rest = [end(1), end(3), end(4)].map(|(row, _)| row.end.clone());
    assert_eq!(rest, [CallEnd::Voided, CallEnd::Restarted, refusal()]);
    assert_eq!(found.entries[&OpId::new("pay-1").unwrap()].digest, [7; 32]);
    assert_eq!((found.entries.len(), found.documents.len()), (1, 1));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn readers_tell_what_was_committed() {
    let url = database();
    let (mut store, reader, mut books) = started(&url);
    let calls = lives(&mut store, &mut books);
    ask(async {
        let receipt = reader.receipt(&org(), calls[0].call).await.unwrap().unwrap();
        assert_eq!((receipt.amount, receipt.held, receipt.late), (nano(116), nano(500), false));
        assert_eq!((receipt.parts.len(), &receipt.usage), (5, &usage()));
        assert!(reader.receipt(&org(), calls[1].call).await.unwrap().is_none());
        assert!(reader.receipt(&OrgId::new("a\0b"), calls[0].call).await.unwrap().is_none());
        let mut query = ReceiptQuery { org: org(), before: None, limit: 10 };
        let all = reader.receipts(&query).await.unwrap();
        let ids: Vec<CallId> = all.iter().map(|receipt| receipt.call).collect();
        assert_eq!(ids, [calls[2].call, calls[0].call]);
        assert!(all[0].late);
        query.before = Some(calls[2].call);
        assert_eq!(reader.receipts(&query).await.unwrap(), [receipt]);
        let rows = reader.usage(&whole_day(&org())).await.unwrap();
        let by_model: Vec<_> = rows.iter().map(|row| (row.model.as_deref(), row.sums)).collect();
        assert_eq!((by_model[0].0, by_model[0].1.calls, by_model[0].1.cost), (None, 2, nano(232)));
        assert_eq!((by_model[1].0, by_model[1].1.input_tokens), (Some("tiny"), 2_068));
        let earned = reader.earnings(&whole_day(&OrgId::new("owner"))).await.unwrap();
        let earned: Vec<_> = earned.iter().map(|row| (row.role, row.calls, row.amount)).collect();
        assert_eq!(earned, [(Role::ModelOwner, 2, nano(50))]);
        let totals = reader.totals(&whole_day(&org())).await.unwrap();
        assert_eq!((totals.receipts, totals.amount, totals.transferred), (2, nano(232), nano(232)));
        let mut query =
            EntryQuery { org: None, from_ms: 0, to_ms: u64::MAX, before: None, limit: 10 };
        let numbers = async |query: &EntryQuery| {
            let entries = reader.entries(query).await.unwrap();
            entries.iter().map(|entry| (entry.number, entry.transfers.len())).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&query).await, [(3, 1), (2, 1), (1, 1)]);
        query.org = Some(org());
        assert_eq!(numbers(&query).await, [(2, 1), (1, 1)]);
        query.before = Some(2);
        assert_eq!(numbers(&query).await, [(1, 1)]);
        query.from_ms = START_MS + 2;
        assert_eq!(numbers(&query).await, []);
        assert_eq!(reader.periods().await.unwrap(), []);
        let check = reader.check().await.unwrap();
        assert_eq!(check.breaks, [""; 0]);
        assert_eq!((check.captures, check.receipted, check.captured), (2, nano(232), nano(232)));
        reader.close().await;
    });
    assert_eq!(psql(&url, "SELECT count(*) FROM holds").unwrap(), "0");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_ledger_of_version_1_goes_on() {
    let url = database();
    let first = super::super::schema::MIGRATIONS[0];
    let book = serde_json::to_string(&crate::price::PriceBook::initial()).unwrap();
    let call = terms(CallId::generate(), 500);
    let old = format!(
        "CREATE SCHEMA emberbox_ledger;
         CREATE TABLE schema_migrations (version bigint PRIMARY KEY, applied_at_ms bigint NOT NULL);
         {first}
         INSERT INTO schema_migrations VALUES (1, 0);
         INSERT INTO price_books VALUES (1, 0, '{book}');
         INSERT INTO names VALUES (1, 'acme'), (2, 'key-1'), (3, '{{\"model\":\"tiny\"}}');
         INSERT INTO calls (held, amount, price_version, held_at_ms, ttl_ms, ended_at_ms,
            first_transfer, transfers, org, key, subject, pinned, ended, call)
         VALUES (500, 0, 1, 0, 9, 9, 0, 0, 1, 2, 3, 0, 3, '{}')",
        call.call
    );
    psql(&url, &old).unwrap();
    let (mut store, reader, mut books) = started(&url);
    let found = found(&mut store, &[&call]);
    let (row, _) = &found.calls[&(org(), call.call)];
    assert_eq!((&row.end, row.terms.lots.len()), (&CallEnd::Expired, 0));
    lives(&mut store, &mut books);
    assert_eq!(ask(reader.check()).unwrap().breaks, [""; 0]);
    assert_eq!(psql(&url, "SELECT count(*) FROM calls WHERE lots IS NOT NULL").unwrap(), "2");
}
