use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::schema::open_reader;
use crate::CatalogError;

/// All pages at once: a copy in several steps begins anew whenever somebody writes.
const PAGES_ALL: i32 = -1;

/// Copies a database into a file that does not exist yet.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), CatalogError> {
    let source = open_reader(from)?;
    File::create_new(to).map_err(failed)?;
    let copied = pages(&source, to).and_then(|()| sync_folder_of(to).map_err(failed));
    if copied.is_err()
        && let Err(error) = fs::remove_file(to)
    {
        tracing::warn!(%error, file = %to.display(), "cannot remove an unfinished backup");
    }
    copied
}

/// SQLite reads all pages in one transaction and syncs the copy when it commits it.
fn pages(source: &Connection, to: &Path) -> Result<(), CatalogError> {
    let mut copy = Connection::open(to)?;
    let step = Backup::new(source, &mut copy)?.step(PAGES_ALL)?;
    match step {
        StepResult::Done => Ok(()),
        unfinished => Err(failed(io::Error::other(format!("the copy ended as {unfinished:?}")))),
    }
}

/// Makes the new file's name durable too.
fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn failed(error: io::Error) -> CatalogError {
    CatalogError::Store(Box::new(error))
}
