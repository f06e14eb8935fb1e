use std::time::Duration;

use emberbox_postgres::PostgresServer;

use super::books::{Books, START_MS, nano, org, terms};
use super::proxy::{Mode, Proxy};
use super::{PostgresLedgerOptions, ask, database, loaded, open, psql, started};
use crate::account::{Account, Purpose};
use crate::ids::CallId;
use crate::ledger::store::{Batch, Reader, Store, StoreFault};

fn top_up(books: &mut Books, op: &str) -> Batch {
    let mut draft = books.draft();
    draft.enter(op, Some(org()), |draft| {
        let cash = Account::Cash("operator".to_owned());
        draft.post(Purpose::TopUp, cash, Account::Wallet(org()), 1);
    });
    draft.finish()
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_server_that_was_killed_and_came_back_is_written_to_again() {
    let mut server = PostgresServer::start().unwrap();
    let url = server.database("ledger").unwrap();
    let (mut store, reader, mut books) = started(&url);
    assert!(ask(reader.check()).unwrap().ok);
    for round in 0..3 {
        server.kill().unwrap();
        server.restart().unwrap();
        store.commit(&top_up(&mut books, &format!("after-{round}"))).unwrap();
        let check = ask(reader.check()).unwrap();
        assert!(check.ok && check.transfers == 4 + round, "{check:?}");
    }
    assert_eq!(loaded(&mut store).last_transfer, 6);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_server_that_stays_away_is_given_up_with_nothing_done() {
    let mut server = PostgresServer::start().unwrap();
    let url = server.database("ledger").unwrap();
    let options = PostgresLedgerOptions {
        recovery_timeout_ms: 200,
        connect_timeout_ms: 100,
        ..PostgresLedgerOptions::new(&url)
    };
    let (mut store, reader) = open(&options, START_MS).unwrap();
    loaded(&mut store);
    let mut books = Books::default();
    store.commit(&books.beginning()).unwrap();
    server.kill().unwrap();
    let batch = top_up(&mut books, "meanwhile");
    assert!(matches!(store.commit(&batch), Err(StoreFault::Passing(_) | StoreFault::Unsure(_))));
    assert!(ask(reader.check()).is_err());
    server.restart().unwrap();
    assert_eq!(loaded(&mut store).last_transfer, 3);
    store.commit(&batch).unwrap();
    assert_eq!(loaded(&mut store).last_transfer, 4);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_backend_that_is_ended_costs_nothing() {
    let url = database();
    let (mut store, _, mut books) = started(&url);
    let end = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for round in 0..3 {
        assert_eq!(psql(&url, end).unwrap(), "1");
        store.commit(&top_up(&mut books, &format!("op-{round}"))).unwrap();
    }
    assert_eq!(loaded(&mut store).last_entry, 6);
    psql(&url, end).unwrap();
    assert_eq!(loaded(&mut store).last_entry, 6);
}

/// A batch is kept once, whichever half of its round trip is lost.
fn check_lost(mode: Mode) {
    let url = database();
    let (credentials, place) = url.rsplit_once('@').unwrap();
    let (server, database) = place.split_once('/').unwrap();
    let proxy = Proxy::to(server.to_owned());
    let through = format!("{credentials}@127.0.0.1:{}/{database}", proxy.port);
    let (mut store, reader, mut books) = started(&through);
    let call = terms(CallId::generate(), 500);
    let mut draft = books.draft();
    draft.hold(&call);
    let batch = draft.finish();
    let epoch = psql(&url, "SELECT epoch FROM writer").unwrap();
    proxy.lose(mode);
    store.commit(&batch).unwrap();
    assert_ne!(psql(&url, "SELECT epoch FROM writer").unwrap(), epoch, "nothing was lost");
    assert_eq!(psql(&url, "SELECT batch FROM writer").unwrap(), "2");
    let mut draft = books.draft();
    draft.capture(&call, false);
    let batch = draft.finish();
    store.commit(&batch).unwrap();
    let check = ask(reader.check()).unwrap();
    assert_eq!(check.breaks, [""; 0]);
    assert_eq!((check.captures, check.held), (1, nano(0)));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_batch_whose_answer_was_lost_is_kept_once() {
    check_lost(Mode::LoseAnswer);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_batch_that_was_lost_is_sent_again() {
    check_lost(Mode::LoseQuestion);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_commit_waits_no_longer_than_it_is_told() {
    let url = database();
    let (store, _, mut books) = started(&url);
    drop(store);
    let options = PostgresLedgerOptions { lock_timeout_ms: 50, ..PostgresLedgerOptions::new(&url) };
    let (mut store, _) = open(&options, START_MS).unwrap();
    loaded(&mut store);
    let batch = top_up(&mut books, "waits");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, connection) =
        runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls)).unwrap();
    runtime.spawn(connection);
    let lock = "BEGIN; LOCK TABLE emberbox_ledger.accounts IN EXCLUSIVE MODE";
    runtime.block_on(client.batch_execute(lock)).unwrap();
    assert!(matches!(store.commit(&batch), Err(StoreFault::Passing(_))));
    runtime.block_on(client.batch_execute("ROLLBACK")).unwrap();
    runtime.shutdown_timeout(Duration::from_secs(5));
    store.commit(&batch).unwrap();
    assert_eq!(loaded(&mut store).last_transfer, 4);
}
