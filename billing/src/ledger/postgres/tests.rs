//! The store against a real PostgreSQL server.

mod books; // Batches that add up, made by hand.
mod broken; // Refusals, and what the check finds.
mod kept; // What is committed is what is read.
mod lost; // Servers and connections that go away.
mod refused; // What is never opened.
mod proxy; // A connection that breaks when told.
mod speed; // How fast it is.

use super::{PostgresLedgerOptions, PostgresReader, PostgresStore, open};
use crate::ledger::store::{Loaded, Store};
use books::Books;

/// An empty database of the server that the tests share.
fn database() -> String {
    emberbox_postgres::shared().unwrap().database("ledger").unwrap()
}

/// What an operator would see with `psql`.
fn psql(url: &str, sql: &str) -> Result<String, String> {
    let server = emberbox_postgres::shared().unwrap();
    let sql = format!("SET search_path = emberbox_ledger; {sql}");
    server.query(url, &sql).map_err(|error| error.to_string())
}

fn opened(url: &str) -> (PostgresStore, PostgresReader) {
    open(&PostgresLedgerOptions::new(url), books::START_MS).unwrap()
}

/// A ledger with some money in it, and its books.
fn started(url: &str) -> (PostgresStore, PostgresReader, Books) {
    let (mut store, reader) = opened(url);
    assert_eq!(store.load().unwrap().last_transfer, 0);
    let mut books = Books::default();
    let batch = books.beginning();
    store.commit(&batch).unwrap();
    (store, reader, books)
}

fn loaded(store: &mut dyn Store) -> Loaded {
    store.load().unwrap()
}

fn ask<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(answer)
}
