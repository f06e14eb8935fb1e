//! The catalog: who exists (organisations and their keys) and what exists (functions, versions,
//! aliases, models), behind one async trait.
//!
//! It knows no HTTP and no money. [`SqliteCatalog`] is the embedded implementation; another
//! database joins by implementing [`Catalog`] and passing the same conformance tests.

/// What a caller gets wrong, and what a store can fail at.
mod error;
/// Names that are safe in a path, a host name and a log line.
mod name;
/// The rows, as owned values.
mod records;
/// API keys: random, shown once, stored as a hash.
mod secret;
/// The catalog in one SQLite file: a writer thread and a reader thread.
mod sqlite;
/// The one trait that the gateway sees.
mod store;

pub use error::CatalogError;
pub use name::Name;
pub use records::{
    Function, Key, KeyHash, Model, NewKey, NewModel, NewVersion, Org, Principal, Role, Secret,
    Version,
};
pub use sqlite::{CatalogOptions, SqliteCatalog};
pub use store::Catalog;
