use super::{
    Biases, CONTEXT_MAX, DecoderConfig, EXPERTS_MAX, Experts, LAYERS_MAX, LayerConfig, Rope,
    RopeScaling, WIDTH_MAX, within,
};
use crate::InferenceError;
use crate::formats::gguf::{Metadata, Value};
use crate::formats::weights::Weights;
use crate::models::families::{Family, Naming, Part, Quirk, has_bias};

const DIVISORS: &str = "rope_freqs.weight";
const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

/// Looks up the keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    family: Family,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.family.name())
    }

    fn bad(&self, key: &str, reason: impl std::fmt::Display) -> InferenceError {
        self.metadata.bad(&self.key(key), reason)
    }

    /// A number in `1..=max`.
    fn number(&self, key: &str, default: Option<usize>, max: u64) -> Result<usize, InferenceError> {
        let value = self.metadata.count(&self.key(key))?.or(default.map(|d| d as u64));
        within(value, max).map_err(|reason| self.bad(key, reason))
    }

    /// A number that may be absent or zero, which is the same.
    fn optional(&self, key: &str, max: u64) -> Result<Option<usize>, InferenceError> {
        let value = self.metadata.count(&self.key(key))?.filter(|value| *value > 0);
        value.map(|v| within(Some(v), max)).transpose().map_err(|reason| self.bad(key, reason))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, InferenceError> {
        self.metadata.float(&self.key(key))
    }
}

impl DecoderConfig {
    /// A GGUF file's decoder, with `vocabulary` tokens.
    pub(crate) fn from_gguf(
        metadata: &Metadata,
        weights: &Weights,
        vocabulary: usize,
    ) -> Result<Self, InferenceError> {
        const ARCHITECTURE: &str = "general.architecture";
        let name = metadata.text(ARCHITECTURE)?;
        let name = name.ok_or_else(|| metadata.bad(ARCHITECTURE, "is missing"))?;
        let Some(family) = Family::of_gguf(name) else {
            return Err(metadata.bad(ARCHITECTURE, format!("`{name}` is not supported")));
        };
        let keys = Keys { metadata, family };
        let hidden = keys.number("embedding_length", None, WIDTH_MAX)?;
        let heads = keys.number("attention.head_count", None, WIDTH_MAX)?;
        let kv_heads = keys.number("attention.head_count_kv", Some(heads), WIDTH_MAX)?;
        let head_dims = keys.number("attention.key_length", Some(hidden / heads), WIDTH_MAX)?;
        if keys.number("attention.value_length", Some(head_dims), WIDTH_MAX)? != head_dims {
            let reason = format!("differs from the head's {head_dims}, which is not supported");
            return Err(keys.bad("attention.value_length", reason));
        }
        let experts = keys.experts()?;
        let rope = keys.rope(weights, head_dims)?;
        let feed_forward = experts.map(|e| e.feed_forward);
        let traits = family.traits();
        let bias = |part| has_bias(weights, part);
        let config = Self {
            family,
            hidden,
            heads,
            kv_heads,
            head_dims,
            feed_forward: keys.number("feed_forward_length", feed_forward, WIDTH_MAX)?,
            vocabulary,
            context: keys.number("context_length", None, CONTEXT_MAX)?,
            norm_epsilon: keys.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32,
            scale: keys.scale((hidden, heads), head_dims)?,
            rope_local: keys.rope_local(&rope)?,
            rope,
            layers: keys.layers(experts.is_some())?,
            activation: traits.activation,
            embedding_scale: traits.has(Quirk::ScaledEmbedding).then(|| (hidden as f32).sqrt()),
            attention_softcap: keys.softcap("attn_logit_softcapping", 50.0)?,
            final_softcap: keys.softcap("final_logit_softcapping", 30.0)?,
            biases: Biases {
                qkv: bias(Part::Query) || bias(Part::Qkv),
                output: bias(Part::Output),
                feed_forward: bias(Part::Down),
            },
            experts,
            tied: !weights.contains(Naming::Gguf.output()),
        };
        config.check().map_err(|(field, reason)| metadata.bad(field, reason))?;
        Ok(config)
    }
}

