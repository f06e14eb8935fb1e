use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::spend::Computed;
use crate::{CallEnding, CallReport, LimitKind, Metering};

/// What one call has used so far, and whether something has ended it. Its task, the body of its
/// answer and its report share it.
#[derive(Default)]
pub(crate) struct Shared {
    cpu_ns: AtomicU64,
    /// Where computing is metered by it.
    fuel: Option<AtomicU64>,
    memory_bytes_peak: AtomicU64,
    response_bytes: AtomicU64,
    inference_ns: AtomicU64,
    /// The last limit that something was refused for.
    refused: Mutex<Option<LimitKind>>,
    budget_refused: AtomicBool,
    stopped: OnceLock<Stopped>,
    stop: Notify,
    completed: AtomicBool,
    task_ended: Notify,
    task_gone: AtomicBool,
}

/// Why a call was ended.
struct Stopped {
    ending: CallEnding,
    detail: Option<String>,
    limit: Option<LimitKind>,
}

impl Shared {
    pub(crate) fn new(metering: Metering) -> Self {
        Self { fuel: (metering == Metering::Fuel).then(AtomicU64::default), ..Self::default() }
    }

    /// Ends the call for this reason, unless it has already ended for another.
    pub(crate) fn stop(&self, ending: CallEnding, detail: Option<String>) {
        self.stop_once(Stopped { ending, detail, limit: None });
    }

    /// The same at a limit.
    pub(crate) fn stop_at(&self, limit: LimitKind, ending: CallEnding, detail: Option<String>) {
        self.stop_once(Stopped { ending, detail, limit: Some(limit) });
    }

    fn stop_once(&self, stopped: Stopped) {
        // The first reason is the true one; what follows is its consequence.
        if self.stopped.set(stopped).is_ok() {
            self.stop.notify_one();
        }
    }

    /// Resolves once when the call was stopped. Only the call's task waits here.
    pub(crate) async fn stopping(&self) {
        self.stop.notified().await;
    }

    pub(crate) fn stopped(&self) -> Option<&CallEnding> {
        self.stopped.get().map(|stopped| &stopped.ending)
    }

    /// The guest returned from its handler.
    pub(crate) fn complete(&self) {
        self.completed.store(true, Ordering::Release);
    }

    pub(crate) fn completed(&self) -> bool {
        self.completed.load(Ordering::Acquire)
    }

    pub(crate) fn end_task(&self) {
        self.task_gone.store(true, Ordering::Release);
        self.task_ended.notify_waiters();
    }

    /// Resolves when the call's task is over.
    pub(crate) async fn task_ended(&self) {
        let ended = self.task_ended.notified();
        if !self.task_gone.load(Ordering::Acquire) {
            ended.await;
        }
    }

    /// Adds CPU time and returns the sum.
    pub(crate) fn add_cpu(&self, used: Duration) -> Duration {
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.cpu_ns.fetch_add(used, Ordering::Relaxed).saturating_add(used))
    }

    /// The sum.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// The fuel that was used so far.
    pub(crate) fn fuel_is(&self, used: u64) {
        if let Some(fuel) = &self.fuel {
            fuel.fetch_max(used, Ordering::Relaxed);
        }
    }

    fn fuel(&self) -> Option<u64> {
        self.fuel.as_ref().map(|fuel| fuel.load(Ordering::Relaxed))
    }

    /// What is paid of computing, after this much CPU time.
    pub(crate) fn computed(&self, cpu: Duration) -> Computed {
        Computed::of(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), self.fuel())
    }

    pub(crate) fn memory_is(&self, bytes: u64) {
        self.memory_bytes_peak.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The guest was told that it has all it may have, and goes on.
    pub(crate) fn refuse(&self, limit: LimitKind) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
    }

    pub(crate) fn refused(&self) -> Option<LimitKind> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refuse_budget(&self) {
        self.budget_refused.store(true, Ordering::Relaxed);
    }

    pub(crate) fn budget_refused(&self) -> bool {
        self.budget_refused.load(Ordering::Relaxed)
    }

    /// The guest has waited for a model.
    pub(crate) fn add_inference(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.inference_ns.fetch_add(waited, Ordering::Relaxed);
    }

    /// Counts bytes of body and returns the sum.
    pub(crate) fn add_response_bytes(&self, bytes: u64) -> u64 {
        self.response_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    pub(crate) fn report(&self) -> CallReport {
        let stopped = self.stopped.get();
        let ending = match stopped {
            Some(stopped) => stopped.ending.clone(),
            None if self.completed() => CallEnding::Normal,
            None => CallEnding::Fault("the call's task was lost".to_owned()),
        };
        CallReport {
            ending,
            detail: stopped.and_then(|stopped| stopped.detail.as_deref()).map(Box::from),
            limit: stopped.and_then(|stopped| stopped.limit).or_else(|| self.refused()),
            cpu_us: self.cpu_ns.load(Ordering::Relaxed) / 1_000,
            fuel: self.fuel().and_then(NonZeroU64::new),
            memory_bytes_peak: self.memory_bytes_peak.load(Ordering::Relaxed),
            response_bytes: self.response_bytes.load(Ordering::Relaxed),
            inference_us: self.inference_ns.load(Ordering::Relaxed) / 1_000,
        }
    }
}

/// CPU time of this thread. A poll runs on one thread from start to end, so the difference
/// around it is what the poll used, whatever else the machine does.
pub(crate) fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}
