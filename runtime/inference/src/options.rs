//! The engine's limits.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use emberbox_kernels::attention::CacheKind;

use crate::{Device, InferenceError};

/// Keeps positions and blocks far inside 32 bits.
const KV_TOKENS_LIMIT: usize = 1 << 24;

/// How the keys and values of sequences are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvStorage {
    /// Exact, 4 bytes a value.
    F32,
    /// 2 bytes a value, a relative error of 5e-4.
    #[default]
    F16,
    /// 8.5 bits a value: integers of 8 bits, with a scale for each 32.
    Q8,
}

/// How the linear layers of encoders are kept in memory, on the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncoderWeights {
    /// As in their file.
    #[default]
    Stored,
    /// Rounded to 8 bits, a scale for each 128 of a row: two thirds of the time and a quarter of the
    /// memory of f32, and vectors whose cosine to the exact ones is 0.999 and more.
    Int8,
}

impl FromStr for EncoderWeights {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "stored" => Ok(Self::Stored),
            "int8" => Ok(Self::Int8),
            _ => Err("expected \"stored\" or \"int8\""),
        }
    }
}

impl fmt::Display for EncoderWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "stored",
            Self::Int8 => "int8",
        })
    }
}

impl From<KvStorage> for CacheKind {
    fn from(storage: KvStorage) -> Self {
        match storage {
            KvStorage::F32 => Self::F32,
            KvStorage::F16 => Self::F16,
            KvStorage::Q8 => Self::Q8_0,
        }
    }
}

/// Limits of an engine. Every one has a default that suits one machine with a few gigabytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceOptions {
    /// What all models run on.
    pub device: Device,
    /// How encoders are kept; on other devices than the processor their weights are F32.
    pub encoder_weights: EncoderWeights,
    /// Threads that one forward pass may use, the model's own among them; all models share the
    /// others. burn's own operations, which embedding models are made of, share one pool of all
    /// cores.
    pub threads: usize,
    /// Most sessions open at once, over all models.
    pub sessions_max: usize,
    /// Most sessions that one payer has open at once.
    pub sessions_payer_max: usize,
    /// Most tasks waiting for one model.
    pub queue_max: usize,
    /// Most tokens, of prompts and outputs, of the tasks that wait for one model.
    pub queue_tokens_max: usize,
    /// Most tasks of one payer waiting for one model.
    pub queue_payer_max: usize,
    /// Most tokens of one payer's tasks that wait for one model.
    pub queue_payer_tokens_max: usize,
    /// Most sequences in one model's batch.
    pub batch_max: usize,
    /// Most tokens whose keys and values one model keeps. Memory is taken as it is used.
    pub kv_tokens_max: usize,
    /// How keys and values are kept; on other devices than the processor they are F32.
    pub kv_storage: KvStorage,
    /// Most prompt tokens computed in one step, so that a long prompt does not hold up others. How
    /// many it is follows from `inter_token_target`; it is at least 16, if this is not less.
    pub prefill_tokens_max: usize,
    /// The time from one token of a sequence to its next that prompts may stretch a step to. Zero
    /// is no target: then steps are bounded by `prefill_tokens_max` alone.
    pub inter_token_target: Duration,
    /// Drafts tokens that an earlier part of the text suggests, and computes them together, where
    /// that is faster. What is generated is the same with and without.
    pub speculation: bool,
    /// Most events that wait for a session's client before its sequence is parked.
    pub stream_events_max: usize,
    /// Most bytes of text in one task.
    pub text_bytes_max: usize,
    /// Most texts in one embedding task.
    pub texts_max: usize,
    /// Most floating-point operations of one run of a graph. A run whose shapes depend on data is
    /// planned, and paid for in advance, as if it took so many.
    pub graph_operations_max: u64,
    /// Most bytes of the values of one run of a graph.
    pub graph_bytes_max: u64,
    /// `max_tokens` where the caller gives none.
    pub output_tokens_default: u32,
    /// Size of the largest weight file or folder that is loaded.
    pub model_bytes_max: u64,
    /// Size of the weights, as they are in their files, of all models that are loaded at once. On
    /// other devices than the processor they become F32, and take up to eight times as much there.
    pub memory_bytes_max: u64,
    /// Most models that were brought, and are known by their bytes.
    pub brought_max: usize,
    /// Most bytes of those models together, beside their weights in memory.
    pub brought_bytes_max: u64,
    /// Most tasks that wait for models to be loaded.
    pub load_waiting_max: usize,
    /// How long a task waits at most for its model to be loaded.
    pub load_wait_max: Duration,
    /// After a failure a model is not loaded again for this long; each further failure doubles it,
    /// up to 64 times. The first time that a model's thread dies does not count.
    pub load_retry_after: Duration,
    /// A session without a call for this long is closed.
    pub session_idle_max: Duration,
}

impl Default for InferenceOptions {
    fn default() -> Self {
        Self {
            device: Device::default(),
            encoder_weights: EncoderWeights::default(),
            threads: 1,
            sessions_max: 4_096,
            sessions_payer_max: 2_048,
            queue_max: 1_024,
            queue_tokens_max: 1 << 18,
            queue_payer_max: 512,
            queue_payer_tokens_max: 1 << 17,
            batch_max: 64,
            kv_tokens_max: 16_384,
            kv_storage: KvStorage::default(),
            prefill_tokens_max: 512,
            inter_token_target: Duration::from_millis(100),
            speculation: true,
            stream_events_max: 64,
            text_bytes_max: 1 << 20,
            texts_max: 2_048,
            graph_operations_max: 1_000_000_000_000,
            graph_bytes_max: 2 << 30,
            output_tokens_default: 256,
            model_bytes_max: 16 << 30,
            memory_bytes_max: 16 << 30,
            brought_max: 64,
            brought_bytes_max: 512 << 20,
            load_waiting_max: 1_024,
            load_wait_max: Duration::from_secs(120),
            load_retry_after: Duration::from_secs(1),
            session_idle_max: Duration::from_secs(300),
        }
    }
}

impl InferenceOptions {
    /// Refuses limits that would let nothing through.
    pub(crate) fn check(&self) -> Result<(), InferenceError> {
        let limits = [
            ("threads", self.threads),
            ("sessions_max", self.sessions_max),
            ("sessions_payer_max", self.sessions_payer_max),
            ("queue_max", self.queue_max),
            ("queue_tokens_max", self.queue_tokens_max),
            ("queue_payer_max", self.queue_payer_max),
            ("queue_payer_tokens_max", self.queue_payer_tokens_max),
            ("batch_max", self.batch_max),
            ("prefill_tokens_max", self.prefill_tokens_max),
            ("stream_events_max", self.stream_events_max),
            ("text_bytes_max", self.text_bytes_max),
            ("texts_max", self.texts_max),
            ("output_tokens_default", self.output_tokens_default as usize),
            ("brought_max", self.brought_max),
            ("load_waiting_max", self.load_waiting_max),
        ];
        if let Some((field, _)) = limits.into_iter().find(|(_, value)| *value == 0) {
            return Err(InferenceError::invalid(field, "must be at least 1"));
        }
        // Two tokens: one of the prompt, one of the output.
        if !(2..=KV_TOKENS_LIMIT).contains(&self.kv_tokens_max) {
            let reason = format!("must be from 2 to {KV_TOKENS_LIMIT}");
            return Err(InferenceError::invalid("kv_tokens_max", reason));
        }
        Ok(())
    }
}
