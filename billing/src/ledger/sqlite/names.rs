//! Names that many rows share: each is written once, and rows have its number.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::values::unreadable;

/// All names, in memory. Only the writer gives numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Arc<str>, i64>,
    /// The name with number n stands at n - 1.
    names: Vec<Arc<str>>,
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
    }
}
