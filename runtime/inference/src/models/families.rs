//! What a family's files are called, and which parts its layers have.

use super::config::{Activation, DecoderConfig};
use crate::formats::weights::Weights;

/// A decoder's family, as far as names and the order of parts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Mistral,
    SmolLm3,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Gemma2,
    Gemma3,
    Phi3,
    Olmo2,
}

/// Which format's names are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Gguf,
    HuggingFace,
}

/// A family's properties that no configuration spells out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    family: Family,
    /// `model_type` of Hugging Face.
    hf: &'static str,
    /// `general.architecture` of GGUF.
    gguf: &'static str,
    /// Where layers are normalised.
    pub(crate) norms: Norms,
    /// Whether queries and keys are normalised, and over what.
    pub(crate) head_norms: HeadNorms,
    /// Queries, keys and values are one tensor, and so are gate and up.
    pub(crate) fused: bool,
    /// GGUF keeps the rows of queries and keys with rotary pairs as neighbours.
    pub(crate) pairs: bool,
    /// Hugging Face keeps a norm's weight less one.
    pub(crate) norm_less_one: bool,
    pub(crate) activation: Activation,
    /// Every second, or fourth, or n-th layer is special.
    pub(crate) period: usize,
    /// Hugging Face's value when `tie_word_embeddings` is not there.
    pub(crate) tied: bool,
    /// Biases of queries, keys and values, whatever the configuration says.
    pub(crate) qkv_bias: bool,
    /// Embeddings are multiplied with the square root of their width.
    pub(crate) scaled_embedding: bool,
}

/// Where a layer is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before attention and feed-forward.
    Before,
    /// After them.
    After,
    /// Both.
    Around,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadNorms {
    None,
    /// Each head alone.
    Head,
    /// All heads of a row together.
    Row,
}

const LLAMA: Traits = Traits {
    family: Family::Llama,
    hf: "llama",
    gguf: "llama",
    norms: Norms::Before,
    head_norms: HeadNorms::None,
    fused: false,
    pairs: true,
    norm_less_one: false,
    activation: Activation::Silu,
    period: 1,
    tied: false,
    qkv_bias: false,
    scaled_embedding: false,
};

const GEMMA2: Traits = Traits {
    family: Family::Gemma2,
    hf: "gemma2",
    gguf: "gemma2",
    norms: Norms::Around,
    pairs: false,
    norm_less_one: true,
    activation: Activation::GeluTanh,
    period: 2,
    tied: true,
    scaled_embedding: true,
    ..LLAMA
};

const QWEN3: Traits = Traits {
    family: Family::Qwen3,
    hf: "qwen3",
    gguf: "qwen3",
    head_norms: HeadNorms::Head,
    pairs: false,
    ..LLAMA
};

const ALL: [Traits; 10] = [
    LLAMA,
    // GGUF calls it a Llama, which it is but for its window.
    Traits { family: Family::Mistral, hf: "mistral", ..LLAMA },
    Traits {
        family: Family::SmolLm3,
        hf: "smollm3",
        gguf: "smollm3",
        period: 4,
        tied: true,
        ..LLAMA
    },
    Traits {
        family: Family::Qwen2,
        hf: "qwen2",
        gguf: "qwen2",
        pairs: false,
        qkv_bias: true,
        ..LLAMA
    },
    QWEN3,
    Traits { family: Family::Qwen3Moe, hf: "qwen3_moe", gguf: "qwen3moe", ..QWEN3 },
    GEMMA2,
    Traits {
        family: Family::Gemma3,
        hf: "gemma3_text",
        gguf: "gemma3",
        head_norms: HeadNorms::Head,
        period: 6,
        ..GEMMA2
    },
    Traits { family: Family::Phi3, hf: "phi3", gguf: "phi3", fused: true, pairs: false, ..LLAMA },
    Traits {
        family: Family::Olmo2,
        hf: "olmo2",
        gguf: "olmo2",
        norms: Norms::After,
        head_norms: HeadNorms::Row,
        pairs: false,
        ..LLAMA
    },
];

impl Family {
    pub(crate) fn of_gguf(architecture: &str) -> Option<Self> {
        ALL.iter().find(|t| t.gguf == architecture).map(|t| t.family)
    }

    pub(crate) fn of_hf(model_type: &str) -> Option<Self> {
        ALL.iter().find(|t| t.hf == model_type).map(|t| t.family)
    }

    pub(crate) fn traits(self) -> &'static Traits {
        ALL.iter().find(|t| t.family == self).unwrap_or(&LLAMA)
    }

    /// The name that GGUF has for it, also as the prefix of its keys.
    pub(crate) fn name(self) -> &'static str {
        self.traits().gguf
    }
}