impl Keys<'_> {
    /// Gemma 2 was made with both caps, and its first files do not say so.
    fn softcap(&self, key: &str, gemma2: f64) -> Result<Option<f32>, InferenceError> {
        let default = (self.family == Family::Gemma2).then_some(gemma2);
        Ok(self.float(key)?.or(default).map(|cap| cap as f32))
    }

    /// The file does not say what the largest Gemmas do differently: llama.cpp knows them by
    /// their layers too.
    fn scale(&self, (hidden, heads): (usize, usize), dims: usize) -> Result<f64, InferenceError> {
        if let Some(scale) = self.float("attention.scale")?.filter(|scale| *scale != 0.0) {
            return Ok(scale);
        }
        let layers = self.number("block_count", None, LAYERS_MAX)?;
        let by_width = matches!((self.family, layers), (Family::Gemma2, 46) | (Family::Gemma3, 62));
        Ok(1.0 / (if by_width { hidden / heads } else { dims } as f64).sqrt())
    }

    fn experts(&self) -> Result<Option<Experts>, InferenceError> {
        const COUNT: &str = "expert_count";
        let Some(count) = self.optional(COUNT, EXPERTS_MAX)? else { return Ok(None) };
        if self.family != Family::Qwen3Moe {
            let reason = "mixtures of experts are not supported in this architecture";
            return Err(self.bad(COUNT, reason));
        }
        for key in ["expert_shared_count", "leading_dense_block_count", "expert_group_count"] {
            if self.optional(key, u64::MAX)?.is_some() {
                return Err(self.bad(key, "is not supported"));
            }
        }
        // One is the softmax, and what a file means that says nothing.
        if self.optional("expert_gating_func", u64::MAX)?.is_some_and(|function| function != 1) {
            return Err(self.bad("expert_gating_func", "is not supported"));
        }
        if self.float("expert_weights_scale")?.is_some_and(|scale| scale != 0.0 && scale != 1.0) {
            return Err(self.bad("expert_weights_scale", "is not supported"));
        }
        Ok(Some(Experts {
            count,
            used: self.number("expert_used_count", None, EXPERTS_MAX)?,
            feed_forward: self.number("expert_feed_forward_length", None, WIDTH_MAX)?,
            normalise: self.metadata.bool(&self.key("expert_weights_norm"))?.unwrap_or(true),
        }))
    }

    fn layers(&self, sparse: bool) -> Result<Vec<LayerConfig>, InferenceError> {
        let count = self.number("block_count", None, LAYERS_MAX)?;
        let window = match self.family {
            Family::Gemma2 => {
                Some(self.number("attention.sliding_window", Some(4_096), CONTEXT_MAX)?)
            }
            _ => self.optional("attention.sliding_window", CONTEXT_MAX)?,
        };
        let local = self.windowed(count, window.is_some())?;
        let period = self.family.traits().period;
        let special = |layer: usize| (layer + 1).is_multiple_of(period);
        Ok((0..count)
            .map(|layer| LayerConfig {
                window: window.filter(|_| local[layer]),
                rotary: self.family != Family::SmolLm3 || !special(layer),
                sparse,
            })
            .collect())
    }

    /// Which layers have the window: a list, or all but each n-th.
    fn windowed(&self, count: usize, window: bool) -> Result<Vec<bool>, InferenceError> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        if let Some(Value::Array(pattern)) = self.metadata.get(&self.key(PATTERN)) {
            let local = pattern.iter().map(|value| match value {
                Value::Bool(local) => Some(*local),
                Value::Unsigned(local) => Some(*local != 0),
                Value::Signed(local) => Some(*local != 0),
                _ => None,
            });
            let local = local.collect::<Option<Vec<bool>>>().filter(|local| local.len() >= count);
            return local.ok_or_else(|| self.bad(PATTERN, "does not tell of every layer"));
        }
        let usual = match self.family {
            // OLMo 3 calls itself OLMo 2, which has no window.
            Family::Olmo2 if window => 4,
            family => family.traits().period,
        };
        let of_all = |layer: usize, period: usize| !layer.is_multiple_of(period);
        Ok(match self.optional(PATTERN, LAYERS_MAX)? {
            Some(period) => (1..=count).map(|layer| of_all(layer, period)).collect(),
            None => (1..=count).map(|layer| usual == 1 || of_all(layer, usual)).collect(),
        })
    }

    /// The rotary embedding of layers with a window, where it is another one.
    fn rope_local(&self, rope: &Rope) -> Result<Option<Rope>, InferenceError> {
        let theta = self.float("rope.freq_base_swa")?;
        let (theta, scaling) = match self.family {
            Family::Gemma2 => (theta.unwrap_or(rope.theta), rope.scaling.clone()),
            Family::Gemma3 => (theta.unwrap_or(10_000.0), RopeScaling::None),
            Family::Olmo2 => (theta.unwrap_or(rope.theta), RopeScaling::None),
            _ => return Ok(None),
        };
        Ok(Some(Rope { dims: rope.dims, theta, scaling }).filter(|local| local != rope))
    }

    fn rope(&self, weights: &Weights, head_dims: usize) -> Result<Rope, InferenceError> {
        const DIMS: &str = "rope.dimension_count";
        let dims = self.number(DIMS, Some(head_dims), WIDTH_MAX)?;
        if dims != head_dims && self.family != Family::Phi3 {
            let reason = format!("differs from the head's {head_dims}, which is not supported");
            return Err(self.bad(DIMS, reason));
        }
        let default = if self.family == Family::Gemma3 { 1e6 } else { 1e4 };
        let theta = self.float("rope.freq_base")?.unwrap_or(default);
        Ok(Rope { dims, theta, scaling: self.scaling(weights, dims / 2)? })
    }

    fn scaling(&self, weights: &Weights, half: usize) -> Result<RopeScaling, InferenceError> {
        const TYPE: &str = "rope.scaling.type";
        let original = || {
            let context = self.metadata.count(&self.key("context_length"))?;
            let key = "rope.scaling.original_context_length";
            let context = context.and_then(|context| usize::try_from(context).ok());
            self.number(key, context, CONTEXT_MAX).map(|context| context as f64)
        };
        if weights.contains(LONG) && weights.contains(SHORT) {
            return Ok(RopeScaling::Long {
                short: weights.f32(SHORT, &[half])?,
                long: weights.f32(LONG, &[half])?,
                original_context: original()?,
                magnitude: self.float("rope.scaling.attn_factor")?.unwrap_or(1.0),
            });
        }
        // A factor alone is a linear one; the first files called it something else.
        let factor = match self.float("rope.scaling.factor")? {
            None => self.float("rope.scale_linear")?,
            factor => factor,
        };
        let factor = factor.filter(|factor| *factor != 0.0).unwrap_or(1.0);
        let kind = self.metadata.text(&self.key(TYPE))?.unwrap_or("linear");
        if weights.contains(DIVISORS) && matches!(kind, "none" | "linear") {
            let all = if kind == "linear" { factor } else { 1.0 };
            let divisors = weights.f32(DIVISORS, &[half])?;
            let divisors = divisors.into_iter().map(|divisor| divisor * all as f32);
            return Ok(RopeScaling::Divisors(divisors.collect()));
        }
        match kind {
            "none" => Ok(RopeScaling::None),
            "linear" if factor == 1.0 => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear(factor)),
            "yarn" => Ok(RopeScaling::Yarn {
                factor,
                fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                original_context: original()?,
                magnitude: self.float("rope.scaling.attn_factor")?.unwrap_or(1.0)
                    * (1.0 + 0.1 * factor.max(1.0).ln()),
            }),
            other => Err(self.bad(TYPE, format!("`{other}` is not supported"))),
        }
    }
}
