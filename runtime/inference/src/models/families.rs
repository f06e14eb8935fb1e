//! What a family's files are called, and which parts its layers have.

use super::config::Activation;

/// Which tensors a network has.
mod tensors;

pub(crate) use tensors::{OPTIONAL, has_bias};

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
    pub(crate) activation: Activation,
    /// Every second, or fourth, or n-th layer is special.
    pub(crate) period: usize,
    quirks: &'static [Quirk],
}

/// What a family has or does, and others not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quirk {
    /// Queries, keys and values are one tensor, and so are gate and up.
    Fused,
    /// GGUF keeps the rows of queries and keys with rotary pairs as neighbours.
    Pairs,
    /// Hugging Face keeps a norm's weight less one.
    NormLessOne,
    /// The output is the embedding where Hugging Face's configuration does not say.
    Tied,
    /// Queries, keys and values have biases, whatever the configuration says.
    QkvBias,
    /// Embeddings are multiplied with the square root of their width.
    ScaledEmbedding,
}

impl Traits {
    pub(crate) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
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
    activation: Activation::Silu,
    period: 1,
    quirks: &[Quirk::Pairs],
};

const GEMMA2: Traits = Traits {
    family: Family::Gemma2,
    hf: "gemma2",
    gguf: "gemma2",
    norms: Norms::Around,
    activation: Activation::GeluTanh,
    period: 2,
    quirks: &[Quirk::NormLessOne, Quirk::Tied, Quirk::ScaledEmbedding],
    ..LLAMA
};

const QWEN3: Traits = Traits {
    family: Family::Qwen3,
    hf: "qwen3",
    gguf: "qwen3",
    head_norms: HeadNorms::Head,
    quirks: &[],
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
        quirks: &[Quirk::Pairs, Quirk::Tied],
        ..LLAMA
    },
    Traits {
        family: Family::Qwen2,
        hf: "qwen2",
        gguf: "qwen2",
        quirks: &[Quirk::QkvBias],
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
    Traits { family: Family::Phi3, hf: "phi3", gguf: "phi3", quirks: &[Quirk::Fused], ..LLAMA },
    Traits {
        family: Family::Olmo2,
        hf: "olmo2",
        gguf: "olmo2",
        norms: Norms::After,
        head_norms: HeadNorms::Row,
        quirks: &[],
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
