use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::CatalogError;

/// How long a connection waits for another process's lock, such as a backup's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Each entry brings the schema from its index to the next version. Entries are never edited:
/// what was shipped once is in somebody's file.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE orgs (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        org_id TEXT NOT NULL REFERENCES orgs (id),
        name TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('owner', 'developer', 'consumer')),
        prefix TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        last_used_at_ms INTEGER,
        revoked_at_ms INTEGER
    ) STRICT;
    CREATE INDEX keys_by_org ON keys (org_id, id);
    CREATE TABLE functions (
        org_id TEXT NOT NULL REFERENCES orgs (id),
        name TEXT NOT NULL,
        next_number INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        deleted_at_ms INTEGER,
        PRIMARY KEY (org_id, name)
    ) STRICT;
    CREATE TABLE versions (
        org_id TEXT NOT NULL,
        function TEXT NOT NULL,
        number INTEGER NOT NULL,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        manifest TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (org_id, function, number),
        FOREIGN KEY (org_id, function) REFERENCES functions (org_id, name)
    ) STRICT;
    CREATE INDEX versions_by_digest ON versions (digest);
    CREATE TABLE aliases (
        org_id TEXT NOT NULL,
        function TEXT NOT NULL,
        alias TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (org_id, function, alias),
        FOREIGN KEY (org_id, function, number) REFERENCES versions (org_id, function, number)
    ) STRICT;
    CREATE TABLE models (
        name TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        digest TEXT NOT NULL,
        kind TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
",
    "
    CREATE TABLE secrets (
        org_id TEXT NOT NULL REFERENCES orgs (id),
        name TEXT NOT NULL,
        sealed BLOB NOT NULL,
        created_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL,
        PRIMARY KEY (org_id, name)
    ) STRICT;
",
];

/// Opens the connection that writes and brings the schema up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, CatalogError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, CatalogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    let known = MIGRATIONS.len() as u32;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(CatalogError::Schema { place: path.display().to_string(), found, known });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let step = connection.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", index as u32 + 1)?;
        step.commit()?;
    }
    Ok(())
}

/// Whether a write failed because a unique column has the value already.
pub(super) fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        matches!(
            e.extended_code,
            rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        )
    })
}

/// Whether a write failed because the row that it refers to is not there.
pub(super) fn is_orphan(error: &rusqlite::Error) -> bool {
    let foreign_key = rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY;
    error.sqlite_error().is_some_and(|e| e.extended_code == foreign_key)
}
