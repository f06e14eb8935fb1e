//! The store on real files, without the ledger's rules around it.

mod audit; // What the auditor finds.
mod desk; // Makes batches.
mod files; // What may be opened, and what a failed commit leaves.
mod migration; // From version 1.
mod queries; // What readers see.
mod rows; // What is kept is found again.
mod speed; // Bytes and time per call; by hand.

use std::path::PathBuf;

use self::desk::{Desk, START_MS, acme, call_id, nano};
use super::*;

/// A folder with a ledger's file.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn open(&self) -> (SqliteStore, SqliteReader) {
        open(&self.path(), (Duration::ZERO, 1), START_MS).unwrap()
    }

    /// A loaded store without readers.
    fn store(&self) -> SqliteStore {
        let (mut store, _) = self.open();
        store.load().unwrap();
        store
    }

    /// A file that has a row of every kind, closed.
    fn with_everything() -> Bench {
        let bench = Bench::new();
        let mut store = bench.store();
        Desk::default().everything(&mut store);
        Box::new(store).close().unwrap();
        bench
    }

    /// Another program's connection to the file.
    fn intruder(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

fn assert_sound(bench: &Bench) -> crate::report::LedgerCheck {
    let check = audit_file(&bench.path()).unwrap();
    assert!(check.ok && check.breaks.is_empty(), "{check:#?}");
    assert_eq!((check.debits, check.captured), (check.credits, check.receipted), "{check:?}");
    check
}
