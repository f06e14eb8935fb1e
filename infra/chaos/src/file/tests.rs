//! A small ledger that is right, and one change at a time that the reading must find.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{Charged, Reading, read};
use crate::books::{Books, Calls, Org};
use crate::record::{Call, Outcome, Record, Subject, TopUp};

/// The columns that the reading looks at.
const TABLES: &str = "
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE accounts (number INTEGER PRIMARY KEY, name TEXT, asset TEXT,
        debits_must_not_exceed_credits INTEGER, debits_posted INTEGER, credits_posted INTEGER,
        debits_held INTEGER, credits_held INTEGER);
    CREATE TABLE transfers (number INTEGER PRIMARY KEY, purpose INTEGER, debit INTEGER,
        credit INTEGER, amount INTEGER);
    CREATE TABLE holds (org INTEGER, call BLOB, key INTEGER, amount INTEGER);
    CREATE TABLE calls (org INTEGER, call BLOB, end INTEGER, key INTEGER, amount INTEGER,
        first_transfer INTEGER, transfers INTEGER);
    CREATE TABLE entries (number INTEGER PRIMARY KEY, first_transfer INTEGER, transfers INTEGER);
    CREATE TABLE usage_days (org INTEGER, calls INTEGER, cost INTEGER);";

/// A top-up of 100, a call of 7 in two parts, an open hold of 20.
const ROWS: &str = "
    INSERT INTO names VALUES (1, 'org_a'), (2, 'key_a');
    INSERT INTO accounts VALUES
        (1, 'cash:operator', 'credit', 0, 100, 0, 0, 0), (2, 'wallet:org_a', 'credit', 1, 7, 100, 20, 0),
        (3, 'platform', 'credit', 0, 0, 6, 0, 0), (4, 'rounding', 'credit', 0, 0, 1, 0, 0),
        (5, 'clearing', 'credit', 0, 0, 0, 0, 20);
    INSERT INTO transfers VALUES (1, 8, 1, 2, 100), (2, 1, 2, 3, 6), (3, 5, 2, 4, 1);
    INSERT INTO entries VALUES (1, 1, 1);
    INSERT INTO calls VALUES (1, x'00112233445566778899aabbccddeeff', 1, 2, 7, 2, 2);
    INSERT INTO holds VALUES (1, x'0f', 2, 20);
    INSERT INTO usage_days VALUES (1, 1, 7);";

fn seen() -> (Books, Record) {
    let org = Org {
        id: "org_a".into(),
        name: "a".into(),
        owner: String::new(),
        topped_up: 100,
        receipts: HashMap::new(),
        spent: 0,
    };
    let mut books = Books { orgs: vec![org], ..Books::default() };
    books.calls.insert("key_a".into(), Calls { begun: 1, sent: 2 });
    let receipt = "00112233-4455-6677-8899-aabbccddeeff".into();
    let call = Call {
        org: 0,
        key: "key_a".into(),
        subject: Subject::Function,
        sent_ms: 0,
        done_ms: 0,
        outcome: Outcome::Receipted { receipt, amount: 7 },
    };
    let open = TopUp { id: "t".into(), org: 0, amount: 50, acknowledged: false };
    (books, Record { calls: vec![call], top_ups: vec![open], ..Record::default() })
}

fn reading(change: &str) -> Reading {
    let (data, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Connection::open(data.path().join("ledger.db")).unwrap();
    let off = "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;";
    database.execute_batch(&format!("{off}{TABLES}{ROWS}{change}")).unwrap();
    drop(database);
    let (books, record) = seen();
    read(data.path(), &books, &record, copy.path()).unwrap()
}

#[test]
fn a_right_file_has_no_breaks() {
    let found = reading("");
    assert_eq!((found.known, found.broken, found.holds), (true, Vec::<String>::new(), 1));
    assert_eq!(found.charged, [Charged { receipts: 1, amount: 7 }]);
}

#[test]
fn a_top_up_that_nobody_acknowledged_may_be_there() {
    let more =
        "INSERT INTO transfers VALUES (4, 8, 1, 2, 50); INSERT INTO entries VALUES (2, 4, 1);
        UPDATE accounts SET debits_posted = 150 WHERE number = 1;
        UPDATE accounts SET credits_posted = 150 WHERE number = 2;";
    assert_eq!(reading(more).broken, Vec::<String>::new());
}

#[test]
fn every_break_is_found() {
    for (change, expect) in [
        ("UPDATE transfers SET amount = 5 WHERE number = 2", "sums of its transfers"),
        ("UPDATE transfers SET amount = 5 WHERE number = 2", "transfers are not its amount"),
        ("UPDATE transfers SET credit = 9 WHERE number = 2", "accounts that are not there"),
        ("UPDATE accounts SET asset = 'budget' WHERE number = 1", "two assets"),
        ("UPDATE accounts SET credits_posted = 7 WHERE number = 3", "are not its credits"),
        ("UPDATE accounts SET debits_held = 19 WHERE number = 2", "are not its credits"),
        ("DELETE FROM holds", "the sum of the open holds"),
        ("UPDATE accounts SET debits_held = 94 WHERE number = 2", "overdrawn"),
        ("UPDATE transfers SET number = 5 WHERE number = 3", "numbered without gaps"),
        ("UPDATE calls SET first_transfer = 1", "do not make up the journal"),
        ("UPDATE calls SET transfers = 1", "do not make up the journal"),
        ("UPDATE holds SET call = (SELECT call FROM calls)", "open and ended at once"),
        ("UPDATE usage_days SET cost = 8", "usage by day"),
        ("DELETE FROM usage_days", "usage by day"),
        ("UPDATE accounts SET credits_posted = 99 WHERE number = 2", "not 100 to 150"),
        ("UPDATE accounts SET credits_posted = 151 WHERE number = 2", "not 100 to 150"),
        ("UPDATE calls SET amount = 8", "LOST: in the file"),
        ("UPDATE calls SET end = 4, amount = NULL", "LOST: in the file"),
        ("DELETE FROM calls; DELETE FROM holds", "has 0 holds for 1 answers"),
        ("INSERT INTO holds VALUES (1, x'0e', 2, 0)", "has 3 holds for 1 answers begun of 2"),
    ] {
        let found = reading(change).broken.join("\n");
        assert!(found.contains(expect), "{change}: {found:?} has no {expect:?}");
    }
}

#[test]
fn another_schema_is_not_read() {
    assert!(!reading("DROP TABLE calls").known);
}
