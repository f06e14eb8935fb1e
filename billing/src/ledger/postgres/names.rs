//! Names in the tables are numbers. One writer gives them, so it knows them all.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::fault::Fault;
use super::values::{json, of_json};
use crate::account::Account;
use crate::hold::{Pinned, Subject};

/// Names by number, shared by the writer and the readers. A number always means the same.
#[derive(Debug, Default)]
pub(super) struct Names(RwLock<HashMap<i32, Arc<str>>>);

impl Names {
    /// The name of a number, where it is known here.
    fn find(&self, id: i32) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// The name of a number that a row has.
    pub(super) fn text(&self, id: i32) -> Result<Arc<str>, Fault> {
        self.find(id).ok_or_else(|| Fault::damaged(format!("no name has the number {id}")))
    }

    /// What is called.
    pub(super) fn subject(&self, id: i32) -> Result<Subject, Fault> {
        of_json(&self.text(id)?)
    }

    /// Pinned terms; 0 is none at all.
    pub(super) fn pinned(&self, id: i32) -> Result<Arc<Pinned>, Fault> {
        Ok(Arc::new(if id == 0 { Pinned::default() } else { of_json(&self.text(id)?)? }))
    }

    /// A model; 0 is none.
    pub(super) fn model(&self, id: i32) -> Result<Option<String>, Fault> {
        (id != 0).then(|| self.text(id).map(|text| text.to_string())).transpose()
    }

    /// Which of these numbers are not known here, each once.
    pub(super) fn missing(&self, ids: impl IntoIterator<Item = i32>) -> Vec<i32> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<i32> =
            ids.into_iter().filter(|id| *id != 0 && !known.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    pub(super) fn learn(&self, names: impl IntoIterator<Item = (i32, Arc<str>)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(names);
    }
}

/// The writer's side: numbers by name, of what is kept and of what is about to be.
#[derive(Debug, Default)]
pub(super) struct Interner {
    names: Arc<Names>,
    ids: HashMap<Arc<str>, i32>,
    accounts: HashMap<Account, i32>,
    last: i32,
    /// Given since the last commit.
    fresh: Vec<(i32, Arc<str>)>,
    fresh_accounts: Vec<Account>,
}

impl Interner {
    pub(super) fn new(names: Arc<Names>) -> Interner {
        Interner { names, ..Interner::default() }
    }

    /// Forgets everything and takes what the tables say.
    pub(super) fn reload(
        &mut self,
        names: Vec<(i32, Arc<str>)>,
        accounts: impl IntoIterator<Item = (Account, i32)>,
    ) {
        self.last = names.iter().map(|(id, _)| *id).max().unwrap_or(0);
        self.ids = names.iter().map(|(id, name)| (Arc::clone(name), *id)).collect();
        self.accounts = accounts.into_iter().collect();
        self.fresh.clear();
        self.fresh_accounts.clear();
        self.names.learn(names);
    }

    /// The names by number.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The number of a name that was kept before.
    pub(super) fn known(&self, name: &str) -> Option<i32> {
        self.ids.get(name).copied()
    }

    /// The number of a name, a new one where it has none.
    pub(super) fn name(&mut self, name: &str) -> Result<i32, Fault> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let id = self.last.checked_add(1).ok_or_else(|| Fault::damaged("too many names"))?;
        let name: Arc<str> = name.into();
        self.last = id;
        self.ids.insert(Arc::clone(&name), id);
        self.fresh.push((id, name));
        Ok(id)
    }

    pub(super) fn subject(&mut self, subject: &Subject) -> Result<i32, Fault> {
        self.name(&json(subject)?)
    }

    pub(super) fn pinned(&mut self, pinned: &Pinned) -> Result<i32, Fault> {
        if *pinned == Pinned::default() {
            return Ok(0);
        }
        self.name(&json(pinned)?)
    }

    pub(super) fn model(&mut self, model: Option<&str>) -> Result<i32, Fault> {
        model.map_or(Ok(0), |model| self.name(model))
    }

    /// Notes the number of a new account.
    pub(super) fn open(&mut self, account: &Account, number: i32) {
        self.accounts.insert(account.clone(), number);
        self.fresh_accounts.push(account.clone());
    }

    pub(super) fn account(&self, account: &Account) -> Result<i32, Fault> {
        let number = self.accounts.get(account).copied();
        number.ok_or_else(|| Fault::damaged(format!("{} has no number", account.name())))
    }

    /// Names that the next commit has to bring.
    pub(super) fn fresh(&self) -> &[(i32, Arc<str>)] {
        &self.fresh
    }

    /// The commit was done: what was given holds for ever.
    pub(super) fn keep(&mut self) {
        self.names.learn(self.fresh.drain(..));
        self.fresh_accounts.clear();
    }

    /// The commit was not done: its names have no numbers.
    pub(super) fn forget(&mut self) {
        for (_, name) in self.fresh.drain(..) {
            self.ids.remove(&name);
            self.last = self.last.saturating_sub(1);
        }
        for account in self.fresh_accounts.drain(..) {
            self.accounts.remove(&account);
        }
    }
}
