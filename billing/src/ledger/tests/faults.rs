//! A store that fails, and is well again; and what is due when there is much of it.

use super::*;
use crate::ledger::memory::{MemoryStore, Trouble};
use crate::ledger::writer::{Reply, Request};

struct Desk {
    disk: MemoryStore,
    clock: Arc<AtomicU64>,
    writer: Writer,
}

type Answered = oneshot::Receiver<Result<Reply, BillingError>>;

fn open(disk: &MemoryStore, clock: &Arc<AtomicU64>) -> Writer {
    let options = WriterOptions {
        batch_max: 3,
        holds_open_max: 1000,
        sweep_interval: Duration::from_millis(1),
        clock: Clock::Manual(Arc::clone(clock)),
    };
    Writer::start(Box::new(disk.clone()), Arc::new(Shared::default()), options).unwrap()
}

impl Desk {
    fn new() -> Desk {
        let (disk, clock) = (MemoryStore::default(), Arc::new(AtomicU64::new(START_MS)));
        let writer = open(&disk, &clock);
        let mut desk = Desk { disk, clock, writer };
        desk.top_up("t").unwrap();
        desk
    }

    fn send(&mut self, operation: Operation) -> Answered {
        let digest = match &operation {
            Operation::Order(order) => digest(&order.act).unwrap(),
            _ => [0; 32],
        };
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Request { operation, digest, gateways: None, reply });
        drop(self.writer.serve(&mut vec![Job::Operate(request)], |_, _| {}));
        answer
    }

    fn top_up(&mut self, op: &str) -> Result<(), BillingError> {
        let (rail, reference, note) = ("operator".to_owned(), None, "test".to_owned());
        let payment = Payment { org: acme(), amount: nano(10_000), rail, reference, note };
        let mut answer = self.send(Operation::Order(Box::new(order_of(op, Act::TopUp(payment)))));
        self.writer.settle();
        answer.try_recv().unwrap().map(drop)
    }

    fn hold(&mut self, name: &str) {
        drop(self.send(Operation::Hold(Box::new(hold_of(name, 10)))));
        self.writer.settle();
    }

    fn balance(&mut self) -> Result<(i64, i64), BillingError> {
        let (reply, mut answer) = oneshot::channel();
        let question = Job::Ask(Query::Account(acme()), reply);
        drop(self.writer.serve(&mut vec![question], |_, _| {}));
        self.writer.settle();
        match answer.try_recv().unwrap()? {
            Report::Account(account) => {
                Ok((account.balance.posted.as_nano(), account.balance.held.as_nano()))
            }
            report => panic!("{report:?}"),
        }
    }
}

#[test]
fn a_store_that_fails_twice_is_asked_again() {
    let mut desk = Desk::new();
    desk.disk.with(|disk| (disk.trouble, disk.unreadable) = (Some(Trouble::Refuse), 2));
    assert!(matches!(desk.top_up("t2"), Err(BillingError::Store(_))));
    // The state cannot be read, twice: nothing is decided from what was never kept.
    assert!(matches!(desk.top_up("t2"), Err(BillingError::Store(_))));
    assert!(matches!(desk.top_up("t3"), Err(BillingError::Store(_))));
    desk.top_up("t2").unwrap();
    assert_eq!(desk.balance().unwrap(), (20_000, 0));
}

#[test]
fn what_was_not_kept_is_not_told_after_a_stop() {
    let mut desk = Desk::new();
    desk.disk.with(|disk| disk.trouble = Some(Trouble::LoseUnsure));
    assert!(matches!(desk.top_up("t2"), Err(BillingError::Stopped(_))));
    assert!(matches!(desk.top_up("t2"), Err(BillingError::Stopped(_))));
    assert_eq!(desk.balance().unwrap(), (10_000, 0));
}

#[test]
fn nobody_is_told_what_a_failed_sync_left_in_doubt() {
    let mut desk = Desk::new();
    desk.disk.with(|disk| disk.trouble = Some(Trouble::SyncLoses));
    assert!(matches!(desk.top_up("t2"), Err(BillingError::Stopped(_))));
    assert!(matches!(desk.top_up("t3"), Err(BillingError::Stopped(_))));
    assert!(matches!(desk.balance(), Err(BillingError::Stopped(_))));
    desk.disk.lose_power();
    desk.writer = open(&desk.disk, &desk.clock);
    assert_eq!(desk.balance().unwrap(), (10_000, 0));
}

#[test]
fn much_that_is_due_takes_many_commits() {
    let mut desk = Desk::new();
    for name in 0..10 {
        desk.hold(&format!("h{name}"));
    }
    assert_eq!(desk.balance().unwrap(), (10_000, 100));
    // In the next month: the books of the last one close first, and once.
    desk.clock.fetch_add(20 * 24 * 3_600_000, Ordering::SeqCst);
    desk.top_up("t2").unwrap();
    assert_eq!(desk.balance().unwrap(), (20_000, 0));
    let (calls, largest) = desk.disk.with(|disk| (disk.calls.len(), disk.calls_max));
    assert_eq!(calls, 10);
    assert!(largest <= 3, "{largest} calls ended in one batch");
    let closes = desk.disk.with(|disk| {
        let closes = disk.entries.iter().filter(|entry| entry.op.as_str().starts_with("system"));
        closes.map(|entry| entry.transfers).collect::<Vec<_>>()
    });
    assert_eq!(closes, [(0, 0)], "one month was closed");

    // The orphans of a process that is gone, too.
    for name in 10..20 {
        desk.hold(&format!("h{name}"));
    }
    desk.writer = open(&desk.disk, &desk.clock);
    assert_eq!(desk.balance().unwrap(), (20_000, 0));
    let (calls, largest) = desk.disk.with(|disk| (disk.calls.len(), disk.calls_max));
    assert_eq!(calls, 20);
    assert!(largest <= 3, "{largest} calls ended in one batch");
}
