use serde::Deserialize;
use serde_json::Value;

use super::{
    Activation, Biases, CONTEXT_MAX, DecoderConfig, EXPERTS_MAX, Experts, LAYERS_MAX, LayerConfig,
    Rope, RopeScaling, VOCABULARY_MAX, WIDTH_MAX, within,
};
use crate::InferenceError;
use crate::formats::hf::Folder;
use crate::models::families::{Family, Quirk};

#[derive(Deserialize)]
struct DecoderJson {
    model_type: Option<String>,
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    intermediate_size: Option<u64>,
    vocab_size: Option<u64>,
    max_position_embeddings: Option<u64>,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    // Windows, and which layers have one.
    sliding_window: Option<u64>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<u64>,
    layer_types: Option<Vec<String>>,
    sliding_window_pattern: Option<u64>,
    no_rope_layers: Option<Vec<u64>>,
    no_rope_layer_interval: Option<u64>,
    // Gemma.
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    rope_local_base_freq: Option<f64>,
    #[serde(default)]
    use_bidirectional_attention: bool,
    // Rotary embedding.
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    rope_scaling: Option<Value>,
    /// The newer name of `rope_scaling`; of two kinds of layers, an object for each.
    rope_parameters: Option<Value>,
    // Mixtures of experts.
    num_experts: Option<u64>,
    /// The newer name of `num_experts`.
    num_local_experts: Option<u64>,
    num_experts_per_tok: Option<u64>,
    moe_intermediate_size: Option<u64>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<u64>,
    mlp_only_layers: Option<Vec<u64>>,
}

#[derive(Default, Deserialize)]
struct RopeJson {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f32>>,
    long_factor: Option<Vec<f32>>,
}

/// A field and what is wrong with it.
type Wrong = (&'static str, String);

fn number(field: &'static str, value: Option<u64>, max: u64) -> Result<usize, Wrong> {
    within(value, max).map_err(|reason| (field, reason))
}

/// A value that must be a positive number.
fn positive(name: &str, value: Option<f64>) -> Result<f64, String> {
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err(format!("`{name}` is not a positive number")),
    }
}

impl DecoderConfig {
    /// A folder's decoder. `output` tells whether the files hold an output layer, for a
    /// configuration that does not say.
    pub(crate) fn from_hf(folder: &Folder, output: bool) -> Result<Self, InferenceError> {
        let json: DecoderJson = folder.required("config.json")?;
        json.decoder(output).map_err(|(field, reason)| {
            folder.bad("config.json", format_args!("`{field}`: {reason}"))
        })
    }
}

impl DecoderJson {
    fn decoder(&self, output: bool) -> Result<DecoderConfig, Wrong> {
        const TYPE: &str = "model_type";
        let name = self.model_type.as_deref().ok_or((TYPE, "is missing".to_owned()))?;
        let family = Family::of_hf(name);
        let family = family.ok_or_else(|| (TYPE, format!("`{name}` is not supported")))?;
        let hidden = number("hidden_size", self.hidden_size, WIDTH_MAX)?;
        let heads = number("num_attention_heads", self.num_attention_heads, WIDTH_MAX)?;
        let kv_heads = self.num_key_value_heads.or(self.num_attention_heads);
        let head_dims = self.head_dim.or(Some((hidden / heads) as u64));
        let head_dims = number("head_dim", head_dims, WIDTH_MAX)?;
        let (rope, rope_local) = self.ropes(family, head_dims)?;
        let (traits, experts) = (family.traits(), self.experts(family)?);
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        let scalar = self.query_pre_attn_scalar.filter(|_| gemma);
        if self.use_bidirectional_attention {
            return Err(("use_bidirectional_attention", "is not supported".to_owned()));
        }
        let softcap = |cap: Option<f64>| cap.filter(|_| gemma).map(|cap| cap as f32);
        let config = DecoderConfig {
            family,
            hidden,
            heads,
            kv_heads: number("num_key_value_heads", kv_heads, WIDTH_MAX)?,
            head_dims,
            feed_forward: number("intermediate_size", self.intermediate_size, WIDTH_MAX)?,
            vocabulary: number("vocab_size", self.vocab_size, VOCABULARY_MAX)?,
            context: number("max_position_embeddings", self.max_position_embeddings, CONTEXT_MAX)?,
            norm_epsilon: self.rms_norm_eps.unwrap_or(1e-6) as f32,
            scale: scalar.unwrap_or(head_dims as f64).powf(-0.5),
            rope,
            rope_local,
            layers: self.layers(family)?,
            activation: self.activation(family)?,
            embedding_scale: traits.has(Quirk::ScaledEmbedding).then(|| (hidden as f32).sqrt()),
            attention_softcap: softcap(self.attn_logit_softcapping),
            final_softcap: softcap(self.final_logit_softcapping),
            biases: Biases {
                qkv: traits.has(Quirk::QkvBias) || self.attention_bias,
                output: self.attention_bias,
                feed_forward: self.mlp_bias,
            },
            experts,
            tied: self.tie_word_embeddings.unwrap_or(traits.has(Quirk::Tied) || !output),
        };
        config.check()?;
        Ok(config)
    }

