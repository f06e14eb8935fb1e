use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use emberbox_postgres::PostgresServer;
use tokio_postgres::error::SqlState;

use super::super::address::Address;
use super::super::commit::Prepared;
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
fn a_commit_that_is_cancelled_anywhere_is_kept_whole_or_not_at_all() {
    const ROUNDS_MAX: u64 = 20_000;
    let url = database();
    let (mut store, reader, mut books) = started(&url);
    let done = Arc::new(AtomicBool::new(false));
    let canceller = thread::spawn({
        let (url, done) = (url.clone(), Arc::clone(&done));
        move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let (client, connection) =
                runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls)).unwrap();
            runtime.spawn(connection);
            let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            while !done.load(Ordering::SeqCst) {
                runtime.block_on(client.batch_execute(cancel)).unwrap();
            }
        }
    });
    let (mut cancelled, mut round) = (0, 0);
    while cancelled < 25 && round < ROUNDS_MAX {
        round += 1;
        let batch = top_up(&mut books, &format!("cancelled-{round}"));
        // Whatever is told, it is true: where nothing was kept, all of it can come again.
        while let Err(fault) = store.commit(&batch) {
            assert!(matches!(fault, StoreFault::Passing(_)), "{fault:?}");
            cancelled += 1;
        }
    }
    done.store(true, Ordering::SeqCst);
    canceller.join().unwrap();
    assert!(cancelled >= 25, "only {cancelled} were cancelled");
    assert_eq!(psql(&url, "SELECT batch FROM writer").unwrap(), (round + 1).to_string());
    let check = ask(reader.check()).unwrap();
    assert_eq!((check.breaks, check.transfers), (Vec::new(), 3 + round));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn what_follows_a_begin_that_failed_changes_nothing() {
    let url = database();
    drop(started(&url));
    let options = PostgresLedgerOptions::new(&url);
    ask(async {
        let client = Address::of(&options).unwrap().connect().await.unwrap();
        Prepared::on(&client).await.unwrap();
        for sql in ["UPDATE writer SET batch = batch + 1", "INSERT INTO batches VALUES (99, 99)"] {
            let refused = client.batch_execute(sql).await.unwrap_err();
            assert_eq!(refused.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{sql}");
        }
    });
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
