//! The rows of the statements' benchmark, and what they have to reach.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::closed_loop::Stretch;
use crate::ledger::rows::{disk, milliseconds, verdict};
use crate::row::Line;

/// Milliseconds that 99 of 100 answers may take at most.
const P99_MS_MAX: f64 = 100.0;

/// How the ledger was filled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FillRow {
    pub(crate) bench: &'static str,
    pub(crate) case: String,
    pub(crate) store: &'static str,
    pub(crate) calls: u64,
    pub(crate) payers: u32,
    pub(crate) days: u32,
    pub(crate) seconds: f64,
    pub(crate) calls_per_s: f64,
    /// Of the last tenth of the calls, when the ledger was nearly full.
    pub(crate) last_tenth_calls_per_s: f64,
    pub(crate) bytes_per_call: u64,
    pub(crate) fsync_p50_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sync_delayed_to_us: Option<u64>,
}

impl Line for FillRow {
    fn columns(&self) -> String {
        format!(
            "{:<42} {} calls in {:.1} s: {:.1} calls/s, the last tenth {:.1} calls/s  \
             {} B/call  {}",
            self.case,
            self.calls,
            self.seconds,
            self.calls_per_s,
            self.last_tenth_calls_per_s,
            self.bytes_per_call,
            disk(self.fsync_p50_us, self.sync_delayed_to_us, "")
        )
    }
}

/// How fast a question is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StatementRow {
    bench: &'static str,
    case: String,
    store: &'static str,
    /// In the ledger.
    calls: u64,
    /// Of the organisation that is asked about.
    payer_calls: u64,
    /// In the answer.
    rows: usize,
    /// How often it was asked.
    times: u32,
    p50_ms: f64,
    p99_ms: f64,
    targets: BTreeMap<String, bool>,
}

impl StatementRow {
    /// A case on a store, asked so many times of a ledger with so many calls; how many of them
    /// are the organisation's, and how many rows the answer has.
    pub(crate) fn new(
        case: String,
        (store, times, calls): (&'static str, u32, u64),
        (payer_calls, rows): (u64, usize),
        stretch: Stretch,
    ) -> Self {
        let (p50_ms, p99_ms) = (milliseconds(stretch.p50_us), milliseconds(stretch.p99_us));
        let targets = BTreeMap::from([(format!("p99_ms<={P99_MS_MAX}"), p99_ms <= P99_MS_MAX)]);
        let bench = "statements";
        Self { bench, case, store, calls, payer_calls, rows, times, p50_ms, p99_ms, targets }
    }
}

impl Line for StatementRow {
    fn columns(&self) -> String {
        format!(
            "{:<42} p50 {:>8.3} ms  p99 {:>8.3} ms  {} rows of {} calls  {}",
            self.case,
            self.p50_ms,
            self.p99_ms,
            self.rows,
            self.payer_calls,
            verdict(&self.targets, None)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rows_have_the_agreed_fields() {
        let stretch = Stretch::new(vec![2_000, 101_000], Duration::from_secs(1));
        let row = StatementRow::new("sqlite-x".to_owned(), ("sqlite", 2, 10), (5, 3), stretch);
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"bench":"statements","case":"sqlite-x","store":"sqlite","calls":10,"payer_calls":5,"rows":3,"times":2,"p50_ms":2.0,"p99_ms":101.0,"targets":{"p99_ms<=100":false}}"#
        );
    }
}
