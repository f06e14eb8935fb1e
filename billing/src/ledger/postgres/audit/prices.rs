//! P7: every charge is what its pinned prices give for its usage, to the nano.
//!
//! The calls come a page at a time from a cursor, and what they name is remembered within bounds,
//! so that a check of any ledger fits into memory.

use std::collections::HashMap;
use std::hash::Hash;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::super::fault::Fault;
use super::super::values::Id;
use super::BREAKS_MAX;
use crate::ledger::pricing::{Book, Charged, Pinned, is_model};

/// Calls that are read at a time.
const PAGE: i32 = 1000;
/// What is remembered of each kind; beyond it, all of the kind is forgotten and read again.
const REMEMBERED_MAX: usize = 10_000;
/// Books are larger.
const BOOKS_MAX: usize = 16;

const CALLS: &str = "SELECT c.call, o.name, s.name, c.pinned, c.held, c.amount, c.price_version,
        c.usage, c.ending::bigint
    FROM calls AS c LEFT JOIN names AS o ON o.id = c.org LEFT JOIN names AS s ON s.id = c.subject
    WHERE c.ended IN (1, 7)";

/// What the calls name, as far as it is remembered.
#[derive(Default)]
struct Known {
    books: HashMap<i64, Option<Book>>,
    pinned: HashMap<i32, Pinned>,
    /// The names of models.
    names: HashMap<i64, String>,
}

/// A call that was charged, as its row has it.
struct Call {
    id: uuid::Uuid,
    org: Option<String>,
    subject: Option<String>,
    pinned: i32,
    held: i64,
    amount: i64,
    version: i64,
    usage: String,
    ending: i64,
}

/// Computes every charge again; the breaks are sentences.
pub(super) async fn check(snapshot: &Transaction<'_>) -> Result<Vec<String>, Fault> {
    let (mut known, mut breaks) = (Known::default(), Vec::new());
    let cursor = snapshot.bind(CALLS, &[]).await?;
    loop {
        let page = snapshot.query_portal(&cursor, PAGE).await?;
        if page.is_empty() || breaks.len() >= BREAKS_MAX {
            return Ok(breaks);
        }
        let calls: Vec<Call> = page.iter().map(Call::read).collect::<Result<_, Fault>>()?;
        for call in calls {
            let usage = serde_json::from_str::<Vec<(i64, i64, u64)>>(&call.usage);
            let charged = match usage {
                Ok(usage) => known.check(snapshot, (&call, &usage)).await?,
                Err(error) => Err(format!("its usage cannot be read: {error}")),
            };
            if let Err(what) = charged {
                breaks.push(format!("call {}: {what}", call.id));
            }
        }
    }
}

impl Call {
    fn read(row: &Row) -> Result<Call, Fault> {
        Ok(Call {
            id: row.try_get::<_, Id>(0)?.0,
            org: row.try_get(1)?,
            subject: row.try_get(2)?,
            pinned: row.try_get(3)?,
            held: row.try_get(4)?,
            amount: row.try_get(5)?,
            version: row.try_get(6)?,
            usage: row.try_get(7)?,
            ending: row.try_get(8)?,
        })
    }
}

impl Known {
    async fn check(
        &mut self,
        snapshot: &Transaction<'_>,
        (call, usage): (&Call, &[(i64, i64, u64)]),
    ) -> Result<Result<(), String>, Fault> {
        self.learn(snapshot, (call, usage)).await?;
        Ok(self.recompute(call, usage))
    }

    /// Reads what the call names and is not remembered.
    async fn learn(
        &mut self,
        snapshot: &Transaction<'_>,
        (call, usage): (&Call, &[(i64, i64, u64)]),
    ) -> Result<(), Fault> {
        if !self.books.contains_key(&call.version) {
            let sql = "SELECT book FROM price_books WHERE version = $1";
            let found = snapshot.query_opt(sql, &[&call.version]).await?;
            let text: Option<String> = found.map(|row| row.try_get(0)).transpose()?;
            let book = text.and_then(|text| serde_json::from_str(&text).ok());
            remember(&mut self.books, (call.version, book), BOOKS_MAX);
        }
        if call.pinned != 0 && !self.pinned.contains_key(&call.pinned) {
            let text = name(snapshot, call.pinned).await?;
            if let Some(pinned) = text.and_then(|text| serde_json::from_str(&text).ok()) {
                remember(&mut self.pinned, (call.pinned, pinned), REMEMBERED_MAX);
            }
        }
        // One call names so many models at most that they all stay.
        if self.names.len() > REMEMBERED_MAX {
            self.names.clear();
        }
        for (model, _, _) in usage {
            if *model == 0 || self.names.contains_key(model) {
                continue;
            }
            let Ok(id) = i32::try_from(*model) else { continue };
            if let Some(text) = name(snapshot, id).await? {
                self.names.insert(*model, text);
            }
        }
        Ok(())
    }

    fn recompute(&self, call: &Call, usage: &[(i64, i64, u64)]) -> Result<(), String> {
        let org = call.org.as_deref().ok_or("its organisation has no name")?;
        let subject = call.subject.as_deref().ok_or("its subject has no name")?;
        let none = Pinned::default();
        let pinned = match call.pinned {
            0 => &none,
            pinned => self.pinned.get(&pinned).ok_or("its pinned terms cannot be read")?,
        };
        let book = self.books.get(&call.version).and_then(Option::as_ref);
        let book = book.ok_or("its prices are missing or cannot be read")?;
        let (is_model, ending, held) = (is_model(subject)?, call.ending, i128::from(call.held));
        let charged = Charged { org, is_model, ending, usage, pinned, held };
        let cost = book.cost(&charged, &self.names)?;
        match cost == i128::from(call.amount) {
            true => Ok(()),
            false => {
                let amount = call.amount;
                Err(format!("it is charged {amount} nano, its usage costs {cost}"))
            }
        }
    }
}

fn remember<K: Eq + Hash, V>(known: &mut HashMap<K, V>, (key, value): (K, V), max: usize) {
    if known.len() >= max {
        known.clear();
    }
    known.insert(key, value);
}

async fn name(snapshot: &Transaction<'_>, id: i32) -> Result<Option<String>, Fault> {
    let found = snapshot.query_opt("SELECT name FROM names WHERE id = $1", &[&id]).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}
