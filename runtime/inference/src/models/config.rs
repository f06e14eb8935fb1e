use super::families::Family;

/// Encoders.
mod encoder;
/// From GGUF's metadata.
mod gguf;
/// From `config.json`.
mod hf;
/// Rotary frequencies.
mod rope;

pub(crate) use encoder::{
    EncoderActivation, EncoderConfig, EncoderFamily, Local, Pooling, Purpose,
};
pub(crate) use rope::{Rope, RopeScaling};

/// A decoder: all that families differ in, apart from the names of their tensors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderConfig {
    pub(crate) family: Family,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dims: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) norm_epsilon: f32,
    /// Factor of the products of queries and keys.
    pub(crate) scale: f64,
    pub(crate) rope: Rope,
    /// Another embedding for layers with a window.
    pub(crate) rope_local: Option<Rope>,
    pub(crate) layers: Vec<LayerConfig>,
    pub(crate) activation: Activation,
    /// Factor of embeddings.
    pub(crate) embedding_scale: Option<f32>,
    /// Bounds of attention scores and of logits: `cap * tanh(x / cap)`.
    pub(crate) attention_softcap: Option<f32>,
    pub(crate) final_softcap: Option<f32>,
    pub(crate) biases: Biases,
    pub(crate) experts: Option<Experts>,
    /// The output layer is the embedding.
    pub(crate) tied: bool,
}

/// What layers of one network differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerConfig {
    /// A token sees so many tokens, itself among them.
    pub(crate) window: Option<usize>,
    /// Whether queries and keys turn with the position.
    pub(crate) rotary: bool,
    /// Whether the feed-forward part is a mixture of experts.
    pub(crate) sparse: bool,
}

/// The function of the gate in the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    /// The Gaussian error linear unit in its form with `tanh`.
    GeluTanh,
}

/// Which linear layers have biases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Biases {
    pub(crate) qkv: bool,
    pub(crate) output: bool,
    pub(crate) feed_forward: bool,
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    /// Experts that a token goes through.
    pub(crate) used: usize,
    pub(crate) feed_forward: usize,
    /// The used experts' shares are scaled to a sum of one.
    pub(crate) normalise: bool,
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
const EXPERTS_MAX: u64 = 1 << 12;
/// Experts of all layers.
const EXPERTS_ALL_MAX: usize = 1 << 16;

/// Gives a named number in `1..=max`, or says what is wrong with it.
fn within(value: Option<u64>, max: u64) -> Result<usize, String> {
    match value {
        None => Err("is missing".to_owned()),
        Some(0) => Err("is zero".to_owned()),
        Some(value) if value > max => Err(format!("is {value}, more than {max}")),
        Some(value) => Ok(value as usize),
    }
}

/// A field and what is wrong with it.
type Wrong = (&'static str, String);

impl DecoderConfig {
    fn check(&self) -> Result<(), Wrong> {
        self.check_heads()?;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(f64::from(self.norm_epsilon)) {
            return Err(("norm epsilon", "is not positive".to_owned()));
        }
        if !positive(self.scale) {
            return Err(("attention scale", "is not positive".to_owned()));
        }
        for (field, cap) in
            [("attention softcap", self.attention_softcap), ("final softcap", self.final_softcap)]
        {
            if cap.is_some_and(|cap| !positive(f64::from(cap))) {
                return Err((field, "is not positive".to_owned()));
            }
        }
        for rope in std::iter::once(&self.rope).chain(&self.rope_local) {
            rope.check(self.head_dims)?;
        }
        match self.experts {
            Some(e) if e.used > e.count => {
                Err(("experts", format!("{} are used of {}", e.used, e.count)))
            }
            Some(e) if e.count * self.layers.len() > EXPERTS_ALL_MAX => {
                Err(("experts", format!("{} in {} layers", e.count, self.layers.len())))
            }
            None if self.layers.iter().any(|layer| layer.sparse) => {
                Err(("experts", "are missing".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn check_heads(&self) -> Result<(), Wrong> {
        let heads = self.heads as u64 * self.head_dims as u64;
        if heads > WIDTH_MAX {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests;
