use serde::Deserialize;

use crate::InferenceError;
use crate::formats::gguf::Metadata;
use crate::formats::hf::Folder;

/// A Llama network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LlamaConfig {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dims: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) rope_theta: f64,
    pub(crate) rope_scaling: RopeScaling,
    /// The output layer is the embedding.
    pub(crate) tied: bool,
}

/// How rotary frequencies are stretched for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RopeScaling {
    None,
    /// All divided by a factor.
    Linear(f64),
    /// Llama 3.1: low frequencies divided, high kept, a ramp between.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_context: f64,
    },
    /// GGUF's `rope_freqs.weight`: each frequency has a divisor of its own.
    Divisors(Vec<f32>),
}

/// A BERT encoder with its pooling.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BertConfig {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    pub(crate) types: usize,
    pub(crate) norm_epsilon: f64,
    /// Most tokens of one text, as the model was trained or configured.
    pub(crate) tokens_max: usize,
    pub(crate) pooling: Pooling,
    pub(crate) normalise: bool,
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
}

// Far above any real model, and far below what would overflow a product of two.
const LAYERS_MAX: u64 = 1_024;
const WIDTH_MAX: u64 = 1 << 20;
/// Values of a head: the rope table has as many for every position.
const HEAD_DIMS_MAX: usize = 1024;
/// Values of all key heads: the cache has as many for every token and layer.
const KV_WIDTH_MAX: usize = 16_384;
const VOCABULARY_MAX: u64 = 1 << 21;
const CONTEXT_MAX: u64 = 1 << 24;

/// Gives a named number in `1..=max`, or says what is wrong with it.
fn within(value: Option<u64>, max: u64) -> Result<usize, String> {
    match value {
        None => Err("is missing".to_owned()),
        Some(0) => Err("is zero".to_owned()),
        Some(value) if value > max => Err(format!("is {value}, more than {max}")),
        Some(value) => Ok(value as usize),
    }
}

impl LlamaConfig {
    pub(crate) fn from_gguf(
        metadata: &Metadata,
        vocabulary: usize,
        tied: bool,
        divisors: Option<Vec<f32>>,
    ) -> Result<Self, InferenceError> {
        let number = |key: &str, default: Option<u64>, max: u64| {
            let key = format!("llama.{key}");
            let value = metadata.count(&key)?.or(default);
            within(value, max).map_err(|reason| metadata.bad(&key, reason))
        };
        let float = |key: &str| metadata.float(&format!("llama.{key}"));
        let hidden = number("embedding_length", None, WIDTH_MAX)?;
        let heads = number("attention.head_count", None, WIDTH_MAX)?;
        let kv_heads = number("attention.head_count_kv", Some(heads as u64), WIDTH_MAX)?;
        let head_dims = (hidden / heads) as u64;
        let head_dims = number("attention.key_length", Some(head_dims), WIDTH_MAX)?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            if number(key, Some(head_dims as u64), WIDTH_MAX)? != head_dims {
                let reason = format!("differs from the head's {head_dims}, which is not supported");
                return Err(metadata.bad(&format!("llama.{key}"), reason));
            }
        }
        if metadata.count("llama.expert_count")?.unwrap_or(0) > 0 {
            return Err(metadata.bad("llama.expert_count", "mixtures of experts are not supported"));
        }
        let scaling = metadata.text("llama.rope.scaling.type")?;
        let rope_scaling = match (scaling, divisors) {
            (None | Some("none"), Some(divisors)) => RopeScaling::Divisors(divisors),
            (None | Some("none"), None) => RopeScaling::None,
            (Some("linear"), None) => {
                RopeScaling::Linear(float("rope.scaling.factor")?.unwrap_or(1.0))
            }
            (Some(other), _) => {
                let reason = format!("`{other}` is not supported");
                return Err(metadata.bad("llama.rope.scaling.type", reason));
            }
        };
        let config = Self {
            layers: number("block_count", None, LAYERS_MAX)?,
            hidden,
            heads,
            kv_heads,
            head_dims,
            feed_forward: number("feed_forward_length", None, WIDTH_MAX)?,
            vocabulary,
            context: number("context_length", None, CONTEXT_MAX)?,
            norm_epsilon: float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32,
            rope_theta: float("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling,
            tied,
        };
        config.check().map_err(|(field, reason)| metadata.bad(field, reason))?;
        Ok(config)
    }

