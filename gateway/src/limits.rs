//! What one key, and one organisation, may do at a time and per minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

use crate::config::KeyLimits;
use crate::errors::ApiError;

const MINUTE: Duration = Duration::from_secs(60);
/// Keys whose minute is remembered; beyond it, keys without a request in progress are forgotten.
const KEYS_MAX: usize = 100_000;

/// Counts each key's requests.
#[derive(Clone)]
pub(crate) struct Limiter {
    limits: KeyLimits,
    /// By the ids of keys, and those of organisations, which are none of a key.
    keys: Arc<Mutex<HashMap<String, Count>>>,
}

struct Count {
    running: u32,
    begun: u32,
    minute_from: Instant,
}

impl Count {
    fn new(now: Instant) -> Self {
        Self { running: 0, begun: 0, minute_from: now }
    }
}

impl Limiter {
    pub(crate) fn new(limits: KeyLimits) -> Self {
        Limiter { limits, keys: Arc::default() }
    }

    /// Lets one request of an organisation's key begin; it counts as running until the turn is
    /// dropped.
    pub(crate) fn admit(&self, key_id: &str, org_id: &str) -> Result<Turn, ApiError> {
        self.admit_at((key_id, org_id), Instant::now())
    }

    fn admit_at(&self, (key_id, org_id): (&str, &str), now: Instant) -> Result<Turn, ApiError> {
        let mut keys = self.lock();
        if keys.len() >= KEYS_MAX {
            keys.retain(|_, count| count.running > 0);
        }
        let org_running = keys.get(org_id).map_or(0, |count| count.running);
        if org_running >= self.limits.org_concurrency_max {
            return Err(ApiError::RateLimited {
                reason: "this organisation has too many requests in progress",
                retry_after_s: 1,
            });
        }
        let count = keys.entry(key_id.to_owned()).or_insert_with(|| Count::new(now));
        if now.duration_since(count.minute_from) >= MINUTE {
            (count.begun, count.minute_from) = (0, now);
        }
        let reset = MINUTE.saturating_sub(now.duration_since(count.minute_from));
        if count.running >= self.limits.concurrency_max {
            return Err(ApiError::RateLimited {
                reason: "this key has too many requests in progress",
                retry_after_s: 1,
            });
        }
        if count.begun >= self.limits.requests_per_minute_max {
            return Err(ApiError::RateLimited {
                reason: "this key has made too many requests within a minute",
                retry_after_s: reset.as_secs() + 1,
            });
        }
        count.running += 1;
        count.begun += 1;
        let limit = self.limits.requests_per_minute_max;
        let standing = Standing { limit, remaining: limit - count.begun, reset };
        keys.entry(org_id.to_owned()).or_insert_with(|| Count::new(now)).running += 1;
        drop(keys);
        let of = [key_id.to_owned(), org_id.to_owned()];
        Ok(Turn { limiter: self.clone(), of, standing })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request in progress.
pub(crate) struct Turn {
    limiter: Limiter,
    /// The key and the organisation.
    of: [String; 2],
    standing: Standing,
}

impl Turn {
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut keys = self.limiter.lock();
        for id in &self.of {
            if let Some(count) = keys.get_mut(id) {
                count.running = count.running.saturating_sub(1);
            }
        }
    }
}

/// Where a key stands within its minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    reset: Duration,
}

impl Standing {
    /// Tells the client, in the headers that the SDKs know.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert("x-ratelimit-limit-requests", HeaderValue::from(self.limit));
        headers.insert("x-ratelimit-remaining-requests", HeaderValue::from(self.remaining));
        if let Ok(reset) = HeaderValue::from_str(&format!("{}s", self.reset.as_secs())) {
            headers.insert("x-ratelimit-reset-requests", reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_limited_at_a_time_and_per_minute() {
        let limiter = Limiter::new(KeyLimits {
            concurrency_max: 2,
            requests_per_minute_max: 3,
            org_concurrency_max: 3,
        });
        let start = Instant::now();
        let first = limiter.admit_at(("a", "org"), start).unwrap();
        let second = limiter.admit_at(("a", "org"), start).unwrap();
        assert_eq!(second.standing().remaining, 1);
        let refused = limiter.admit_at(("a", "org"), start).map(|_| ());
        assert!(matches!(refused, Err(ApiError::RateLimited { retry_after_s: 1, .. })));
        let third = limiter.admit_at(("b", "org"), start);
        assert!(third.is_ok(), "another key has its own count");
        let refused = limiter.admit_at(("c", "org"), start).map(|_| ());
        let Err(ApiError::RateLimited { reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("organisation"), "{reason}");
        assert!(limiter.admit_at(("c", "org2"), start).is_ok(), "another organisation");

        drop(first);
        drop(limiter.admit_at(("a", "org"), start).unwrap());
        let later = start + Duration::from_secs(20);
        let refused = limiter.admit_at(("a", "org"), later).map(|_| ());
        assert!(matches!(refused, Err(ApiError::RateLimited { retry_after_s: 41, .. })));
        assert!(limiter.admit_at(("a", "org"), start + MINUTE).is_ok(), "a new minute");
    }
}
