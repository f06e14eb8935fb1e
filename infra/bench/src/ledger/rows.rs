//! The rows of the ledger's benchmark, and what they have to reach.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::closed_loop::Stretch;
use crate::row::{Line, ratio, round};
use crate::slow_disk::refusal;

/// Complete calls per second that the embedded ledger has to reach at [`TARGET_IN_FLIGHT`].
const CALLS_PER_S_MIN: f64 = 25_000.0;
/// Milliseconds that 99 of 100 of those calls may take at most.
const P99_MS_MAX: f64 = 30.0;
/// Bytes of the embedded ledger's database that a call may take at most, indexes included.
const BYTES_PER_CALL_MAX: u64 = 600;
/// Calls under way where rate and latency are judged.
const TARGET_IN_FLIGHT: usize = 512;
/// Captures per second that the ledger on PostgreSQL has to reach.
const CAPTURES_PER_S_MIN: f64 = 20_000.0;

/// Under which conditions a row was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    /// Where the data is kept: `sqlite` or `postgres`.
    pub(crate) store: &'static str,
    /// Calls under way at any time.
    pub(crate) in_flight: usize,
    /// Organisations that pay.
    pub(crate) payers: u32,
    /// Rounds, of which the median counts.
    pub(crate) rounds: u32,
    /// The median of what a sync of the data's disk took, in microseconds.
    pub(crate) fsync_p50_us: u64,
    /// The least that a sync took, where the disk is simulated.
    pub(crate) sync_delayed_to_us: Option<u64>,
}

/// What one contestant did in the median round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Who.
    pub(crate) name: &'static str,
    /// How fast.
    pub(crate) stretch: Stretch,
    /// Bytes of the database per call, over all rounds.
    pub(crate) bytes_per_call: u64,
}

/// Complete calls: ours beside one peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LedgerRow {
    bench: &'static str,
    case: String,
    store: &'static str,
    in_flight: usize,
    payers: u32,
    rounds: u32,
    calls_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    bytes_per_call: u64,
    peer_name: &'static str,
    peer_calls_per_s: f64,
    peer_p50_ms: f64,
    peer_p99_ms: f64,
    peer_bytes_per_call: u64,
    /// Above 1 means that ours is faster.
    ratio: f64,
    fsync_p50_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_delayed_to_us: Option<u64>,
    /// What had to be reached, and whether it was.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    targets: BTreeMap<String, bool>,
    /// Why the row gets no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl LedgerRow {
    pub(crate) fn new(conditions: Conditions, ours: Figures, peer: Figures) -> Self {
        let Conditions { store, in_flight, payers, .. } = conditions;
        let wallets = if payers == 1 { "one-wallet" } else { "many-wallets" };
        let refused = refusal(conditions.fsync_p50_us);
        let (calls_per_s, p99_ms) = (ours.stretch.calls_per_s, milliseconds(ours.stretch.p99_us));
        let mut targets = BTreeMap::new();
        if refused.is_none() && store == "sqlite" {
            let bytes = ours.bytes_per_call <= BYTES_PER_CALL_MAX;
            targets.insert(format!("bytes_per_call<={BYTES_PER_CALL_MAX}"), bytes);
            if in_flight == TARGET_IN_FLIGHT {
                let (fast, prompt) = (calls_per_s >= CALLS_PER_S_MIN, p99_ms <= P99_MS_MAX);
                targets.insert(format!("calls_per_s>={CALLS_PER_S_MIN}"), fast);
                targets.insert(format!("p99_ms<={P99_MS_MAX}"), prompt);
            }
        }
        Self {
            bench: "ledger",
            case: format!("{store}-c{in_flight}-{wallets}"),
            store,
            in_flight,
            payers,
            rounds: conditions.rounds,
            calls_per_s: round(calls_per_s, 1),
            p50_ms: milliseconds(ours.stretch.p50_us),
            p99_ms,
            bytes_per_call: ours.bytes_per_call,
            peer_name: peer.name,
            peer_calls_per_s: round(peer.stretch.calls_per_s, 1),
            peer_p50_ms: milliseconds(peer.stretch.p50_us),
            peer_p99_ms: milliseconds(peer.stretch.p99_us),
            peer_bytes_per_call: peer.bytes_per_call,
            ratio: ratio(calls_per_s, peer.stretch.calls_per_s),
            fsync_p50_us: conditions.fsync_p50_us,
            sync_delayed_to_us: conditions.sync_delayed_to_us,
            targets,
            refused,
        }
    }
}

impl Line for LedgerRow {
    fn columns(&self) -> String {
        format!(
            "{:<26} {:>9.1} calls/s  p50 {:>8.3} ms  p99 {:>8.3} ms  {:>4} B/call  ratio {:>7.3}  \
             {}: {:.1} calls/s  p99 {:.3} ms  {} B/call  {}",
            self.case,
            self.calls_per_s,
            self.p50_ms,
            self.p99_ms,
            self.bytes_per_call,
            self.ratio,
            self.peer_name,
            self.peer_calls_per_s,
            self.peer_p99_ms,
            self.peer_bytes_per_call,
            disk(
                self.fsync_p50_us,
                self.sync_delayed_to_us,
                &verdict(&self.targets, self.refused.as_deref())
            ),
        )
    }
}

