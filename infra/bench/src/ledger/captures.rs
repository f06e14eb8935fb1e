//! Captures alone: the holds are there before the clock starts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use emberbox_billing::CallId;

use crate::closed_loop::{Contestant, Shape, Stretch, run};
use crate::ours::{Ours, capture_request};
use crate::traffic::Call;

/// Longer than any number of holds and captures takes: they end when none is left.
const UNTIL_NONE_IS_LEFT: Duration = Duration::from_secs(3_600);

/// Calls that were held and wait for their capture.
type Held = Arc<Mutex<VecDeque<(CallId, Call)>>>;

/// Holds so many calls, then captures all of them, and tells how fast the captures were.
pub(crate) async fn measure(ours: &Arc<Ours>, calls: u64, shape: Shape) -> anyhow::Result<Stretch> {
    let shape = Shape { time: UNTIL_NONE_IS_LEFT, ..shape };
    let held = Held::default();
    let holds =
        Holds { ours: Arc::clone(ours), left: AtomicU64::new(calls), held: Arc::clone(&held) };
    let holds: Arc<dyn Contestant> = Arc::new(holds);
    run(&holds, shape).await?;
    let captures: Arc<dyn Contestant> = Arc::new(Captures { ours: Arc::clone(ours), held });
    run(&captures, shape).await
}

struct Holds {
    ours: Arc<Ours>,
    left: AtomicU64,
    held: Held,
}

#[async_trait]
impl Contestant for Holds {
    fn name(&self) -> &'static str {
        "emberbox"
    }

    async fn call(&self, call: Call, _: Instant) -> anyhow::Result<bool> {
        let left =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_err() {
            return Ok(false);
        }
        let id = CallId::generate();
        let mut hold = self.ours.billing.hold(self.ours.hold_request(id, call)).await?;
        hold.durable().await?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push_back((id, call));
        Ok(true)
    }

    async fn database_bytes(&self) -> anyhow::Result<u64> {
        self.ours.database_bytes().await
    }
}

struct Captures {
    ours: Arc<Ours>,
    held: Held,
}

#[async_trait]
impl Contestant for Captures {
    fn name(&self) -> &'static str {
        "emberbox"
    }

    async fn call(&self, _: Call, _: Instant) -> anyhow::Result<bool> {
        let next = self.held.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((id, call)) = next else { return Ok(false) };
        self.ours.billing.capture(capture_request(id, call)).await?;
        Ok(true)
    }

    async fn database_bytes(&self) -> anyhow::Result<u64> {
        self.ours.database_bytes().await
    }
}
