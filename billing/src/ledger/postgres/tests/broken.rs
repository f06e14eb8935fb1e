use super::books::{lot, nano, org, terms};
use super::{ask, database, loaded, opened, psql, started};
use crate::account::{Account, Purpose};
use crate::document::Document;
use crate::ids::CallId;
use crate::ledger::store::{Batch, Reader, Store, StoreFault};

/// A batch is refused because it and what is kept differ, and nothing of it is kept.
fn check_broken(url: &str, store: &mut dyn Store, (batch, part): (&Batch, &str)) {
    let tables = "SELECT (SELECT count(*) FROM transfers), (SELECT count(*) FROM calls),
        (SELECT count(*) FROM entries), (SELECT count(*) FROM holds),
        (SELECT sum(debits_posted) FROM accounts), (SELECT batch FROM writer)";
    let before = psql(url, tables).unwrap();
    match store.commit(batch) {
        Err(StoreFault::Broken(what)) => assert!(what.contains(part), "{what}"),
        other => panic!("{part}: {other:?}"),
    }
    assert_eq!(psql(url, tables).unwrap(), before);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn what_the_rules_never_do_is_refused_and_undone() {
    let url = database();
    let (mut store, _, mut books) = started(&url);
    let call = terms(CallId::generate(), 500);
    let mut draft = books.draft();
    draft.hold(&call);
    let good = draft.finish();
    store.commit(&good).unwrap();

    let mut draft = books.draft();
    draft.capture(&call, false);
    let wallet = Account::Wallet(org());
    draft.post(Purpose::Adjustment, wallet, Account::Suspense, 1_000_000_000_000);
    let overdrawn = draft.finish();
    check_broken(&url, &mut store, (&overdrawn, "not_overdrawn"));

    let known = good.accounts.into_iter().filter(|change| change.before.is_some()).collect();
    let of_accounts = Batch { accounts: known, ..Batch::default() };
    check_broken(&url, &mut store, (&of_accounts, "accounts as they were before"));
    let closed = vec![(org(), CallId::generate())];
    check_broken(&url, &mut store, (&Batch { closed, ..Batch::default() }, "open holds"));
    let opened = vec![call];
    check_broken(&url, &mut store, (&Batch { opened, ..Batch::default() }, "duplicate key"));
    // And a good one is still taken, with names that the refused ones brought first.
    let documents = vec![Document::Lot(lot(9, false))];
    store.commit(&Batch { documents, ..Batch::default() }).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL"]
fn the_one_who_opened_last_writes() {
    let url = database();
    let (mut old, _, mut books) = started(&url);
    let (mut new, _) = opened(&url);
    let mut draft = books.draft();
    draft.hold(&terms(CallId::generate(), 500));
    let batch = draft.finish();
    assert!(matches!(old.commit(&batch), Err(StoreFault::Fenced)));
    loaded(&mut new);
    new.commit(&batch).unwrap();
    assert!(matches!(old.commit(&batch), Err(StoreFault::Fenced)));
    assert_eq!(psql(&url, "SELECT count(*) FROM holds").unwrap(), "1");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn what_is_written_stays_written() {
    let url = database();
    let (mut store, _, mut books) = started(&url);
    let mut draft = books.draft();
    draft.end(&terms(CallId::generate(), 500), super::books::refusal());
    let batch = draft.finish();
    store.commit(&batch).unwrap();
    for sql in [
        "UPDATE transfers SET amount = amount + 1",
        "DELETE FROM transfers",
        "TRUNCATE transfers",
        "UPDATE calls SET amount = 0",
        "DELETE FROM calls",
        "UPDATE entries SET by_whom = 'nobody'",
        "DELETE FROM entries",
        "UPDATE names SET name = 'other'",
        "UPDATE batches SET at_ms = 0",
        "DELETE FROM price_books",
    ] {
        let refused = psql(&url, sql).unwrap_err();
        assert!(refused.contains("never changed") || refused.contains("is not changed"), "{sql}");
    }
    let overdraw = "UPDATE accounts SET debits_held = 9e17 WHERE name LIKE 'wallet:%'";
    assert!(psql(&url, overdraw).unwrap_err().contains("not_overdrawn"));
}

/// What an intruder changes, how it is undone, and what the check says.
const TAMPERED: [(&str, &str, &str); 15] = [
    (
        "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE name = 'platform'",
        "UPDATE accounts SET credits_posted = credits_posted - 1 WHERE name = 'platform'",
        "platform is stored as",
    ),
    (
        "UPDATE accounts SET debits_held = debits_held - 1 WHERE name = 'lot:7'",
        "UPDATE accounts SET debits_held = debits_held + 1 WHERE name = 'lot:7'",
        "lot:7 holds",
    ),
    (
        "UPDATE transfers SET amount = amount + 1 WHERE number = 4",
        "UPDATE transfers SET amount = amount - 1 WHERE number = 4",
        "is charged 116, but its transfers are 117",
    ),
    (
        "UPDATE transfers SET purpose = 5 WHERE number = 4",
        "UPDATE transfers SET purpose = 1 WHERE number = 4",
        "wallet:acme pays platform for purpose 5",
    ),
    (
        "UPDATE transfers SET number = 1000 WHERE number = 15",
        "UPDATE transfers SET number = 15 WHERE number = 1000",
        "the journal has 15 transfers up to number 1000",
    ),
    (
        "UPDATE calls SET amount = 115 WHERE first_transfer = 4",
        "UPDATE calls SET amount = 116 WHERE first_transfer = 4",
        "is charged 115",
    ),
    (
        "UPDATE calls SET first_transfer = 5 WHERE first_transfer = 4",
        "UPDATE calls SET first_transfer = 4 WHERE first_transfer = 5",
        "the last before it ended at 3",
    ),
    (
        "UPDATE calls SET ended_at_ms = ended_at_ms + 1 WHERE first_transfer = 4",
        "UPDATE calls SET ended_at_ms = ended_at_ms - 1 WHERE first_transfer = 4",
        "made at different times",
    ),
    (
        "UPDATE calls SET usage = replace(usage, '207', '107') WHERE first_transfer = 4",
        "UPDATE calls SET usage = replace(usage, '107', '207') WHERE first_transfer = 4",
        "it is charged 116 nano, its usage costs 60",
    ),
    (
        "UPDATE price_books SET book = replace(book, '0.00000000056', '0.00000000066')",
        "UPDATE price_books SET book = replace(book, '0.00000000066', '0.00000000056')",
        "it is charged 116 nano, its usage costs 137",
    ),
    (
        "UPDATE usage_days SET input_tokens = input_tokens + 1",
        "UPDATE usage_days SET input_tokens = input_tokens - 1",
        "sums of usage",
    ),
    (
        "UPDATE earnings_days SET amount = amount + 1",
        "UPDATE earnings_days SET amount = amount - 1",
        "sums of earnings",
    ),
    (
        "UPDATE entries SET number = 4 WHERE number = 3",
        "UPDATE entries SET number = 3 WHERE number = 4",
        "3 entries up to number 4",
    ),
    (
        "UPDATE batches SET at_ms = 0 WHERE first_transfer = 4",
        "UPDATE batches SET at_ms = (SELECT max(ended_at_ms) FROM calls)
            WHERE first_transfer = 4",
        "earlier than the one before",
    ),
    (
        "UPDATE names SET name = 'none' WHERE name LIKE '{\"function%'",
        "UPDATE names SET name = (SELECT name FROM saved) WHERE name = 'none'",
        "cannot be read",
    ),
];

#[test]
#[ignore = "needs PostgreSQL"]
fn the_check_finds_what_was_tampered_with() {
    let url = database();
    let (mut store, reader, mut books) = started(&url);
    let calls: [_; 4] = std::array::from_fn(|_| terms(CallId::generate(), 500));
    let mut draft = books.draft();
    calls.iter().for_each(|terms| draft.hold(terms));
    let held = draft.finish();
    store.commit(&held).unwrap();
    let mut draft = books.draft();
    draft.capture(&calls[0], false);
    draft.capture(&calls[1], false);
    let captured = draft.finish();
    store.commit(&captured).unwrap();
    assert!(ask(reader.check()).unwrap().ok);
    for (sql, undo, part) in TAMPERED {
        // As a superuser, whom no trigger stops.
        let tamper =
            |sql: &str| psql(&url, &format!("SET session_replication_role = replica; {sql}"));
        tamper("CREATE TABLE IF NOT EXISTS saved AS SELECT name FROM names WHERE name LIKE '{\"function%'").unwrap();
        tamper(sql).unwrap();
        let check = ask(reader.check()).unwrap();
        assert!(
            !check.ok && check.breaks.iter().any(|what| what.contains(part)),
            "{sql}: {check:?}"
        );
        tamper(undo).unwrap();
        let check = ask(reader.check()).unwrap();
        assert_eq!(check.breaks, [""; 0], "{undo}");
    }
    assert_eq!(ask(reader.check()).unwrap().held, nano(1_000));
}
