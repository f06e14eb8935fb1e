//! Months of calls: who calls when, and the ledger's clock that goes with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use emberbox_billing::CallId;
use uuid::Builder;

use crate::closed_loop::Contestant;
use crate::ours::Ours;
use crate::traffic::Call;

/// The first millisecond of 2026, since 1970.
const BEGINS_AT_MS: u64 = 1_767_225_600_000;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// The payer with most calls.
pub(crate) const LARGEST: u32 = 0;

/// So many calls, evenly spread over so many days.
pub(crate) struct History {
    calls: u64,
    span_ms: u64,
    made: AtomicU64,
    clock: Arc<AtomicU64>,
    /// When the last tenth began.
    last_tenth: OnceLock<Instant>,
    /// When the last call began.
    last_call: OnceLock<Instant>,
}

impl History {
    pub(crate) fn new(calls: u64, days: u32) -> Self {
        Self {
            calls,
            span_ms: u64::from(days) * DAY_MS,
            made: AtomicU64::new(0),
            clock: Arc::new(AtomicU64::new(BEGINS_AT_MS)),
            last_tenth: OnceLock::new(),
            last_call: OnceLock::new(),
        }
    }

    /// The clock of the ledger that is filled.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.clock)
    }

    /// The id of the next call, with the clock moved to its time; `None` after the last.
    fn next(&self) -> Option<CallId> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        if number == self.calls / 10 * 9 {
            self.last_tenth.get_or_init(Instant::now);
        }
        if number >= self.calls {
            self.last_call.get_or_init(Instant::now);
            return None;
        }
        let at_ms = self.at_ms(number);
        self.clock.fetch_max(at_ms, Ordering::SeqCst);
        Some(call_id(at_ms, number))
    }

    /// When a call is made, in milliseconds since 1970.
    pub(crate) fn at_ms(&self, number: u64) -> u64 {
        let passed = u128::from(number) * u128::from(self.span_ms) / u128::from(self.calls.max(1));
        BEGINS_AT_MS + u64::try_from(passed).unwrap_or(0)
    }

    /// When the last call is made, in milliseconds since 1970.
    pub(crate) fn ends_at_ms(&self) -> u64 {
        self.at_ms(self.calls - 1)
    }

    /// How fast the last tenth was, when the ledger was nearly full.
    pub(crate) fn last_tenth_calls_per_s(&self) -> f64 {
        let (Some(began), Some(ended)) = (self.last_tenth.get(), self.last_call.get()) else {
            return 0.0;
        };
        let tenth = self.calls - self.calls / 10 * 9;
        tenth as f64 / ended.duration_since(*began).as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Makes the calls of a history on a ledger.
pub(crate) struct Fill {
    pub(crate) ours: Arc<Ours>,
    pub(crate) history: Arc<History>,
    pub(crate) payers: u32,
}

#[async_trait]
impl Contestant for Fill {
    fn name(&self) -> &'static str {
        "emberbox"
    }

    async fn call(&self, call: Call, _: Instant) -> anyhow::Result<bool> {
        let Some(id) = self.history.next() else { return Ok(false) };
        self.ours.complete(id, call.by(skewed(call.payer, self.payers))).await?;
        Ok(true)
    }

    async fn database_bytes(&self) -> anyhow::Result<u64> {
        self.ours.database_bytes().await
    }
}

/// Turns a payer drawn evenly into one of many sizes: of a thousand the first makes a tenth of all
/// calls, and the upper half less than a third together.
fn skewed(payer: u32, payers: u32) -> u32 {
    let (payer, payers) = (u64::from(payer), u64::from(payers.max(1)));
    u32::try_from(payer * payer * payer / (payers * payers)).unwrap_or(0)
}

/// A payer with neither many calls nor few.
pub(crate) fn typical(payers: u32) -> u32 {
    skewed(payers / 2, payers)
}

/// The id of a call that is made at a time.
pub(crate) fn call_id(at_ms: u64, number: u64) -> CallId {
    let mut counter = [0; 10];
    counter[2..].copy_from_slice(&number.to_be_bytes());
    CallId::from_uuid(Builder::from_unix_timestamp_millis(at_ms, &counter).into_uuid())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::traffic::Traffic;

    #[test]
    fn calls_are_spread_over_the_days_and_ids_grow() {
        let history = History::new(1_000, 90);
        let ids: Vec<CallId> = std::iter::from_fn(|| history.next()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.is_sorted(), "ids must grow with time");
        let end_ms = BEGINS_AT_MS + 90 * DAY_MS;
        assert_eq!(history.clock().load(Ordering::SeqCst), end_ms - 90 * DAY_MS / 1_000);
        assert!(history.last_tenth_calls_per_s() > 0.0);
    }

    #[test]
    fn few_payers_make_many_calls() {
        let mut traffic = Traffic::new(1, 1_000);
        let mut calls: BTreeMap<u32, u32> = BTreeMap::new();
        for _ in 0..100_000 {
            *calls.entry(skewed(traffic.call().payer, 1_000)).or_default() += 1;
        }
        assert!((9_000..11_000).contains(&calls[&LARGEST]), "largest: {}", calls[&LARGEST]);
        let middle = calls[&typical(1_000)];
        assert!((50..300).contains(&middle), "typical: {middle}");
        let upper: u32 = calls.range(500..).map(|(_, calls)| calls).sum();
        assert!((15_000..33_000).contains(&upper), "upper half: {upper}");
    }
}
