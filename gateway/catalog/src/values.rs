use std::time::{SystemTime, UNIX_EPOCH};

use crate::{CatalogError, KEYS_KEPT_MAX, KEYS_LIVE_MAX, SECRETS_MAX};

/// A label for people; longer ones are refused rather than cut.
const KEY_NAME_CHARS_MAX: usize = 80;
const MODEL_NAME_CHARS_MAX: usize = 128;
const SECRET_NAME_CHARS_MAX: usize = 128;

/// Now, in milliseconds since 1970, as databases store it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time or count as databases store it. Only numbers that this crate wrote come back, so the
/// saturating conversions never lose anything.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way round.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A new id: time-ordered, so that inserts go to the end of the index.
pub(crate) fn new_id(kind: &str) -> String {
    format!("{kind}_{}", uuid::Uuid::now_v7().simple())
}

/// Refuses names of keys that would spoil a list or a log.
pub(crate) fn check_key_name(name: &str) -> Result<(), CatalogError> {
    let reason = if name.trim().is_empty() {
        "it is empty"
    } else if name.chars().count() > KEY_NAME_CHARS_MAX {
        "it is longer than 80 characters"
    } else if name.chars().any(char::is_control) {
        "it contains control characters"
    } else {
        return Ok(());
    };
    Err(CatalogError::InvalidName { name: name.chars().take(KEY_NAME_CHARS_MAX).collect(), reason })
}

/// Refuses another key of an organisation that has as many as it may, of which `live` are not
/// revoked.
pub(crate) fn check_key_count(kept: i64, live: i64) -> Result<(), CatalogError> {
    let (kept_max, live_max) = (KEYS_KEPT_MAX, KEYS_LIVE_MAX);
    match (live >= live_max.into(), kept >= kept_max.into()) {
        (true, _) => Err(CatalogError::TooMany { what: "keys", max: live_max }),
        (false, true) => {
            Err(CatalogError::TooMany { what: "keys, revoked ones counted", max: kept_max })
        }
        (false, false) => Ok(()),
    }
}

/// Model names may carry a path as on model hubs (`owner/name`) and a dot, but nothing that a
/// shell, a URL's query or a log would read as more than a name.
pub(crate) fn check_model_name(name: &str) -> Result<(), CatalogError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MODEL_NAME_CHARS_MAX {
        "it is longer than 128 characters"
    } else if !name.chars().all(allowed) {
        "only letters, digits and - _ . / : are allowed"
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it must start with a letter or a digit"
    } else {
        return Ok(());
    };
    Err(CatalogError::InvalidName { name: name.chars().take(80).collect(), reason })
}

/// Checks the name of a secret: that of an environment variable, `[A-Z_][A-Z0-9_]{0,127}`.
///
/// # Errors
/// [`CatalogError::InvalidName`] says which rule it breaks.
pub fn check_secret_name(name: &str) -> Result<(), CatalogError> {
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > SECRET_NAME_CHARS_MAX {
        "it is longer than 128 characters"
    } else if !name.chars().all(allowed) {
        "only A to Z, 0 to 9 and '_' are allowed"
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        "it must not start with a digit"
    } else {
        return Ok(());
    };
    Err(CatalogError::InvalidName { name: name.chars().take(80).collect(), reason })
}

/// Refuses another secret of an organisation that has as many others as it may.
pub(crate) fn check_secret_count(others: i64) -> Result<(), CatalogError> {
    match others >= SECRETS_MAX.into() {
        true => Err(CatalogError::TooMany { what: "secrets", max: SECRETS_MAX }),
        false => Ok(()),
    }
}
