//! Maps whose keys are hashed quickly.

use std::collections::HashMap;

/// A map of what the ledger looks up many times for each call. Its hash is seeded at random, like
/// the standard one's, but it is no match for somebody who searches for collisions: keys are names
/// and ids that authenticated gateways send.
pub(crate) type QuickMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
