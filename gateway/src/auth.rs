//! Who is calling: from a bearer key to an organisation.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use emberbox_catalog::{KeyHash, Principal};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::errors::ApiError;

/// How long a key is believed without asking the catalog again. A revocation on this server takes
/// effect at once; this bounds how long one made elsewhere is not seen, and how exact the date of
/// a key's last use is.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// Keys remembered; beyond it all are forgotten and asked for again.
const KEYS_MAX: usize = 100_000;

/// The keys that were seen lately.
#[derive(Default)]
pub(crate) struct Keys {
    seen: RwLock<Seen>,
}

#[derive(Default)]
struct Seen {
    principals: HashMap<KeyHash, (Arc<Principal>, Instant)>,
    /// Grows with every revocation, so that an answer of the catalog from before it is not kept.
    revocations: u64,
}

impl Keys {
    fn find(&self, hash: KeyHash) -> Result<Arc<Principal>, u64> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        match seen.principals.get(&hash) {
            Some((principal, since)) if since.elapsed() < BELIEVED_FOR => Ok(Arc::clone(principal)),
            _ => Err(seen.revocations),
        }
    }

    fn keep(&self, hash: KeyHash, principal: &Arc<Principal>, revocations: u64) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.revocations != revocations {
            return;
        }
        if seen.principals.len() >= KEYS_MAX {
            seen.principals.clear();
        }
        seen.principals.insert(hash, (Arc::clone(principal), Instant::now()));
    }

    /// Forgets a key that was revoked.
    pub(crate) fn forget(&self, key_id: &str) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.revocations += 1;
        seen.principals.retain(|_, (principal, _)| principal.key.id != key_id);
    }
}

/// Finds who presents the request's key.
pub(crate) async fn principal(app: &App, headers: &HeaderMap) -> Result<Arc<Principal>, ApiError> {
    let unknown = ApiError::Unauthorized("this API key is unknown or was revoked");
    let Some(hash) = KeyHash::of(bearer(headers)?) else { return Err(unknown) };
    let revocations = match app.keys.find(hash) {
        Ok(principal) => return Ok(principal),
        Err(revocations) => revocations,
    };
    let Some(principal) = app.catalog.principal(hash).await? else { return Err(unknown) };
    let principal = Arc::new(principal);
    app.keys.keep(hash, &principal, revocations);
    note_use(app, principal.key.id.clone());
    Ok(principal)
}

/// Nobody waits for the date of a key's last use.
fn note_use(app: &App, key_id: String) {
    let catalog = Arc::clone(&app.catalog);
    app.settling.spawn(async move {
        if let Err(error) = catalog.touch_key(&key_id).await {
            tracing::debug!(%error, "the last use of a key was not noted");
        }
    });
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let missing = "send an API key as 'Authorization: Bearer eb_…'";
    let value = headers.get(AUTHORIZATION).ok_or(ApiError::Unauthorized(missing))?;
    let text = value.to_str().or(Err(ApiError::Unauthorized(missing)))?;
    let (scheme, key) = text.split_once(' ').ok_or(ApiError::Unauthorized(missing))?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(key.trim()),
        false => Err(ApiError::Unauthorized(missing)),
    }
}

/// The operator's token, kept as a hash so that comparing it tells a clock nothing.
pub(crate) struct OperatorToken([u8; 32]);

impl OperatorToken {
    pub(crate) fn new(token: &str) -> Self {
        OperatorToken(Sha256::digest(token.as_bytes()).into())
    }

    /// Refuses a request that does not present the token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let presented = OperatorToken::new(bearer(headers)?);
        match presented.0 == self.0 {
            true => Ok(()),
            false => Err(ApiError::Unauthorized("this is not the operator's token")),
        }
    }
}