    fn activation(&self, family: Family) -> Result<Activation, Wrong> {
        let own = family.traits().activation;
        // Gemma's older `hidden_act` says `gelu` and means the other form.
        let (field, name) = match (own, &self.hidden_activation) {
            (Activation::GeluTanh, name) => ("hidden_activation", name),
            (Activation::Silu, _) => ("hidden_act", &self.hidden_act),
        };
        match name.as_deref() {
            None => Ok(own),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(other) => Err((field, format!("`{other}` is not supported"))),
        }
    }

    fn experts(&self, family: Family) -> Result<Option<Experts>, Wrong> {
        let count = self.num_experts.or(self.num_local_experts);
        if family != Family::Qwen3Moe {
            return match count {
                None | Some(0) => Ok(None),
                Some(_) => Err(("num_experts", "is not supported in this family".to_owned())),
            };
        }
        let width = self.moe_intermediate_size;
        Ok(Some(Experts {
            count: number("num_experts", count, EXPERTS_MAX)?,
            used: number("num_experts_per_tok", self.num_experts_per_tok, EXPERTS_MAX)?,
            feed_forward: number("moe_intermediate_size", width, WIDTH_MAX)?,
            normalise: self.norm_topk_prob.unwrap_or(false),
        }))
    }

    fn layers(&self, family: Family) -> Result<Vec<LayerConfig>, Wrong> {
        let count = number("num_hidden_layers", self.num_hidden_layers, LAYERS_MAX)?;
        let windowed = self.windowed(family, count)?;
        let window = self.sliding_window.filter(|w| *w > 0);
        let window = window.map(|w| number("sliding_window", Some(w), CONTEXT_MAX)).transpose()?;
        if let Some(rotary) = self.no_rope_layers.as_ref().filter(|list| list.len() != count) {
            let reason = format!("has {} entries, not {count}", rotary.len());
            return Err(("no_rope_layers", reason));
        }
        let every = self.no_rope_layer_interval.unwrap_or(family.traits().period as u64);
        let rotary = |layer: usize| match (&self.no_rope_layers, family) {
            // The list says where there is an embedding, whatever its name.
            (Some(list), Family::SmolLm3) => list[layer] != 0,
            (None, Family::SmolLm3) => !(layer as u64 + 1).is_multiple_of(every),
            _ => true,
        };
        let step = self.decoder_sparse_step.unwrap_or(1).max(1);
        let dense = self.mlp_only_layers.as_deref().unwrap_or_default();
        let sparse = |layer: u64| {
            family == Family::Qwen3Moe
                && (layer + 1).is_multiple_of(step)
                && !dense.contains(&layer)
        };
        let layer = |layer: usize| LayerConfig {
            window: window.filter(|_| windowed[layer]),
            rotary: rotary(layer),
            sparse: sparse(layer as u64),
        };
        Ok((0..count).map(layer).collect())
    }

    /// Which layers have a window, should there be one.
    fn windowed(&self, family: Family, count: usize) -> Result<Vec<bool>, Wrong> {
        let always = matches!(family, Family::Mistral | Family::Phi3);
        if let Some(types) = self.layer_types.as_ref().filter(|_| !always) {
            if types.len() != count {
                let reason = format!("has {} entries, not {count}", types.len());
                return Err(("layer_types", reason));
            }
            let windowed = types.iter().map(|kind| match kind.as_str() {
                "sliding_attention" => Ok(true),
                "full_attention" => Ok(false),
                other => Err(("layer_types", format!("`{other}` is not supported"))),
            });
            return windowed.collect();
        }
        let period = self.sliding_window_pattern.unwrap_or(family.traits().period as u64);
        let from = self.max_window_layers.unwrap_or(u64::MAX);
        let on = self.use_sliding_window.unwrap_or(false);
        let windowed = |layer: u64| match family {
            Family::Mistral | Family::Phi3 => true,
            Family::Gemma2 | Family::Gemma3 => !(layer + 1).is_multiple_of(period),
            Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => on && layer >= from,
            Family::Llama | Family::SmolLm3 | Family::Olmo2 => false,
        };
        Ok((0..count as u64).map(windowed).collect())
    }

