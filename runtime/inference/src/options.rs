//! The engine's limits.

use std::time::Duration;

/// Limits of an engine. Every one has a default that suits one machine with a few gigabytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceOptions {
    /// Threads that one forward pass may use.
    pub threads: usize,
    /// Most sessions open at once, over all models.
    pub sessions_max: usize,
    /// Most tasks waiting for one model.
    pub queue_max: usize,
    /// Most sequences in one model's batch.
    pub batch_max: usize,
    /// Most tokens whose keys and values one model keeps. Memory is taken as it is used.
    pub kv_tokens_max: usize,
    /// Most prompt tokens computed in one step, so that a long prompt does not hold up others.
    pub prefill_tokens_max: usize,
    /// Most events that wait for a session's client before its sequence is parked.
    pub stream_events_max: usize,
    /// Most bytes of text in one task.
    pub text_bytes_max: usize,
    /// Most texts in one embedding task.
    pub texts_max: usize,
    /// `max_tokens` where the caller gives none.
    pub output_tokens_default: u32,
    /// Size of the largest weight file or folder that is loaded.
    pub model_bytes_max: u64,
    /// A session without a call for this long is closed.
    pub session_idle_max: Duration,
}

impl Default for InferenceOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            sessions_max: 4_096,
            queue_max: 1_024,
            batch_max: 64,
            kv_tokens_max: 16_384,
            prefill_tokens_max: 64,
            stream_events_max: 64,
            text_bytes_max: 4 << 20,
            texts_max: 2_048,
            output_tokens_default: 256,
            model_bytes_max: 16 << 30,
            session_idle_max: Duration::from_secs(300),
        }
    }
}
