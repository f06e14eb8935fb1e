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
use crate::ids::{CallId, OpId, OrgId};
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
    /// Looks at the disk.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap()
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
