use serde::Deserialize;

use super::{CONTEXT_MAX, LAYERS_MAX, VOCABULARY_MAX, WIDTH_MAX, within};
use crate::InferenceError;
use crate::formats::hf::Folder;

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
