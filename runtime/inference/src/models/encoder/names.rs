//! What families call their tensors.

use crate::formats::weights::Weights;
use crate::models::config::EncoderFamily;

/// A place in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Query,
    Key,
    Value,
    Output,
    AttentionNorm,
    Up,
    Down,
    Norm,
}

/// The names of one file's tensors.
#[derive(Clone, Debug)]
pub(super) struct Names {
    family: EncoderFamily,
    prefix: &'static str,
}

impl Names {
    /// Finds out whether the encoder lies within a larger class.
    pub(super) fn of(weights: &Weights, family: EncoderFamily) -> Self {
        let prefix = match family {
            EncoderFamily::Bert => "bert.",
            EncoderFamily::DistilBert => "distilbert.",
            EncoderFamily::Roberta => "roberta.",
            EncoderFamily::Mpnet => "mpnet.",
            EncoderFamily::ModernBert => "model.",
        };
        let names = Self { family, prefix };
        let inside = weights.contains(&names.words());
        if inside { names } else { Self { prefix: "", ..names } }
    }

    pub(super) fn within(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn words(&self) -> String {
        self.within(match self.family {
            EncoderFamily::ModernBert => "embeddings.tok_embeddings.weight",
            _ => "embeddings.word_embeddings.weight",
        })
    }

    pub(super) fn embedding_norm(&self) -> String {
        self.within(match self.family {
            EncoderFamily::ModernBert => "embeddings.norm",
            _ => "embeddings.LayerNorm",
        })
    }

    fn layers(&self) -> &'static str {
        match self.family {
            EncoderFamily::DistilBert => "transformer.layer",
            EncoderFamily::ModernBert => "layers",
            _ => "encoder.layer",
        }
    }

    /// How the names of a layer begin.
    pub(super) fn layer(&self, layer: usize) -> String {
        self.within(&format!("{}.{layer}.", self.layers()))
    }

    /// A part of a layer, without `.weight`.
    pub(super) fn part(&self, layer: usize, part: Part) -> String {
        let name = match (self.family, part) {
            (EncoderFamily::DistilBert, part) => match part {
                Part::Query => "attention.q_lin",
                Part::Key => "attention.k_lin",
                Part::Value => "attention.v_lin",
                Part::Output => "attention.out_lin",
                Part::AttentionNorm => "sa_layer_norm",
                Part::Up => "ffn.lin1",
                Part::Down => "ffn.lin2",
                Part::Norm => "output_layer_norm",
            },
            (EncoderFamily::ModernBert, part) => match part {
                Part::Query | Part::Key | Part::Value => "attn.Wqkv",
                Part::Output => "attn.Wo",
                Part::AttentionNorm => "attn_norm",
                Part::Up => "mlp.Wi",
                Part::Down => "mlp.Wo",
                Part::Norm => "mlp_norm",
            },
            (EncoderFamily::Mpnet, Part::Query) => "attention.attn.q",
            (EncoderFamily::Mpnet, Part::Key) => "attention.attn.k",
            (EncoderFamily::Mpnet, Part::Value) => "attention.attn.v",
            (EncoderFamily::Mpnet, Part::Output) => "attention.attn.o",
            (EncoderFamily::Mpnet, Part::AttentionNorm) => "attention.LayerNorm",
            (_, Part::Query) => "attention.self.query",
            (_, Part::Key) => "attention.self.key",
            (_, Part::Value) => "attention.self.value",
            (_, Part::Output) => "attention.output.dense",
            (_, Part::AttentionNorm) => "attention.output.LayerNorm",
            (_, Part::Up) => "intermediate.dense",
            (_, Part::Down) => "output.dense",
            (_, Part::Norm) => "output.LayerNorm",
        };
        format!("{}{name}", self.layer(layer))
    }
}
