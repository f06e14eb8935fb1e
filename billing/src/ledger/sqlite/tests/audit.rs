//! One row for each way of tampering, and the words that name it.

use super::*;

/// Breaks a sound file and gives what the auditor says.
fn breaks(damage: &str) -> Vec<String> {
    let bench = Bench::with_everything();
    assert_sound(&bench);
    let intruder = bench.intruder();
    let triggers: Vec<String> = intruder
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for trigger in triggers {
        intruder.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    intruder.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let version: i64 = intruder.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap();
    assert!(version > 0);
    intruder.execute_batch(damage).unwrap();
    assert!(intruder.changes() > 0, "`{damage}` changes nothing");
    drop(intruder);
    audit_file(&bench.path()).unwrap().breaks
}

fn check(rows: &[(&str, &str)]) {
    for (damage, expect) in rows {
        let breaks = breaks(damage);
        assert!(breaks.iter().any(|what| what.contains(expect)), "`{damage}`: {breaks:#?}");
    }
}

#[test]
fn accounts_that_differ_from_the_journal_are_named() {
    check(&[
        (
            "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE name = 'platform'",
            "platform is stored with",
        ),
        (
            "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE name = 'platform'",
            "debits and credits of asset `credit` differ",
        ),
        (
            "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE name = 'wallet:acme';
             UPDATE accounts SET debits_posted = debits_posted + 1 WHERE name = 'cash:operator'",
            "wallet:acme is stored with",
        ),
        (
            "UPDATE accounts SET debits_held = debits_held - 1 WHERE name = 'lot:1';
             UPDATE accounts SET credits_held = credits_held - 1 WHERE name = 'clearing'",
            "lot:1 is stored with",
        ),
        (
            "UPDATE accounts SET debits_held = 0 WHERE name = 'budget:1'",
            "debits and credits of asset `budget` differ",
        ),
        (
            "UPDATE accounts SET debits_must_not_exceed_credits = 0 WHERE name = 'wallet:acme'",
            "wallet:acme has the wrong limit",
        ),
        (
            "UPDATE accounts SET asset = 'credit' WHERE name = 'budgets:1'",
            "budgets:1 counts the wrong asset",
        ),
        (
            "UPDATE accounts SET number = 90 WHERE name = 'rounding'",
            "the numbers of accounts have a gap",
        ),
        ("DELETE FROM names WHERE name = 'acme'", "is missing"),
    ]);
}

#[test]
fn a_changed_journal_is_named() {
    check(&[
        ("UPDATE transfers SET amount = amount + 1 WHERE purpose = 1", "its transfers are"),
        ("DELETE FROM transfers WHERE number = 5", "the transfers have a gap before number 6"),
        ("UPDATE transfers SET purpose = 8 WHERE purpose = 1", "has purpose 8"),
        ("UPDATE transfers SET purpose = 99 WHERE number = 1", "its purpose is 99"),
        ("UPDATE transfers SET debit = 99 WHERE number = 1", "one of its accounts does not exist"),
        (
            "UPDATE transfers
             SET debit = (SELECT number FROM accounts WHERE name = 'budgets:1') WHERE number = 1",
            "its accounts have different assets",
        ),
        ("UPDATE transfers SET debit = credit WHERE number = 1", "to itself or backwards"),
        ("UPDATE transfers SET amount = -5 WHERE number = 1", "to itself or backwards"),
        ("UPDATE transfers SET amount = 10 WHERE number = 1", "wallet:acme is overdrawn: "),
        (
            "UPDATE transfers SET credit = (SELECT number FROM accounts WHERE name = 'platform')
             WHERE purpose = 4",
            "pays a party's part to no payable",
        ),
        (
            "INSERT INTO transfers SELECT MAX(number) + 1, 8, 1, 2, 5 FROM transfers",
            "belongs to no call and no entry",
        ),
        ("UPDATE batches SET at_ms = at_ms + 1000000 WHERE first_transfer = 1", "run backwards"),
        ("DELETE FROM batches WHERE first_transfer = 1", "the first transfers have no time"),
    ]);
}

#[test]
fn calls_that_were_not_charged_as_they_should_are_named() {
    check(&[
        ("UPDATE calls SET amount = amount - 1 WHERE end = 1", "its usage costs"),
        ("UPDATE calls SET usage = '[[0,4,2]]' WHERE usage LIKE '[[0,4,1]%'", "its usage costs"),
        ("UPDATE calls SET usage = '[[0,1,2]]' WHERE end = 1", "meter 1 in the wrong place"),
        ("UPDATE calls SET usage = '[' WHERE end = 1", "its usage cannot be read"),
        ("UPDATE calls SET ending = 6 WHERE usage LIKE '[[0,4,1]%'", "its usage costs"),
        ("UPDATE calls SET ending = 9 WHERE end = 1", "its ending is 9"),
        ("UPDATE calls SET held = 100 WHERE end = 1", "its usage costs 100"),
        ("UPDATE calls SET price_version = 9 WHERE end = 1", "its prices are missing"),
        (
            "UPDATE price_books SET book = replace(book, '0.0000004', '0.0000005')",
            "its usage costs",
        ),
        ("UPDATE price_books SET book = '{'", "price book 1 cannot be read"),
        ("UPDATE names SET name = replace(name, '0.000001234', '0.000001235')", "its usage costs"),
        ("UPDATE calls SET transfers = 0, amount = 9 WHERE end = 1", "nano with 0 transfers"),
        ("DELETE FROM calls WHERE end = 7", "belongs to no call and no entry"),
        (
            "UPDATE calls SET first_transfer = first_transfer - 1 WHERE end = 7",
            "name the same transfers",
        ),
        (
            "UPDATE calls SET transfers = transfers + 90 WHERE end = 7",
            "names transfers that are not its own",
        ),
        (
            "INSERT INTO holds SELECT org, call, key, subject, held, price_version, pinned, NULL,
                                      held_at_ms, held_at_ms FROM calls WHERE end = 2",
            "is open and has ended",
        ),
        ("DELETE FROM holds WHERE lots IS NOT NULL", "lot:1 is stored with"),
        ("UPDATE holds SET lots = 'x' WHERE lots IS NOT NULL", "cannot be read"),
        ("UPDATE holds SET lots = '[[9, 3000]]' WHERE lots IS NOT NULL", "on lot:9"),
        ("UPDATE holds SET lots = '[[1, 30000]]' WHERE lots IS NOT NULL", "sets -20000 nano"),
        ("UPDATE usage_days SET cost = cost + 1 WHERE cost > 0", "the usage of acme on day"),
        ("DELETE FROM usage_days", "lacks all 3 calls"),
        ("UPDATE earnings_days SET amount = amount + 1 WHERE role = 3", "the earnings of farm"),
        ("DELETE FROM earnings_days WHERE role = 3", "the earnings of farm are kept as 0"),
    ]);
}

#[test]
fn an_audit_log_that_is_not_what_happened_is_named() {
    check(&[
        ("UPDATE entries SET digest = x'00' WHERE number = 1", "the digest of entry 1 is none"),
        ("UPDATE entries SET answer = '{}' WHERE number = 1", "entry 1 (`top-up-1`): it cannot"),
        ("UPDATE entries SET act = '{}' WHERE number = 1", "it is neither an order nor"),
        ("DELETE FROM entries WHERE number = 2", "the entries have a gap before number 3"),
        (
            "UPDATE entries SET act = replace(act, '\"0.05\"', '\"0.06\"') WHERE number = 1",
            "it says 60000000 nano, its transfers are 50000000",
        ),
        (
            "UPDATE entries SET act = replace(act, 'acme', 'beta') WHERE number = 1",
            "is on wallet:acme",
        ),
        (
            "UPDATE entries SET answer = '{\"refused\":\"unknown_price\"}' WHERE op = 'grant'",
            "entry 2 (`grant`): its transfer 2 has purpose 10",
        ),
        (
            "UPDATE entries SET act = replace(act, '000000000002\"', '000000000003\"')
             WHERE op = 'refund'",
            "more than its charge",
        ),
        (
            "UPDATE documents SET body = replace(body, '\"class\":\"platform\"', '\"class\":\"p\"')
             WHERE kind = 'period'",
            "the books of 2026-10 are not what its transfers come to",
        ),
        (
            "UPDATE documents SET body = replace(body, '\"last_transfer\":', '\"last_transfer\":9')
             WHERE kind = 'period'",
            "past the end",
        ),
        ("UPDATE documents SET body = '{' WHERE kind = 'period'", "the close of 2026-10 cannot"),
    ]);
}

#[test]
fn a_file_is_audited_while_it_is_written() {
    let bench = Bench::new();
    let (mut store, _reader) = bench.open();
    store.load().unwrap();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    let before = assert_sound(&bench);
    desk.top_up("another", &acme(), 5);
    desk.commit(&mut store);
    assert_eq!(assert_sound(&bench).transfers, before.transfers + 1);
    Box::new(store).close().unwrap();
    assert_sound(&bench);
}

#[test]
fn breaks_are_counted_up_to_a_limit() {
    let breaks = breaks(
        "INSERT INTO transfers
         WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         SELECT i, 8, 1, 2, 5 FROM n",
    );
    assert_eq!(breaks.len(), 100);
}
