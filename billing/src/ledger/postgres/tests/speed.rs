use std::time::{Duration, Instant};

use emberbox_postgres::PostgresServer;

use super::books::{Books, plain, terms};
use super::{ask, started};
use crate::ids::CallId;
use crate::ledger::store::{Batch, Reader, Store};

const CALLS: usize = 512;
const BATCHES: usize = 60;

/// Batches that capture the calls of the one before, of five transfers each, and hold the next.
fn batches(books: &mut Books) -> Vec<Batch> {
    let mut open = Vec::new();
    let mut batches = Vec::new();
    for _ in 0..=BATCHES {
        let mut draft = books.draft();
        for terms in open.drain(..) {
            let terms: std::sync::Arc<crate::hold::HoldTerms> = terms;
            draft.capture(&terms, false);
        }
        for index in 0..CALLS {
            let call = CallId::generate();
            open.push(if index % 8 == 0 { terms(call, 500) } else { plain(call, 500) });
        }
        // The lot of the fixtures has room for nine at a time.
        open.retain(|terms| terms.lots.is_empty());
        open.iter().for_each(|terms| draft.hold(terms));
        batches.push(draft.finish());
    }
    batches
}

/// Prints how many calls are held and captured in a second, commit by commit. Figures for the
/// notes: nothing here is asserted but that all of them were kept.
#[test]
#[ignore = "needs PostgreSQL; a measurement"]
fn batched_captures_in_a_second() {
    let server = PostgresServer::start().unwrap();
    let url = server.database("ledger").unwrap();
    let (mut store, reader, mut books) = started(&url);
    let batches = batches(&mut books);
    let mut took: Vec<Duration> = Vec::new();
    for batch in &batches {
        let start = Instant::now();
        store.commit(batch).unwrap();
        took.push(start.elapsed());
    }
    let captured: usize = batches.iter().map(|batch| batch.calls.len()).sum();
    let all: Duration = took.iter().skip(1).sum();
    took.sort();
    println!(
        "{captured} captures in {all:?}: {}/s; a batch of {} took {:?} (median), {:?} (most)",
        u128::try_from(captured).unwrap() * 1_000_000 / all.as_micros(),
        captured / BATCHES,
        took[took.len() / 2],
        took[took.len() - 1],
    );
    println!("syncs took {:?} (median)", sync_p50());
    let start = Instant::now();
    let check = ask(reader.check()).unwrap();
    println!("the check of {} transfers took {:?}", check.transfers, start.elapsed());
    assert_eq!(check.breaks, [""; 0]);
    assert_eq!(check.captures, u64::try_from(captured).unwrap());
}

/// How long this disk takes to sync 8 KiB.
fn sync_p50() -> Duration {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    let mut took: Vec<Duration> = (0..100)
        .map(|_| {
            file.write_all(&[7; 8192]).unwrap();
            let start = Instant::now();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    took.sort();
    took[50]
}