/// A tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    AttentionNorm,
    PostAttentionNorm,
    FeedForwardNorm,
    PostFeedForwardNorm,
    QueryNorm,
    KeyNorm,
    Query,
    Key,
    Value,
    Qkv,
    Output,
    Gate,
    Up,
    GateUp,
    Down,
    Router,
    /// Of all experts in GGUF, of one in Hugging Face.
    ExpertGate,
    ExpertUp,
    ExpertDown,
}

impl Naming {
    pub(crate) fn embedding(self) -> &'static str {
        match self {
            Self::Gguf => "token_embd.weight",
            Self::HuggingFace => "model.embed_tokens.weight",
        }
    }

    pub(crate) fn norm(self) -> &'static str {
        match self {
            Self::Gguf => "output_norm.weight",
            Self::HuggingFace => "model.norm.weight",
        }
    }

    /// The output layer's tensor, absent when tied.
    pub(crate) fn output(self) -> &'static str {
        match self {
            Self::Gguf => "output.weight",
            Self::HuggingFace => "lm_head.weight",
        }
    }

    /// A layer's tensor without its `.weight` or `.bias`.
    pub(crate) fn stem(self, layer: usize, part: Part, norms: Norms) -> String {
        match self {
            Self::Gguf => format!("blk.{layer}.{}", gguf_name(part)),
            Self::HuggingFace => format!("model.layers.{layer}.{}", hf_name(part, norms)),
        }
    }

    /// One expert's tensor in Hugging Face.
    pub(crate) fn expert(layer: usize, expert: usize, part: Part) -> String {
        let part = hf_name(part, Norms::Before);
        format!("model.layers.{layer}.mlp.experts.{expert}.{part}.weight")
    }
}

fn gguf_name(part: Part) -> &'static str {
    match part {
        Part::AttentionNorm => "attn_norm",
        Part::PostAttentionNorm => "post_attention_norm",
        Part::FeedForwardNorm => "ffn_norm",
        Part::PostFeedForwardNorm => "post_ffw_norm",
        Part::QueryNorm => "attn_q_norm",
        Part::KeyNorm => "attn_k_norm",
        Part::Query => "attn_q",
        Part::Key => "attn_k",
        Part::Value => "attn_v",
        Part::Qkv => "attn_qkv",
        Part::Output => "attn_output",
        Part::Gate => "ffn_gate",
        Part::Up | Part::GateUp => "ffn_up",
        Part::Down => "ffn_down",
        Part::Router => "ffn_gate_inp",
        Part::ExpertGate => "ffn_gate_exps",
        Part::ExpertUp => "ffn_up_exps",
        Part::ExpertDown => "ffn_down_exps",
    }
}

fn hf_name(part: Part, norms: Norms) -> &'static str {
    match (part, norms) {
        (Part::AttentionNorm, _) => "input_layernorm",
        // The name is older than norms after attention: there it is what comes after attention.
        (Part::FeedForwardNorm, Norms::Before) => "post_attention_layernorm",
        (Part::FeedForwardNorm, _) => "pre_feedforward_layernorm",
        (Part::PostAttentionNorm, _) => "post_attention_layernorm",
        (Part::PostFeedForwardNorm, _) => "post_feedforward_layernorm",
        (Part::QueryNorm, _) => "self_attn.q_norm",
        (Part::KeyNorm, _) => "self_attn.k_norm",
        (Part::Query, _) => "self_attn.q_proj",
        (Part::Key, _) => "self_attn.k_proj",
        (Part::Value, _) => "self_attn.v_proj",
        (Part::Qkv, _) => "self_attn.qkv_proj",
        (Part::Output, _) => "self_attn.o_proj",
        (Part::Gate, _) => "mlp.gate_proj",
        (Part::Up, _) => "mlp.up_proj",
        (Part::GateUp, _) => "mlp.gate_up_proj",
        (Part::Down, _) => "mlp.down_proj",
        (Part::Router, _) => "mlp.gate",
        (Part::ExpertGate, _) => "gate_proj",
        (Part::ExpertUp, _) => "up_proj",
        (Part::ExpertDown, _) => "down_proj",
    }
}

