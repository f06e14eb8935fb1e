use super::books::START_MS;
use super::{PostgresLedgerOptions, database, open, opened, psql};
use crate::error::OpenFailure;

#[test]
#[ignore = "needs PostgreSQL"]
fn other_schemas_are_refused_and_left_alone() {
    let refusal = |url: &str| {
        let refused = open(&PostgresLedgerOptions::new(url), START_MS).map(|_| ());
        refused.unwrap_err()
    };
    let newer = database();
    drop(opened(&newer));
    psql(&newer, "INSERT INTO schema_migrations VALUES (99, 0)").unwrap();
    assert!(matches!(refusal(&newer), OpenFailure::NewerSchema { found: 99, known: 2 }));

    let foreign = database();
    psql(&foreign, "CREATE SCHEMA emberbox_ledger; CREATE TABLE recipes (name text)").unwrap();
    assert!(matches!(refusal(&foreign), OpenFailure::NotALedger(_)));
    assert_eq!(psql(&foreign, "SELECT count(*) FROM recipes").unwrap(), "0");

    let empty = database();
    psql(&empty, "CREATE SCHEMA emberbox_ledger").unwrap();
    drop(opened(&empty));
    drop(opened(&empty));
    let missing = newer.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database";
    assert!(matches!(refusal(&missing), OpenFailure::Store(_)));
}
