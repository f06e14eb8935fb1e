//! The catalog: who exists (organisations and their keys) and what exists (functions, versions,
//! aliases, models, secrets), behind one async trait.
//!
//! It knows no HTTP and no money, and cannot open the secrets that it keeps. [`SqliteCatalog`] is the embedded implementation,
//! [`PostgresCatalog`] the one that several gateways share; another database joins by implementing
//! [`Catalog`] and passing the same conformance tests.

/// What a caller gets wrong, and what a store can fail at.
mod error;
/// Names that are safe in a path, a host name and a log line.
mod name;
/// The rows, as owned values.
mod records;
/// API keys: random, shown once, stored as a hash.
mod secret;
/// Ids, times, counts and checks, the same in every database.
mod values;
/// The catalog in one SQLite file: a writer thread and a reader thread.
mod sqlite;
/// The catalog in PostgreSQL: a small pool of connections.
mod postgres;
/// The one trait that the gateway sees.
mod store;
/// The rules that every implementation must keep.
#[cfg(test)]
mod conformance;

/// The most keys of one organisation that are not revoked.
pub const KEYS_LIVE_MAX: u32 = 1_000;
/// The most keys of one organisation, revoked ones counted: they are kept, so that what they did
/// can still be told.
pub const KEYS_KEPT_MAX: u32 = 10_000;
/// The most secrets of one organisation.
pub const SECRETS_MAX: u32 = 100;

pub use error::CatalogError;
pub use name::Name;
pub use postgres::{PostgresCatalog, PostgresCatalogOptions};
pub use records::{
    Function, Key, KeyHash, Model, NewKey, NewModel, NewSecret, NewVersion, Org, Principal, Role,
    Sealed, SealedSecret, Secret, Version,
};
pub use sqlite::{CatalogOptions, SqliteCatalog};
pub use store::Catalog;
pub use values::check_secret_name;
