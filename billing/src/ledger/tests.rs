//! The ledger on a real file.

mod answers; // The same id, the same answer.
mod files; // What may be opened, and what a crash leaves.
mod invariants; // What stops writing.
mod life; // Holds, captures, receipts, prices, usage.
mod races; // Many callers at once.

use std::path::PathBuf;

use super::*;
use crate::capture::Ending;
use crate::hold::Subject;
use crate::ids::{KeyId, PriceVersion};
use crate::price::{Meter, UsageLine};

/// A folder with a ledger, and a clock that only the test moves.
struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<AtomicU64>,
}

const START_MS: u64 = 1_800_000_000_000;

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        Bench { folder, clock: Arc::new(AtomicU64::new(START_MS)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn options(&self) -> LedgerOptions {
        LedgerOptions {
            path: self.path(),
            clock: Clock::Manual(Arc::clone(&self.clock)),
            sweep_interval_ms: 1,
            ..LedgerOptions::default()
        }
    }

    fn open(&self) -> Ledger {
        Ledger::open(self.options()).unwrap()
    }

    fn wait(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    /// Another program's connection to the file.
    fn intruder(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

fn op(id: &str) -> OpId {
    OpId::new(id).unwrap()
}

fn acme() -> OrgId {
    OrgId::new("acme")
}

fn nano(nano: i64) -> Nano {
    Nano::from_nano(nano)
}

/// A hold of `amount` nano-credits by `acme`, for a direct call of a model.
fn hold_of(id: &str, amount: i64) -> HoldRequest {
    HoldRequest {
        op: op(id),
        org: acme(),
        key: KeyId::new("key"),
        amount: nano(amount),
        price_version: PriceVersion(1),
        subject: Subject::Model("tiny".to_owned()),
        author: None,
        ttl_ms: 60_000,
    }
}

/// A capture of `tokens` generated tokens, which cost 400 nano-credits each.
fn capture_of(id: &str, hold: HoldId, tokens: u64) -> CaptureRequest {
    let model = Some("tiny".to_owned());
    let usage = vec![UsageLine { model, meter: Meter::OutputTokens, quantity: tokens }];
    CaptureRequest { op: op(id), hold, usage, ending: Ending::Normal }
}

async fn top_up(ledger: &Ledger, id: &str, amount: i64) -> Result<Balance, BillingError> {
    ledger.top_up(op(id), acme(), nano(amount), "test".to_owned()).await
}

/// Posted, held and available of `acme`, in nano-credits.
async fn balance(ledger: &Ledger) -> (i64, i64, i64) {
    let Balance { posted, held, available } = ledger.balance(&acme()).await.unwrap();
    (posted.as_nano(), held.as_nano(), available.as_nano())
}

/// A hold that is durable.
async fn held(ledger: &Ledger, id: &str, amount: i64) -> HoldId {
    let mut hold = ledger.hold(hold_of(id, amount)).await.unwrap();
    hold.durable().await.unwrap();
    hold.id
}

async fn assert_sound(ledger: &Ledger) -> LedgerCheck {
    let check = ledger.check().await.unwrap();
    assert!(check.ok && check.breaks.is_empty(), "{check:?}");
    assert_eq!((check.debits, check.captured), (check.credits, check.receipted), "{check:?}");
    assert_eq!(check.captures, check.receipts, "{check:?}");
    check
}
