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

#[test]
#[ignore = "needs PostgreSQL"]
fn databases_of_other_encodings_are_refused_with_what_to_do() {
    let server = emberbox_postgres::shared().unwrap();
    let url = database();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("ledger_{}", encoding.to_lowercase());
        let make = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'
             TEMPLATE template0"
        );
        server.query(&url, &make).unwrap();
        let other = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
        let refused = open(&PostgresLedgerOptions::new(&other), START_MS).map(|_| ());
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(encoding) && told.contains("ENCODING 'UTF8'"), "{told}");
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'emberbox_ledger'";
        assert_eq!(server.query(&other, schemas).unwrap(), "0", "it was left alone");
    }
}
