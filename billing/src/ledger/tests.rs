//! The ledger on its real stores. [`calls`] and [`money`] have one row per attempt and its
//! outcome; the same rows run on SQLite and, where PostgreSQL is installed, on PostgreSQL.

mod agree; // Answers that must agree with each other.
mod calls; // What is tried with calls, and what comes of it.
mod money; // The same with everything else.
mod faults; // A store that fails, and is well again.
mod races; // Many callers at once.
mod stops; // What stops writing, and that reading goes on.
mod table; // How a row is read.
mod upgrade; // From older versions.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use emberbox_postgres::PostgresServer;

use super::*;
use crate::capture::Ending;
use crate::hold::Subject;
use crate::ids::{KeyId, OpId, PriceVersion};
use crate::money::Nano;
use crate::order::{Act, Payment};
use crate::price::{Meter, UsageLine};
use crate::report::Balance;

/// A place for a ledger, and a clock that only the test moves.
struct Bench {
    place: Place,
    clock: Arc<AtomicU64>,
}

enum Place {
    Folder(tempfile::TempDir),
    Database(String),
}

/// A Sunday in November 2026.
const START_MS: u64 = 1_795_305_600_000;

impl Bench {
    fn sqlite() -> Bench {
        Bench::at(Place::Folder(tempfile::tempdir().unwrap()))
    }

    fn postgres(server: &PostgresServer, name: &str) -> Bench {
        Bench::at(Place::Database(server.database(name).unwrap()))
    }

    fn at(place: Place) -> Bench {
        Bench { place, clock: Arc::new(AtomicU64::new(START_MS)) }
    }

    fn path(&self) -> PathBuf {
        match &self.place {
            Place::Folder(folder) => folder.path().join("ledger.db"),
            Place::Database(_) => panic!("a database has no path"),
        }
    }

    fn options(&self) -> LedgerOptions {
        LedgerOptions {
            path: match &self.place {
                Place::Folder(_) => self.path(),
                Place::Database(_) => PathBuf::new(),
            },
            clock: Clock::Manual(Arc::clone(&self.clock)),
            sweep_interval_ms: 1,
            ..LedgerOptions::default()
        }
    }

    fn open(&self) -> Ledger {
        match &self.place {
            Place::Folder(_) => Ledger::open(self.options()).unwrap(),
            Place::Database(url) => {
                let postgres = PostgresLedgerOptions::new(url);
                Ledger::connect(&postgres, self.options()).unwrap()
            }
        }
    }

    fn wait(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    /// Another program's connection to the file.
    fn intruder(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

fn acme() -> OrgId {
    OrgId::new("acme")
}

fn nano(nano: i64) -> Nano {
    Nano::from_nano(nano)
}

/// The call of a name: always the same, and ordered by the name's first number.
fn call(name: &str) -> CallId {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(name).into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    let number: u32 =
        name.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    id[..4].copy_from_slice(&number.to_be_bytes());
    CallId::from_uuid(uuid::Uuid::from_bytes(id))
}

/// A hold of `amount` nano-credits by `acme`, for a direct call of a model.
fn hold_of(name: &str, amount: i64) -> HoldRequest {
    HoldRequest {
        call: call(name),
        org: acme(),
        key: KeyId::new("key"),
        amount: nano(amount),
        price_version: PriceVersion(1),
        subject: Subject::Model("tiny".to_owned()),
        author: None,
        provider: None,
        ttl_ms: 60_000,
        holder: None,
    }
}

/// A capture of `tokens` generated tokens, which cost 400 nano-credits each.
fn capture_of(name: &str, tokens: u64) -> CaptureRequest {
    let model = Some("tiny".to_owned());
    let usage = vec![UsageLine { model, meter: Meter::OutputTokens, quantity: tokens }];
    CaptureRequest { org: acme(), call: call(name), usage, ending: Ending::Normal }
}

fn order_of(op: &str, act: Act) -> Order {
    Order { op: OpId::new(op).unwrap(), by: "operator".to_owned(), act }
}

async fn top_up(ledger: &Ledger, op: &str, amount: i64) -> Result<Outcome, BillingError> {
    let (rail, reference, note) = ("operator".to_owned(), None, "test".to_owned());
    let payment = Payment { org: acme(), amount: nano(amount), rail, reference, note };
    ledger.order(order_of(op, Act::TopUp(payment))).await
}

/// Posted, held and available of `acme`, in nano-credits.
async fn balance(ledger: &Ledger) -> (i64, i64, i64) {
    let billing: &dyn Billing = ledger;
    let Balance { posted, held, available, .. } = billing.balance(&acme()).await.unwrap();
    (posted.as_nano(), held.as_nano(), available.as_nano())
}

/// A hold that is durable.
async fn held(ledger: &Ledger, name: &str, amount: i64) {
    let mut hold = ledger.hold(hold_of(name, amount)).await.unwrap();
    hold.durable().await.unwrap();
}

async fn assert_sound(ledger: &Ledger) -> LedgerCheck {
    let check = ledger.check().await.unwrap();
    assert!(check.ok && check.breaks.is_empty(), "{check:#?}");
    assert_eq!((check.debits, check.captured), (check.credits, check.receipted), "{check:?}");
    assert_eq!(check.captures, check.receipts, "{check:?}");
    check
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_on_sqlite() {
    for (name, rows) in calls::CALLS.iter().chain(money::MONEY) {
        table::check(&Bench::sqlite(), name, rows).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn every_case_on_postgres() {
    let server = emberbox_postgres::shared().unwrap();
    for (number, (name, rows)) in calls::CALLS.iter().chain(money::MONEY).enumerate() {
        let bench = Bench::postgres(server, &format!("case{number}"));
        table::check(&bench, name, rows).await;
    }
}
