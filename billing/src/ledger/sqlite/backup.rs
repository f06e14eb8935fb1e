//! Copies of the file while others write.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::file::{beside, failure, sync_folder};
use crate::error::OpenFailure;

/// Copies what is committed now to a new file, which is durable when this returns. A file that is
/// there already is never written over.
///
/// All pages are copied under one snapshot, so the copy is consistent whatever is written
/// meanwhile; the log of the source grows until it is finished.
pub(super) fn backup(connection: &Connection, to: &Path) -> Result<(), OpenFailure> {
    let io_failure = |error| OpenFailure::Io(Arc::new(error));
    if fs::exists(to).map_err(io_failure)? {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "the copy's file exists already");
        return Err(io_failure(error));
    }
    let draft = beside(to, ".new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failure(error)),
        _ => {}
    }
    copy(connection, &draft)?;
    File::open(&draft).and_then(|copy| copy.sync_all()).map_err(io_failure)?;
    fs::rename(&draft, to).map_err(io_failure)?;
    sync_folder(to).map_err(io_failure)
}

fn copy(connection: &Connection, draft: &Path) -> Result<(), OpenFailure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut copy = Connection::open_with_flags(draft, flags).map_err(failure)?;
    let backup = Backup::new(connection, &mut copy).map_err(failure)?;
    let step = backup.step(-1).map_err(failure)?;
    drop(backup);
    if step != StepResult::Done {
        return Err(OpenFailure::Locked);
    }
    copy.close().map_err(|(_, error)| failure(error))
}