/// Captures alone, on PostgreSQL, of holds that were there before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CapturesRow {
    bench: &'static str,
    case: String,
    store: &'static str,
    in_flight: usize,
    payers: u32,
    rounds: u32,
    captures_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Its transaction is a whole charge, so its calls are its captures.
    peer_name: &'static str,
    peer_captures_per_s: f64,
    ratio: f64,
    fsync_p50_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_delayed_to_us: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    targets: BTreeMap<String, bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl CapturesRow {
    pub(crate) fn new(
        conditions: Conditions,
        ours: Stretch,
        peer: (&'static str, Stretch),
    ) -> Self {
        let Conditions { store, in_flight, payers, .. } = conditions;
        let (peer_name, peer) = peer;
        let refused = refusal(conditions.fsync_p50_us);
        let mut targets = BTreeMap::new();
        if refused.is_none() {
            let fast = ours.calls_per_s >= CAPTURES_PER_S_MIN;
            targets.insert(format!("captures_per_s>={CAPTURES_PER_S_MIN}"), fast);
        }
        Self {
            bench: "ledger",
            case: format!("{store}-captures-c{in_flight}"),
            store,
            in_flight,
            payers,
            rounds: conditions.rounds,
            captures_per_s: round(ours.calls_per_s, 1),
            p50_ms: milliseconds(ours.p50_us),
            p99_ms: milliseconds(ours.p99_us),
            peer_name,
            peer_captures_per_s: round(peer.calls_per_s, 1),
            ratio: ratio(ours.calls_per_s, peer.calls_per_s),
            fsync_p50_us: conditions.fsync_p50_us,
            sync_delayed_to_us: conditions.sync_delayed_to_us,
            targets,
            refused,
        }
    }
}

impl Line for CapturesRow {
    fn columns(&self) -> String {
        format!(
            "{:<26} {:>9.1} captures/s  p50 {:>8.3} ms  p99 {:>8.3} ms  ratio {:>7.3}  {}: {:.1} \
             captures/s  {}",
            self.case,
            self.captures_per_s,
            self.p50_ms,
            self.p99_ms,
            self.ratio,
            self.peer_name,
            self.peer_captures_per_s,
            disk(
                self.fsync_p50_us,
                self.sync_delayed_to_us,
                &verdict(&self.targets, self.refused.as_deref())
            ),
        )
    }
}

/// What a disk is, and what follows for the row, for people.
pub(crate) fn disk(fsync_p50_us: u64, delayed_to_us: Option<u64>, verdict: &str) -> String {
    let simulated = delayed_to_us.map_or(String::new(), |us| format!(" (simulated: {us})"));
    format!("fsync_p50_us={fsync_p50_us}{simulated}  {verdict}")
}

/// The targets and whether they were met, for people.
pub(crate) fn verdict(targets: &BTreeMap<String, bool>, refused: Option<&str>) -> String {
    if let Some(reason) = refused {
        return format!("REFUSED: {reason}");
    }
    let said: Vec<String> = targets
        .iter()
        .map(|(target, met)| format!("{} {target}", if *met { "met" } else { "MISSED" }))
        .collect();
    said.join(", ")
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(store: &'static str, in_flight: usize, fsync_p50_us: u64) -> Conditions {
        let sync_delayed_to_us = (fsync_p50_us >= 4_000).then_some(4_000);
        Conditions { store, in_flight, payers: 64, rounds: 3, fsync_p50_us, sync_delayed_to_us }
    }

    fn figures(name: &'static str, calls_per_s: f64, p99_us: u64, bytes: u64) -> Figures {
        let stretch = Stretch { calls: 100, calls_per_s, p50_us: 10_000, p99_us };
        Figures { name, stretch, bytes_per_call: bytes }
    }

    #[test]
    fn rows_have_the_agreed_fields() {
        let ours = figures("emberbox", 30_000.04, 25_500, 590);
        let row =
            LedgerRow::new(conditions("sqlite", 512, 4_080), ours, figures("p", 240.0, 9, 400));
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"bench":"ledger","case":"sqlite-c512-many-wallets","store":"sqlite","in_flight":512,"payers":64,"rounds":3,"calls_per_s":30000.0,"p50_ms":10.0,"p99_ms":25.5,"bytes_per_call":590,"peer_name":"p","peer_calls_per_s":240.0,"peer_p50_ms":10.0,"peer_p99_ms":0.009,"peer_bytes_per_call":400,"ratio":125.0,"fsync_p50_us":4080,"sync_delayed_to_us":4000,"targets":{"bytes_per_call<=600":true,"calls_per_s>=25000":true,"p99_ms<=30":true}}"#
        );
    }

    #[test]
    fn a_row_is_judged_by_its_targets_and_only_on_a_disk() {
        let slow = figures("emberbox", 24_999.0, 30_001, 601);
        let missed = "MISSED bytes_per_call<=600, MISSED calls_per_s>=25000, MISSED p99_ms<=30";
        for (conditions, expect) in [
            (conditions("sqlite", 512, 191), "REFUSED: not a real disk: fsync_p50_us=191"),
            (conditions("sqlite", 512, 500), missed),
            (conditions("sqlite", 64, 500), "MISSED bytes_per_call<=600"),
            (conditions("postgres", 512, 500), ""),
        ] {
            let row = LedgerRow::new(conditions, slow, figures("p", 1.0, 1, 1));
            assert_eq!(verdict(&row.targets, row.refused.as_deref()), expect, "{conditions:?}");
            assert!(row.calls_per_s > 24_000.0, "a refused row shows its figures");
        }
    }

    #[test]
    fn captures_are_judged_alone() {
        for (captures_per_s, expect) in
            [(20_000.0, "met captures_per_s>=20000"), (19_999.0, "MISSED captures_per_s>=20000")]
        {
            let ours = figures("emberbox", captures_per_s, 1, 1).stretch;
            let row = CapturesRow::new(conditions("postgres", 2_048, 4_000), ours, ("p", ours));
            assert_eq!(verdict(&row.targets, row.refused.as_deref()), expect);
            assert!((row.ratio - 1.0).abs() < f64::EPSILON);
        }
    }
}
