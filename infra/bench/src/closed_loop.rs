//! A closed loop of calls inside this process: each lane begins its next call when the last is
//! finished, so a queue never hides latency.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::load::percentile;
use crate::traffic::{Call, Traffic};

/// Something that makes calls.
#[async_trait]
pub(crate) trait Contestant: Send + Sync + 'static {
    /// Who it is, in rows.
    fn name(&self) -> &'static str;

    /// Makes one call, complete and durable. `false` where it did not begin before `end`, or
    /// there is nothing left to do.
    async fn call(&self, call: Call, end: Instant) -> anyhow::Result<bool>;

    /// The bytes of its database, indexes included, once its log is written back.
    async fn database_bytes(&self) -> anyhow::Result<u64>;
}

/// What one stretch gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stretch {
    /// Calls that were finished.
    pub(crate) calls: u64,
    /// Calls per second.
    pub(crate) calls_per_s: f64,
    /// Half of the calls took no longer, in microseconds.
    pub(crate) p50_us: u64,
    /// 99 of 100 calls took no longer, in microseconds.
    pub(crate) p99_us: u64,
}

impl Stretch {
    /// Sums up calls of these durations that took `time` together.
    pub(crate) fn new(mut latencies_us: Vec<u64>, time: Duration) -> Self {
        latencies_us.sort_unstable();
        Self {
            calls: latencies_us.len() as u64,
            calls_per_s: latencies_us.len() as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_us: percentile(&latencies_us, 50),
            p99_us: percentile(&latencies_us, 99),
        }
    }
}

/// How calls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Calls under way at any time.
    pub(crate) in_flight: usize,
    /// Organisations that pay.
    pub(crate) payers: u32,
    /// How long.
    pub(crate) time: Duration,
}

/// Runs the loop. Any failure ends it: a contestant that refuses is fast, and its figure would
/// say nothing.
pub(crate) async fn run(contestant: &Arc<dyn Contestant>, shape: Shape) -> anyhow::Result<Stretch> {
    let mut lanes = JoinSet::new();
    let began = Instant::now();
    for lane in 0..shape.in_flight {
        let contestant = Arc::clone(contestant);
        let traffic = Traffic::new(lane as u64, shape.payers);
        lanes.spawn(call_until(contestant, traffic, began + shape.time));
    }
    let mut latencies_us = Vec::new();
    while let Some(finished) = lanes.join_next().await {
        latencies_us.extend(finished??);
    }
    ensure!(!latencies_us.is_empty(), "{} finished no call", contestant.name());
    Ok(Stretch::new(latencies_us, began.elapsed()))
}

async fn call_until(
    contestant: Arc<dyn Contestant>,
    mut traffic: Traffic,
    end: Instant,
) -> anyhow::Result<Vec<u64>> {
    let mut latencies_us = Vec::new();
    let mut now = Instant::now();
    while now < end && contestant.call(traffic.call(), end).await? {
        let finished = Instant::now();
        latencies_us.push(u64::try_from((finished - now).as_micros()).unwrap_or(u64::MAX));
        now = finished;
    }
    Ok(latencies_us)
}

/// The stretch of the middle rate.
pub(crate) fn median(stretches: &mut [Stretch]) -> Option<Stretch> {
    stretches.sort_by(|a, b| a.calls_per_s.total_cmp(&b.calls_per_s));
    stretches.get(stretches.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Does nothing, so many times.
    struct Countdown(AtomicU64);

    #[async_trait]
    impl Contestant for Countdown {
        fn name(&self) -> &'static str {
            "countdown"
        }

        async fn call(&self, _: Call, _: Instant) -> anyhow::Result<bool> {
            let left =
                self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            Ok(left.is_ok())
        }

        async fn database_bytes(&self) -> anyhow::Result<u64> {
            Ok(0)
        }
    }

    #[tokio::test]
    async fn every_finished_call_counts_once() {
        let shape = Shape { in_flight: 7, payers: 2, time: Duration::from_secs(600) };
        let contestant: Arc<dyn Contestant> = Arc::new(Countdown(AtomicU64::new(1_000)));
        assert_eq!(run(&contestant, shape).await.unwrap().calls, 1_000);
        let error = run(&contestant, shape).await.unwrap_err();
        assert_eq!(error.to_string(), "countdown finished no call");
    }

    #[test]
    fn the_middle_round_counts() {
        let stretch = |calls: u64| Stretch::new(vec![5; calls as usize], Duration::from_secs(1));
        let mut three = [stretch(3), stretch(1), stretch(2)];
        assert_eq!(median(&mut three), Some(stretch(2)));
        assert_eq!(median(&mut []), None);
    }
}