/// A tensor that a network must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl DecoderConfig {
    /// Norms of a layer, by name and width.
    fn norm_parts(&self) -> Vec<(Part, usize)> {
        let traits = self.family.traits();
        let mut parts = Vec::new();
        if traits.norms != Norms::After {
            parts.extend([Part::AttentionNorm, Part::FeedForwardNorm].map(|p| (p, self.hidden)));
        }
        if traits.norms != Norms::Before {
            let after = [Part::PostAttentionNorm, Part::PostFeedForwardNorm];
            parts.extend(after.map(|p| (p, self.hidden)));
        }
        let (query, kv) = match traits.head_norms {
            HeadNorms::None => return parts,
            HeadNorms::Head => (self.head_dims, self.head_dims),
            HeadNorms::Row => (self.heads * self.head_dims, self.kv_heads * self.head_dims),
        };
        parts.extend([(Part::QueryNorm, query), (Part::KeyNorm, kv)]);
        parts
    }

    /// Rows and columns of a layer's linear part.
    pub(crate) fn shape(&self, part: Part) -> [usize; 2] {
        let (query, kv) = (self.heads * self.head_dims, self.kv_heads * self.head_dims);
        let (experts, expert) = self.experts.map_or((0, 0), |e| (e.count, e.feed_forward));
        match part {
            Part::Query => [query, self.hidden],
            Part::Key | Part::Value => [kv, self.hidden],
            Part::Qkv => [query + 2 * kv, self.hidden],
            Part::Output => [self.hidden, query],
            Part::Gate | Part::Up => [self.feed_forward, self.hidden],
            Part::GateUp => [2 * self.feed_forward, self.hidden],
            Part::Down => [self.hidden, self.feed_forward],
            Part::Router => [experts, self.hidden],
            Part::ExpertGate | Part::ExpertUp => [expert, self.hidden],
            Part::ExpertDown => [self.hidden, expert],
            _ => [1, self.hidden],
        }
    }

    /// The linear parts that make queries, keys and values.
    pub(crate) fn qkv_parts(&self) -> &'static [Part] {
        match self.family.traits().fused {
            true => &[Part::Qkv],
            false => &[Part::Query, Part::Key, Part::Value],
        }
    }

    /// The linear parts that make gate and up.
    pub(crate) fn gate_parts(&self) -> &'static [Part] {
        match self.family.traits().fused {
            true => &[Part::GateUp],
            false => &[Part::Gate, Part::Up],
        }
    }

    /// All tensors of the network; some that are not used may be there too.
    pub(crate) fn expected(&self, naming: Naming) -> Vec<Expected> {
        let mut all = Vec::new();
        let mut add = |name: String, shape: Vec<usize>| all.push(Expected { name, shape });
        add(naming.embedding().to_owned(), vec![self.vocabulary, self.hidden]);
        add(naming.norm().to_owned(), vec![self.hidden]);
        if !self.tied {
            add(naming.output().to_owned(), vec![self.vocabulary, self.hidden]);
        }
        let norms = self.family.traits().norms;
        for (layer, config) in self.layers.iter().enumerate() {
            let stem = |part| naming.stem(layer, part, norms);
            for (part, width) in self.norm_parts() {
                add(format!("{}.weight", stem(part)), vec![width]);
            }
            let mut linear = |parts: &[Part], bias: bool| {
                for part in parts {
                    let shape = self.shape(*part);
                    add(format!("{}.weight", stem(*part)), shape.to_vec());
                    if bias {
                        add(format!("{}.bias", stem(*part)), vec![shape[0]]);
                    }
                }
            };
            linear(self.qkv_parts(), self.biases.qkv);
            linear(&[Part::Output], self.biases.output);
            if !config.sparse {
                linear(self.gate_parts(), self.biases.feed_forward);
                linear(&[Part::Down], self.biases.feed_forward);
                continue;
            }
            linear(&[Part::Router], false);
            let count = self.experts.map_or(0, |e| e.count);
            for part in [Part::ExpertGate, Part::ExpertUp, Part::ExpertDown] {
                let [rows, columns] = self.shape(part);
                match naming {
                    Naming::Gguf => {
                        add(format!("{}.weight", stem(part)), vec![count, rows, columns]);
                    }
                    Naming::HuggingFace => {
                        for expert in 0..count {
                            add(Naming::expert(layer, expert, part), vec![rows, columns]);
                        }
                    }
                }
            }
        }
        all
    }
}

/// Tensors that say what the configuration says too, or are not needed.
pub(crate) const OPTIONAL: [&str; 5] = [
    "output.weight",
    "lm_head.weight",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// Which linear layers of a GGUF file have biases.
pub(crate) fn has_bias(weights: &Weights, part: Part) -> bool {
    weights.contains(&format!("{}.bias", Naming::Gguf.stem(0, part, Norms::Before)))
}
