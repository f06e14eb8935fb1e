//! A store in memory for simulations: what was committed survives a crash, and commits can be
//! made to fail before or after they take effect.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::store::{
    Batch, CallEnd, CallRow, EntryRow, Found, Loaded, PastEntry, Store, StoreFault, Wanted,
};
use crate::account::{Account, Counters, Transfer};
use crate::calendar::Day;
use crate::document::{Document, DocumentKey};
use crate::error::StoreError;
use crate::hold::HoldTerms;
use crate::ids::{CallId, OrgId};
use crate::money::Nano;
use crate::price::PriceBook;

/// What a commit does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is refused, and nothing is kept: a full disk.
    Refuse,
    /// It is kept, and nobody knows: a failed sync.
    KeepUnsure,
    /// It is not kept, and nobody knows.
    LoseUnsure,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryStore(Arc<Mutex<Disk>>);

/// What is on it.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) accounts: BTreeMap<u64, (Account, Counters)>,
    pub(super) transfers: Vec<Transfer>,
    pub(super) holds: BTreeMap<CallId, HoldTerms>,
    pub(super) calls: HashMap<(OrgId, CallId), CallRow>,
    pub(super) entries: Vec<EntryRow>,
    pub(super) documents: HashMap<DocumentKey, Document>,
    pub(super) books: Vec<PriceBook>,
    pub(super) earned: BTreeMap<(OrgId, Day), Nano>,
    pub(super) at_ms: u64,
    pub(super) trouble: Option<Trouble>,
}

impl MemoryStore {
    /// An empty disk with the first price book.
    pub(super) fn new() -> MemoryStore {
        let disk = Disk { books: vec![PriceBook::initial()], ..Disk::default() };
        MemoryStore(Arc::new(Mutex::new(disk)))
    }

    /// Looks at the disk.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, StoreFault> {
        self.with(|disk| {
            let number = |id: &str| id.parse::<u64>().unwrap();
            let last = |kind: &str| {
                let keys = disk.documents.keys().filter(|key| key.kind == kind);
                keys.map(|key| number(&key.id)).max().unwrap_or(0)
            };
            Ok(Loaded {
                accounts: disk
                    .accounts
                    .iter()
                    .map(|(number, (account, counters))| (*number, account.clone(), *counters))
                    .collect(),
                holds: disk.holds.values().cloned().collect(),
                documents: disk.documents.values().filter(|d| d.is_live()).cloned().collect(),
                books: disk.books.clone(),
                earned: disk
                    .earned
                    .iter()
                    .map(|((org, day), amount)| (org.clone(), *day, *amount))
                    .collect(),
                last_transfer: disk.transfers.len() as u64,
                last_entry: disk.entries.len() as u64,
                last_at_ms: disk.at_ms,
                last_lot: last("lot"),
                last_budget: last("budget"),
            })
        })
    }

    fn find(&mut self, wanted: &Wanted) -> Result<Found, StoreFault> {
        self.with(|disk| {
            let mut found = Found::default();
            for key in &wanted.calls {
                if let Some(row) = disk.calls.get(key) {
                    let from = (row.transfers.0.max(1) - 1) as usize;
                    let transfers = disk.transfers[from..from + row.transfers.1 as usize].to_vec();
                    found.calls.insert(key.clone(), (row.clone(), transfers));
                }
            }
            for op in &wanted.entries {
                if let Some(entry) = disk.entries.iter().find(|entry| entry.op == *op) {
                    let (digest, answer) = (entry.digest, entry.answer.clone());
                    found.entries.insert(op.clone(), PastEntry { digest, answer });
                }
            }
            for key in &wanted.documents {
                if let Some(document) = disk.documents.get(key) {
                    found.documents.insert(key.clone(), document.clone());
                }
            }
            Ok(found)
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        self.with(|disk| {
            let failure = || StoreError::new(std::io::Error::other("a simulated fault"));
            match disk.trouble.take() {
                Some(Trouble::Refuse) => return Err(StoreFault::Passing(failure())),
                Some(Trouble::LoseUnsure) => return Err(StoreFault::Unsure(failure())),
                Some(Trouble::KeepUnsure) => {
                    disk.keep(batch)?;
                    return Err(StoreFault::Unsure(failure()));
                }
                None => {}
            }
            disk.keep(batch)
        })
    }

    fn close(self: Box<Self>) -> Result<(), StoreFault> {
        Ok(())
    }
}

impl Disk {
    fn keep(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        let broken = |what: &str| Err(StoreFault::Broken(what.to_owned()));
        assert_eq!(batch.first_transfer, self.transfers.len() as u64 + 1);
        for change in &batch.accounts {
            let before = self.accounts.get(&change.number).map(|(_, counters)| *counters);
            if before != change.before {
                return broken("an account is not what was left there");
            }
            self.accounts.insert(change.number, (change.account.clone(), change.after));
        }
        self.transfers.extend(batch.transfers.iter().cloned());
        for (_, call) in &batch.closed {
            if self.holds.remove(call).is_none() {
                return broken("a hold that ends is not open");
            }
        }
        for hold in &batch.opened {
            if self.holds.insert(hold.call, hold.as_ref().clone()).is_some() {
                return broken("a hold is opened twice");
            }
        }
        for row in &batch.calls {
            let known = self.calls.insert((row.terms.org.clone(), row.terms.call), row.clone());
            let late = matches!(row.end, CallEnd::Captured { late: true, .. });
            match known.map(|known| known.end) {
                None => {}
                Some(CallEnd::Expired | CallEnd::Restarted) if late => {}
                Some(_) => return broken("a call ends twice"),
            }
        }
        for entry in &batch.entries {
            assert_eq!(entry.number, self.entries.len() as u64 + 1);
            assert!(self.entries.iter().all(|known| known.op != entry.op));
            self.entries.push(entry.clone());
        }
        for document in &batch.documents {
            self.documents.insert(document.key(), document.clone());
        }
        self.books.extend(batch.books.iter().map(|book| book.as_ref().clone()));
        for (key, _, amount) in &batch.earnings {
            let sum = self.earned.entry((key.org.clone(), key.day)).or_default();
            *sum = sum.checked_add(*amount).unwrap();
        }
        self.at_ms = batch.at_ms;
        Ok(())
    }
}
