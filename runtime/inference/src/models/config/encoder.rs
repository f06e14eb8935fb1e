use serde::Deserialize;
use serde_json::Value;

use super::{CONTEXT_MAX, LAYERS_MAX, VOCABULARY_MAX, WIDTH_MAX, within};
use crate::InferenceError;
use crate::formats::hf::Folder;

/// An encoder, with what turns its output into an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EncoderConfig {
    pub(crate) family: EncoderFamily,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    /// Rows of the table of positions; for rotary ones, the longest text.
    pub(crate) positions: usize,
    /// The position of a text's first token.
    pub(crate) first_position: usize,
    /// Segments; zero where there are none.
    pub(crate) types: usize,
    pub(crate) norm_epsilon: f64,
    pub(crate) activation: EncoderActivation,
    /// Most tokens of one text, as the model was trained or configured.
    pub(crate) tokens_max: usize,
    /// `ModernBERT`'s alone.
    pub(crate) local: Option<Local>,
    pub(crate) purpose: Purpose,
}

/// Which of the encoders it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncoderFamily {
    Bert,
    DistilBert,
    /// `XLM-RoBERTa` too.
    Roberta,
    Mpnet,
    ModernBert,
}

/// The function between the two layers of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncoderActivation {
    Gelu,
    GeluTanh,
    Relu,
}

/// Layers that see their neighbourhood alone, and how positions turn in them and in the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Local {
    /// One layer in so many sees everything, the first among them.
    pub(crate) every: usize,
    /// Tokens that are seen on either side.
    pub(crate) reach: usize,
    pub(crate) global_theta: f64,
    pub(crate) local_theta: f64,
}

/// What an encoder answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Purpose {
    /// A vector for each text.
    Embed { pooling: Pooling, normalise: bool },
    /// Classes of a text.
    Classify { labels: Vec<String>, several: bool, pooling: Pooling },
    /// Classes of each token.
    ClassifyTokens { labels: Vec<String> },
    /// How well two texts go together.
    Compare { pooling: Pooling },
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
    /// The last one.
    Last,
}

impl EncoderFamily {
    /// By `model_type`.
    pub(crate) fn of(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "bert" => Self::Bert,
            "distilbert" => Self::DistilBert,
            "roberta" | "xlm-roberta" | "camembert" => Self::Roberta,
            "mpnet" => Self::Mpnet,
            "modernbert" => Self::ModernBert,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::DistilBert => "distilbert",
            Self::Roberta => "roberta",
            Self::Mpnet => "mpnet",
            Self::ModernBert => "modernbert",
        }
    }
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

/// `config.json`, by fields that families name differently.
struct Json<'a> {
    folder: &'a Folder,
    fields: Value,
}

impl Json<'_> {
    fn bad(&self, reason: impl std::fmt::Display) -> InferenceError {
        self.folder.bad("config.json", reason)
    }

    /// The first of the names that is there.
    fn number(&self, names: &[&str], max: u64) -> Result<usize, InferenceError> {
        let found = names.iter().find_map(|name| self.fields.get(*name)?.as_u64());
        let field = names.first().copied().unwrap_or_default();
        within(found, max).map_err(|reason| self.bad(format_args!("`{field}`: {reason}")))
    }

    fn float(&self, names: &[&str], default: f64) -> f64 {
        names.iter().find_map(|name| self.fields.get(*name)?.as_f64()).unwrap_or(default)
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.fields.get(*name)?.as_str())
    }

    fn is(&self, name: &str) -> bool {
        self.fields.get(name).and_then(Value::as_bool) == Some(true)
    }
}

impl EncoderConfig {
    pub(crate) fn from_hf(folder: &Folder, family: EncoderFamily) -> Result<Self, InferenceError> {
        let json = Json { folder, fields: folder.required("config.json")? };
        let activation = activation(&json)?;
        if json.text(&["position_embedding_type"]).is_some_and(|kind| kind != "absolute") {
            return Err(json.bad("only absolute positions are supported"));
        }
        let hidden = json.number(&["hidden_size", "dim"], WIDTH_MAX)?;
        let heads = json.number(&["num_attention_heads", "n_heads"], WIDTH_MAX)?;
        if !hidden.is_multiple_of(heads) {
            return Err(json.bad("the heads do not share `hidden_size` evenly"));
        }
        let positions = json.number(&["max_position_embeddings"], CONTEXT_MAX)?;
        let first_position = match family {
            // Positions begin behind that of padding.
            EncoderFamily::Roberta => json.float(&["pad_token_id"], 1.0) as usize + 1,
            EncoderFamily::Mpnet => 2,
            _ => 0,
        };
        let Some(room) = positions.checked_sub(first_position).filter(|room| *room > 0) else {
            return Err(json.bad("`max_position_embeddings`: leaves no room for a token"));
        };
        let types = match family {
            EncoderFamily::Bert | EncoderFamily::Roberta => json
                .fields
                .get("type_vocab_size")
                .map_or(Ok(2), |_| json.number(&["type_vocab_size"], WIDTH_MAX))?,
            _ => 0,
        };
        let sentence: Option<SentenceJson> = folder.json("sentence_bert_config.json")?;
        let configured = sentence.and_then(|s| s.max_seq_length).unwrap_or(room as u64);
        let epsilon = match family {
            EncoderFamily::ModernBert => json.float(&["norm_eps"], 1e-5),
            _ => json.float(&["layer_norm_eps"], 1e-12),
        };
        Ok(Self {
            family,
            layers: json.number(&["num_hidden_layers", "n_layers"], LAYERS_MAX)?,
            hidden,
            heads,
            feed_forward: json.number(&["intermediate_size", "hidden_dim"], WIDTH_MAX)?,
            vocabulary: json.number(&["vocab_size"], VOCABULARY_MAX)?,
            positions,
            first_position,
            types,
            norm_epsilon: epsilon,
            activation,
            tokens_max: room.min(configured as usize).max(1),
            local: local(&json, family)?,
            purpose: purpose(&json, family)?,
        })
    }