    pub(crate) fn from_hf(folder: &Folder) -> Result<Self, InferenceError> {
        let json: LlamaJson = folder.required("config.json")?;
        let bad = |field: &str, reason: String| {
            folder.bad("config.json", format_args!("`{field}`: {reason}"))
        };
        let number = |field: &str, value: Option<u64>, max: u64| {
            within(value, max).map_err(|reason| bad(field, reason))
        };
        for (field, unsupported) in [
            ("attention_bias", json.attention_bias),
            ("mlp_bias", json.mlp_bias),
            ("hidden_act", json.hidden_act.as_deref().is_some_and(|a| a != "silu")),
            ("sliding_window", json.sliding_window.is_some()),
        ] {
            if unsupported {
                return Err(bad(field, "its value is not supported".to_owned()));
            }
        }
        let hidden = number("hidden_size", json.hidden_size, WIDTH_MAX)?;
        let heads = number("num_attention_heads", json.num_attention_heads, WIDTH_MAX)?;
        let kv_heads = json.num_key_value_heads.or(json.num_attention_heads);
        let head_dims = json.head_dim.or(Some((hidden / heads) as u64));
        let config = Self {
            layers: number("num_hidden_layers", json.num_hidden_layers, LAYERS_MAX)?,
            hidden,
            heads,
            kv_heads: number("num_key_value_heads", kv_heads, WIDTH_MAX)?,
            head_dims: number("head_dim", head_dims, WIDTH_MAX)?,
            feed_forward: number("intermediate_size", json.intermediate_size, WIDTH_MAX)?,
            vocabulary: number("vocab_size", json.vocab_size, VOCABULARY_MAX)?,
            context: number("max_position_embeddings", json.max_position_embeddings, CONTEXT_MAX)?,
            norm_epsilon: json.rms_norm_eps.unwrap_or(1e-6) as f32,
            rope_theta: json.rope().and_then(|r| r.rope_theta).or(json.rope_theta).unwrap_or(1e4),
            rope_scaling: json.scaling().map_err(|reason| bad("rope_scaling", reason))?,
            tied: json.tie_word_embeddings.unwrap_or(false),
        };
        config.check().map_err(|(field, reason)| bad(field, reason))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let heads = self.heads * self.head_dims;
        if self.heads as u64 * self.head_dims as u64 > WIDTH_MAX {
            return Err(("heads", format!("{heads} values in all heads are too many")));
        }
        if self.head_dims > HEAD_DIMS_MAX || self.kv_heads * self.head_dims > KV_WIDTH_MAX {
            let reason = format!("{} heads of {} are too large", self.kv_heads, self.head_dims);
            return Err(("key and value heads", reason));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!("{} heads do not share {} evenly", self.heads, self.kv_heads);
            return Err(("key and value heads", reason));
        }
        if !self.head_dims.is_multiple_of(2) {
            return Err(("head size", format!("{} is odd", self.head_dims)));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.rope_theta) || !positive(f64::from(self.norm_epsilon)) {
            return Err(("rope base or norm epsilon", "is not positive".to_owned()));
        }
        if matches!(self.rope_scaling, RopeScaling::Linear(factor) if !positive(factor)) {
            return Err(("rope scaling factor", "is not positive".to_owned()));
        }
        Ok(())
    }

    /// Rotary frequencies of a head, `[head_dims / 2]`, in radians for each position.
    pub(crate) fn frequencies(&self) -> Vec<f64> {
        let dims = self.head_dims as f64;
        let plain = (0..self.head_dims / 2).map(|i| self.rope_theta.powf(-2.0 * i as f64 / dims));
        match &self.rope_scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear(factor) => plain.map(|f| f / factor).collect(),
            RopeScaling::Divisors(divisors) => {
                plain.zip(divisors).map(|(f, d)| f / f64::from(*d)).collect()
            }
            RopeScaling::Llama3 { factor, low, high, original_context } => plain
                .map(|f| {
                    let turns = original_context * f / std::f64::consts::TAU;
                    let ramp = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - ramp) * f / factor + ramp * f
                })
                .collect(),
        }
    }
}

#[derive(Deserialize)]
struct LlamaJson {
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    intermediate_size: Option<u64>,
    vocab_size: Option<u64>,
    max_position_embeddings: Option<u64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeJson>,
    /// The newer name of `rope_scaling`.
    rope_parameters: Option<RopeJson>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    sliding_window: Option<u64>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

#[derive(Deserialize)]
struct RopeJson {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

impl LlamaJson {
    fn rope(&self) -> Option<&RopeJson> {
        self.rope_parameters.as_ref().or(self.rope_scaling.as_ref())
    }

