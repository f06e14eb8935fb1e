use std::error::Error;

/// Why the catalog did not do as asked; one variant per decision the caller makes.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The thing exists already, and names are unique.
    #[error("the {what} '{name}' exists already")]
    Taken {
        /// What kind of thing: organisation, key, model.
        what: &'static str,
        /// The name that is taken.
        name: String,
    },
    /// The name does not follow the rule for names.
    #[error("'{name}' is not a valid name: {reason}")]
    InvalidName {
        /// The name as it was given, cut to 80 characters.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// There is no such thing, or it belongs to another organisation.
    #[error("there is no {what} '{name}'")]
    NotFound {
        /// What kind of thing: organisation, key, function, version, model.
        what: &'static str,
        /// The name that was looked for.
        name: String,
    },
    /// There are as many of its kind as there may be. Nothing was changed.
    #[error("there are {max} {what} already: that is as many as there may be")]
    TooMany {
        /// What kind of things.
        what: &'static str,
        /// How many there may be.
        max: u32,
    },
    /// The catalog cannot take it now: its queue is full, or its server is away or busy. Nothing
    /// was changed, so trying again later is safe.
    #[error("the catalog is overloaded")]
    Overloaded,
    /// The catalog's thread has ended, so it answers nothing any more.
    #[error("the catalog has stopped")]
    Stopped,
    /// The database was written by a newer Emberbox.
    #[error("{place} has schema {found}; this program knows up to {known}")]
    Schema {
        /// The database: a file, or a server without its password.
        place: String,
        /// The schema version found in it.
        found: u32,
        /// The newest version that this program can read.
        known: u32,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a key")]
    Random(#[source] getrandom::Error),
    /// The database refused, or went away before it said what it did: a change may be in it.
    #[error("the catalog's database failed")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// The database's thread could not be started.
    #[error("the catalog's thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        CatalogError::Store(Box::new(error))
    }
}

impl CatalogError {
    pub(crate) fn not_found(what: &'static str, name: &str) -> Self {
        CatalogError::NotFound { what, name: name.to_owned() }
    }

    pub(crate) fn taken(what: &'static str, name: &str) -> Self {
        CatalogError::Taken { what, name: name.to_owned() }
    }
}