    /// Values of one head.
    pub(crate) fn head_dims(&self) -> usize {
        self.hidden / self.heads
    }
}

fn activation(json: &Json<'_>) -> Result<EncoderActivation, InferenceError> {
    match json.text(&["hidden_act", "activation", "hidden_activation"]) {
        None | Some("gelu") => Ok(EncoderActivation::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(EncoderActivation::GeluTanh),
        Some("relu") => Ok(EncoderActivation::Relu),
        Some(other) => Err(json.bad(format_args!(
            "the activation `{other}` is not supported; `gelu`, `gelu_new` and `relu` are"
        ))),
    }
}

fn local(json: &Json<'_>, family: EncoderFamily) -> Result<Option<Local>, InferenceError> {
    if family != EncoderFamily::ModernBert {
        return Ok(None);
    }
    if ["norm_bias", "attention_bias", "mlp_bias"].iter().any(|name| json.is(name)) {
        return Err(json.bad("biases are not supported in this family"));
    }
    // Newer files have the angles by the kind of layer.
    let nested = |kind: &str, default: f64| {
        let found = json.fields.pointer(&format!("/rope_parameters/{kind}/rope_theta"));
        found.and_then(Value::as_f64).unwrap_or(default)
    };
    Ok(Some(Local {
        every: json
            .fields
            .get("global_attn_every_n_layers")
            .map_or(Ok(3), |_| json.number(&["global_attn_every_n_layers"], LAYERS_MAX))?,
        reach: json
            .fields
            .get("local_attention")
            .map_or(Ok(128), |_| json.number(&["local_attention"], CONTEXT_MAX))?
            / 2,
        global_theta: json.float(&["global_rope_theta"], nested("full_attention", 160_000.0)),
        local_theta: json.float(&["local_rope_theta"], nested("sliding_attention", 10_000.0)),
    }))
}

/// By the name of the class that the file was saved from.
fn purpose(json: &Json<'_>, family: EncoderFamily) -> Result<Purpose, InferenceError> {
    let class = json.fields.pointer("/architectures/0").and_then(Value::as_str).unwrap_or_default();
    let is_sequence = class.ends_with("ForSequenceClassification");
    if !is_sequence && !class.ends_with("ForTokenClassification") {
        let (pooling, normalise) = pooling(json.folder)?;
        return Ok(Purpose::Embed { pooling, normalise });
    }
    let labels = labels(json)?;
    let pooling = match (family, json.text(&["classifier_pooling"])) {
        (EncoderFamily::ModernBert, Some("mean")) => Pooling::Mean,
        _ => Pooling::First,
    };
    Ok(match (is_sequence, labels.len()) {
        (false, _) => Purpose::ClassifyTokens { labels },
        (true, 1) => Purpose::Compare { pooling },
        (true, _) => {
            let several = json.text(&["problem_type"]) == Some("multi_label_classification");
            Purpose::Classify { labels, several, pooling }
        }
    })
}

fn labels(json: &Json<'_>) -> Result<Vec<String>, InferenceError> {
    const LABELS_MAX: usize = 10_000;
    let Some(named) = json.fields.get("id2label").and_then(Value::as_object) else {
        // What the library takes where a file says nothing.
        return Ok(vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()]);
    };
    if named.is_empty() || named.len() > LABELS_MAX {
        return Err(json.bad(format_args!("`id2label`: has {} classes", named.len())));
    }
    let label = |at: usize| named.get(&at.to_string())?.as_str().map(str::to_owned);
    (0..named.len())
        .map(|at| label(at).ok_or_else(|| json.bad(format_args!("`id2label`: {at} is missing"))))
        .collect()
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
    let modes: serde_json::Map<String, Value> = folder.required(FILE)?;
    let on: Vec<&str> = modes
        .iter()
        .filter(|(name, value)| name.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match on[..] {
        ["pooling_mode_mean_tokens"] => Ok((Pooling::Mean, normalise)),
        ["pooling_mode_cls_token"] => Ok((Pooling::First, normalise)),
        ["pooling_mode_lasttoken"] => Ok((Pooling::Last, normalise)),
        _ => Err(folder.bad(FILE, format!("{on:?} is not supported"))),
    }
}