    fn scaling(&self) -> Result<RopeScaling, String> {
        let Some(rope) = self.rope() else { return Ok(RopeScaling::None) };
        let need = |name: &str, value: Option<f64>| match value {
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            _ => Err(format!("`{name}` is not a positive number")),
        };
        match rope.rope_type.as_deref() {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear(need("factor", rope.factor)?)),
            Some("llama3") => {
                let low = need("low_freq_factor", rope.low_freq_factor)?;
                let high = need("high_freq_factor", rope.high_freq_factor)?;
                if high <= low {
                    return Err("`high_freq_factor` is not above `low_freq_factor`".to_owned());
                }
                let original = rope.original_max_position_embeddings;
                Ok(RopeScaling::Llama3 {
                    factor: need("factor", rope.factor)?,
                    low,
                    high,
                    original_context: need("original_max_position_embeddings", original)?,
                })
            }
            Some(other) => Err(format!("`{other}` is not supported")),
        }
    }
}

#[derive(Deserialize)]
struct BertJson {
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    intermediate_size: Option<u64>,
    vocab_size: Option<u64>,
    max_position_embeddings: Option<u64>,
    type_vocab_size: Option<u64>,
    layer_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
}

#[derive(Deserialize)]
struct ModuleJson {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct SentenceJson {
    max_seq_length: Option<u64>,
}

impl BertConfig {
    pub(crate) fn from_hf(folder: &Folder) -> Result<Self, InferenceError> {
        let json: BertJson = folder.required("config.json")?;
        let number = |field: &str, value: Option<u64>, max: u64| {
            within(value, max)
                .map_err(|reason| folder.bad("config.json", format_args!("`{field}`: {reason}")))
        };
        let odd = |value: &Option<String>, only: &str| value.as_deref().is_some_and(|v| v != only);
        if odd(&json.hidden_act, "gelu") || odd(&json.position_embedding_type, "absolute") {
            let reason = "only `gelu` and absolute positions are supported";
            return Err(folder.bad("config.json", reason));
        }
        let hidden = number("hidden_size", json.hidden_size, WIDTH_MAX)?;
        let heads = number("num_attention_heads", json.num_attention_heads, WIDTH_MAX)?;
        if !hidden.is_multiple_of(heads) {
            return Err(folder.bad("config.json", "the heads do not share `hidden_size` evenly"));
        }
        let positions =
            number("max_position_embeddings", json.max_position_embeddings, CONTEXT_MAX)?;
        let sentence: Option<SentenceJson> = folder.json("sentence_bert_config.json")?;
        let tokens_max = sentence.and_then(|s| s.max_seq_length).unwrap_or(positions as u64);
        let (pooling, normalise) = pooling(folder)?;
        Ok(Self {
            layers: number("num_hidden_layers", json.num_hidden_layers, LAYERS_MAX)?,
            hidden,
            heads,
            feed_forward: number("intermediate_size", json.intermediate_size, WIDTH_MAX)?,
            vocabulary: number("vocab_size", json.vocab_size, VOCABULARY_MAX)?,
            positions,
            types: number("type_vocab_size", json.type_vocab_size.or(Some(2)), WIDTH_MAX)?,
            norm_epsilon: json.layer_norm_eps.unwrap_or(1e-12),
            tokens_max: positions.min(tokens_max as usize).max(1),
            pooling,
            normalise,
        })
    }
}

/// What sentence-transformers does after the encoder; without its files the mean is taken.
fn pooling(folder: &Folder) -> Result<(Pooling, bool), InferenceError> {
    let Some(modules) = folder.json::<Vec<ModuleJson>>("modules.json")? else {
        return Ok((Pooling::Mean, false));
    };
    let mut normalise = false;
    for module in &modules {
        match module.kind.rsplit('.').next() {
            Some("Transformer" | "Pooling") => {}
            Some("Normalize") => normalise = true,
            _ => {
                let reason = format!("`{}` is not supported", module.kind);
                return Err(folder.bad("modules.json", reason));
            }
        }
    }
    const FILE: &str = "1_Pooling/config.json";
    let modes: serde_json::Map<String, serde_json::Value> = folder.required(FILE)?;
    let on: Vec<&str> = modes
        .iter()
        .filter(|(name, value)| name.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match on[..] {
        ["pooling_mode_mean_tokens"] => Ok((Pooling::Mean, normalise)),
        ["pooling_mode_cls_token"] => Ok((Pooling::First, normalise)),
        _ => Err(folder.bad(FILE, format!("{on:?} is not supported"))),
    }
}

#[cfg(test)]
mod tests;
