use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The latest time there is: what 64 bits of nanoseconds hold, in the year 2262. A clock that says
/// more is broken, and every month until then would have to be closed.
const TIME_MS_MAX: u64 = 9_223_372_036_854;

/// Where the ledger reads the time, in milliseconds since 1970. It never lets it run backwards.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that tests move.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match self {
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            Clock::Manual(now_ms) => now_ms.load(Ordering::SeqCst),
        }
        .min(TIME_MS_MAX)
    }
}