    /// The embedding of all layers, or of those without and those with a window.
    fn ropes(&self, family: Family, head_dims: usize) -> Result<(Rope, Option<Rope>), Wrong> {
        let (field, value) = match (&self.rope_parameters, &self.rope_scaling) {
            (Some(value), _) => ("rope_parameters", Some(value)),
            (None, value) => ("rope_scaling", value.as_ref()),
        };
        let read = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(RopeJson::default()),
            Some(value) => RopeJson::deserialize(value).map_err(|e| (field, e.to_string())),
        };
        let of_kind = |kind: &str| value.and_then(|value| value.get(kind));
        let global = read(of_kind("full_attention").or(value))?;
        let scaling = |json: &RopeJson| self.scaling(json).map_err(|reason| (field, reason));
        let default = match family {
            Family::Gemma3 => 1e6,
            Family::SmolLm3 => 2e6,
            _ => 1e4,
        };
        let share = global.partial_rotary_factor.or(self.partial_rotary_factor).unwrap_or(1.0);
        if !(share > 0.0 && share <= 1.0) {
            return Err(("partial_rotary_factor", format!("{share} is not in 0 to 1")));
        }
        let rope = Rope {
            dims: (head_dims as f64 * share) as usize,
            theta: global.rope_theta.or(self.rope_theta).unwrap_or(default),
            scaling: scaling(&global)?,
        };
        if family != Family::Gemma3 {
            return Ok((rope, None));
        }
        let local = match of_kind("sliding_attention") {
            Some(value) => read(Some(value))?,
            None => RopeJson::default(),
        };
        let theta = local.rope_theta.or(self.rope_local_base_freq).unwrap_or(10_000.0);
        Ok((rope, Some(Rope { dims: head_dims, theta, scaling: scaling(&local)? })))
    }

    fn scaling(&self, rope: &RopeJson) -> Result<RopeScaling, String> {
        let context = self.max_position_embeddings.map(|context| context as f64);
        let original =
            rope.original_max_position_embeddings.or(self.original_max_position_embeddings);
        match rope.rope_type.as_deref() {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear(positive("factor", rope.factor)?)),
            Some("llama3") => {
                let low = positive("low_freq_factor", rope.low_freq_factor)?;
                let high = positive("high_freq_factor", rope.high_freq_factor)?;
                if high <= low {
                    return Err("`high_freq_factor` is not above `low_freq_factor`".to_owned());
                }
                Ok(RopeScaling::Llama3 {
                    factor: positive("factor", rope.factor)?,
                    low,
                    high,
                    original_context: positive("original_max_position_embeddings", original)?,
                })
            }
            Some("yarn" | "su" | "longrope") if rope.long_factor.is_some() => {
                self.long(rope, positive("original_max_position_embeddings", original)?)
            }
            Some("yarn") => yarn(rope, positive("max_position_embeddings", original.or(context))?),
            Some(other) => Err(format!("`{other}` is not supported")),
        }
    }

    fn long(&self, rope: &RopeJson, original: f64) -> Result<RopeScaling, String> {
        let context = self.max_position_embeddings.unwrap_or(0) as f64;
        let factor = rope.factor.unwrap_or(context / original);
        let grown = match factor > 1.0 {
            true => (1.0 + factor.ln() / original.ln()).sqrt(),
            false => 1.0,
        };
        let list = |name: &str, list: &Option<Vec<f32>>| {
            list.clone().ok_or_else(|| format!("`{name}` is missing"))
        };
        Ok(RopeScaling::Long {
            short: list("short_factor", &rope.short_factor)?,
            long: list("long_factor", &rope.long_factor)?,
            original_context: original,
            magnitude: rope.attention_factor.unwrap_or(grown),
        })
    }
}

fn yarn(rope: &RopeJson, original_context: f64) -> Result<RopeScaling, String> {
    if rope.truncate == Some(false) {
        return Err("`truncate`: false is not supported".to_owned());
    }
    let factor = positive("factor", rope.factor)?;
    let grown = |by: f64| if factor > 1.0 { 0.1 * by * factor.ln() + 1.0 } else { 1.0 };
    let magnitude = match (rope.attention_factor, rope.mscale, rope.mscale_all_dim) {
        (Some(magnitude), _, _) => magnitude,
        (None, Some(one), Some(all)) if one != 0.0 && all != 0.0 => grown(one) / grown(all),
        _ => grown(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        fast: rope.beta_fast.unwrap_or(32.0),
        slow: rope.beta_slow.unwrap_or(1.0),
        original_context,
        magnitude,
    })
}
