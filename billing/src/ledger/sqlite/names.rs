//! Names that many rows share: each is written once, and rows have its number.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::values::{json_text, unreadable};
use crate::hold::{Pinned, Subject};
use crate::quick::QuickMap;

/// All names, in memory. Only the writer gives numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: QuickMap<Arc<str>, i64>,
    /// The name with number n stands at n - 1.
    names: Vec<Arc<str>>,
    /// Subjects and terms whose names were looked up before, so that a call needs no JSON.
    subjects: QuickMap<Subject, i64>,
    pinned: QuickMap<Pinned, i64>,
}

impl Names {
    /// Reads all names of a file.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Names> {
        let mut all = Names::default();
        let mut statement = connection.prepare_cached("SELECT id, name FROM names ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            if all.push(Arc::from(name)) != Some(row.get(0)?) {
                return Err(unreadable("the names have a gap or repeat themselves"));
            }
        }
        Ok(all)
    }

    /// The number of a name that is known.
    pub(super) fn known(&self, name: &str) -> Option<i64> {
        self.numbers.get(name).copied()
    }

    /// The number of a name; it is written where it is new.
    pub(super) fn intern(&mut self, connection: &Connection, name: &str) -> rusqlite::Result<i64> {
        if let Some(number) = self.known(name) {
            return Ok(number);
        }
        let number = self
            .push(Arc::from(name))
            .ok_or_else(|| unreadable("there are more names than numbers"))?;
        connection
            .prepare_cached("INSERT INTO names (id, name) VALUES (?1, ?2)")?
            .execute(params![number, name])?;
        Ok(number)
    }

    /// The number of a subject.
    pub(super) fn subject(
        &mut self,
        connection: &Connection,
        subject: &Subject,
    ) -> rusqlite::Result<i64> {
        if let Some(number) = self.subjects.get(subject) {
            return Ok(*number);
        }
        let number = self.intern(connection, &json_text(subject)?)?;
        self.subjects.insert(subject.clone(), number);
        Ok(number)
    }

    /// The number of pinned terms; 0 where there are none.
    pub(super) fn pinned(
        &mut self,
        connection: &Connection,
        pinned: &Pinned,
    ) -> rusqlite::Result<i64> {
        if *pinned == Pinned::default() {
            return Ok(0);
        }
        if let Some(number) = self.pinned.get(pinned) {
            return Ok(*number);
        }
        let number = self.intern(connection, &json_text(pinned)?)?;
        self.pinned.insert(pinned.clone(), number);
        Ok(number)
    }

    /// Gives the next number; `None` where the name has one.
    fn push(&mut self, name: Arc<str>) -> Option<i64> {
        let number = i64::try_from(self.names.len()).ok()?.checked_add(1)?;
        if self.numbers.insert(Arc::clone(&name), number).is_some() {
            return None;
        }
        self.names.push(name);
        Some(number)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Forgets the names that a failed batch has brought.
    pub(super) fn truncate(&mut self, len: usize) {
        for name in self.names.drain(len.min(self.names.len())..) {
            self.numbers.remove(&name);
        }
        let kept = i64::try_from(self.names.len()).unwrap_or(i64::MAX);
        self.subjects.retain(|_, number| *number <= kept);
        self.pinned.retain(|_, number| *number <= kept);
    }
}
