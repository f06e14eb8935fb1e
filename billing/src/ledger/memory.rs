//! A store in memory for simulations: what was synced survives a crash, what was only committed
//! may be lost, and loads, commits and syncs can be made to fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::store::{
    Batch, CallEnd, CallRow, EntryRow, Found, Loaded, Log, PastEntry, Store, StoreFault, Wanted,
};
use crate::account::{Account, Counters, Transfer};
use crate::calendar::Day;
use crate::document::{Document, DocumentKey};
use crate::error::StoreError;
use crate::hold::HoldTerms;
use crate::ids::{CallId, OpId, OrgId};
use crate::money::Nano;
use crate::price::PriceBook;

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A commit is refused, and nothing is kept: a full disk.
    Refuse,
    /// A commit is kept, and nobody knows: a connection that was lost.
    KeepUnsure,
    /// A commit is not kept, and nobody knows.
    LoseUnsure,
    /// A sync fails, and yet what was committed survives.
    SyncKeeps,
    /// A sync fails, and what was committed since the last one is lost.
    SyncLoses,
    /// The process dies before the sync, and what was committed survives.
    CrashKeeps,
    /// The machine dies before the sync, and with it what was committed since the last one.
    CrashLoses,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryStore(Arc<Mutex<Disk>>);

/// What is on it.
#[derive(Clone, Debug, Default)]
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
    /// Loads that fail, and the next may not.
    pub(super) unreadable: usize,
    /// The most calls that one batch has had.
    pub(super) calls_max: usize,
    /// What is on the disk for sure, where something was committed since the last sync.
    durable: Option<Box<Disk>>,
}

impl MemoryStore {
    /// Looks at the disk.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The machine loses its power: what was not synced is gone.
    pub(super) fn lose_power(&self) {
        self.with(|disk| {
            if let Some(durable) = disk.durable.take() {
                *disk = *durable;
            }
        });
    }
}

fn failure() -> StoreError {
    StoreError::new(std::io::Error::other("a simulated fault"))
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, StoreFault> {
        self.with(|disk| {
            if disk.unreadable > 0 {
                disk.unreadable -= 1;
                return Err(StoreFault::Passing(failure()));
            }
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
                last_transfer: wide(disk.transfers.len()),
                last_entry: wide(disk.entries.len()),
                last_at_ms: disk.at_ms,
                last_lot: last("lot"),
                last_budget: last("budget"),
            })
        })
    }

    fn find(&mut self, wanted: &Wanted) -> Result<Found, StoreFault> {
        Ok(self.with(|disk| Found {
            calls: disk.find_calls(&wanted.calls),
            entries: disk.find_entries(&wanted.entries),
            documents: disk.find_documents(&wanted.documents),
        }))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        self.with(|disk| {
            match disk.trouble {
                Some(Trouble::Refuse) => {
                    disk.trouble = None;
                    return Err(StoreFault::Passing(failure()));
                }
                Some(Trouble::LoseUnsure) => {
                    disk.trouble = None;
                    return Err(StoreFault::Unsure(failure()));
                }
                Some(Trouble::KeepUnsure) => {
                    disk.trouble = None;
                    disk.keep(batch)?;
                    return Err(StoreFault::Unsure(failure()));
                }
                _ => {}
            }
            if disk.durable.is_none() {
                disk.durable = Some(Box::new(Disk { trouble: None, ..disk.clone() }));
            }
            disk.keep(batch)
        })
    }

    fn log(&mut self) -> Result<Option<Box<dyn Log>>, StoreFault> {
        Ok(Some(Box::new(self.clone())))
    }

    fn close(self: Box<Self>) -> Result<(), StoreFault> {
        Ok(())
    }
}

impl Log for MemoryStore {
    fn sync(&mut self) -> Result<(), StoreError> {
        self.with(|disk| match disk.trouble {
            Some(Trouble::SyncKeeps | Trouble::SyncLoses) => {
                disk.trouble = None;
                Err(failure())
            }
            _ => {
                disk.durable = None;
                Ok(())
            }
        })
    }
}

impl Disk {
    fn find_calls(
        &self,
        wanted: &[(OrgId, CallId)],
    ) -> HashMap<(OrgId, CallId), (CallRow, Vec<Transfer>)> {
        let known = wanted.iter().filter_map(|key| Some((key, self.calls.get(key)?)));
        let with_transfers = known.map(|(key, row)| {
            let transfers = self.journal(row.transfers).to_vec();
            (key.clone(), (row.clone(), transfers))
        });
        with_transfers.collect()
    }

    fn find_entries(&self, wanted: &[OpId]) -> HashMap<OpId, PastEntry> {
        let known = self.entries.iter().filter(|entry| wanted.contains(&entry.op));
        let past = known.map(|entry| {
            let (digest, answer) = (entry.digest, entry.answer.clone());
            (entry.op.clone(), PastEntry { digest, answer })
        });
        past.collect()
    }

    fn find_documents(&self, wanted: &[DocumentKey]) -> HashMap<DocumentKey, Document> {
        let known = wanted.iter().filter_map(|key| Some((key, self.documents.get(key)?)));
        known.map(|(key, document)| (key.clone(), document.clone())).collect()
    }

    /// A range of the journal, by the first transfer's number and their count.
    pub(super) fn journal(&self, (first, count): (u64, u64)) -> &[Transfer] {
        let index = |number: u64| usize::try_from(number).unwrap();
        let from = index(first.max(1) - 1);
        &self.transfers[from..from + index(count)]
    }

    fn keep(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        let broken = |what: &str| Err(StoreFault::Broken(what.to_owned()));
        assert_eq!(batch.first_transfer, wide(self.transfers.len()) + 1);
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
        self.calls_max = self.calls_max.max(batch.calls.len());
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
            assert_eq!(entry.number, wide(self.entries.len()) + 1);
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
