//! Two steps: `check` reads everything but the weights' values, and `build` loads them.

use std::path::Path as FilePath;
use std::sync::Arc;

use emberbox_kernels::attention::CacheKind;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use emberbox_onnx::Model as OnnxModel;

use super::config::{DecoderConfig, EncoderConfig, EncoderFamily, Purpose};
use super::decoder::{self, Decoder, Loader};
use super::encoder::{self, Encoder};
use super::families::{Family, Naming};
#[cfg(test)]
use super::ops::Path;
use super::place::Place;
use crate::api::{ModelInfo, ModelKind};
use crate::formats::blob::{self, Blob};
use crate::formats::gguf::{self, Gguf};
use crate::formats::hf::Folder;
use crate::formats::weights::Weights;
use crate::text::chat::ChatTemplate;
use crate::text::codec::Codec;
use crate::text::{gguf as gguf_text, library};
use crate::{EncoderWeights, InferenceError, ModelSource};

/// ONNX files.
pub(crate) mod graph;

/// How an encoder reads, and what it answers.
pub(crate) struct EncoderText {
    pub(crate) tokenizer: tokenizers::Tokenizer,
    pub(crate) vocabulary: usize,
    /// Most tokens of one text.
    pub(crate) tokens_max: usize,
    /// Segments that it tells apart.
    pub(crate) types: usize,
    pub(crate) purpose: Purpose,
}

/// A model whose files are in order.
pub(crate) struct Checked {
    pub(crate) info: ModelInfo,
    pub(crate) text: Text,
    /// Of a graph, they are in it.
    weights: Option<Weights>,
    network: Config,
}

/// How a model reads and writes.
pub(crate) enum Text {
    Generation {
        codec: Box<Codec>,
        template: Option<Box<ChatTemplate>>,
    },
    Encoder(Box<EncoderText>),
    /// It reads tensors.
    Graph(Arc<OnnxModel>),
}

enum Config {
    Decoder(Box<DecoderConfig>, Naming),
    Encoder(Box<EncoderConfig>),
    Graph(Arc<OnnxModel>),
}

/// A network that can run.
pub(crate) enum Network {
    Decoder(Box<Decoder>),
    Encoder(Box<Encoder>),
    Graph(Arc<OnnxModel>),
}

/// Reads and checks a model's files.
pub(crate) fn check(
    name: &str,
    source: &ModelSource,
    bytes_max: u64,
) -> Result<Checked, InferenceError> {
    match source {
        ModelSource::Path(path) if path.is_dir() => check_folder(name, path, bytes_max),
        ModelSource::Path(path) => check_file(name, Blob::open(path, bytes_max)?),
        ModelSource::Static(bytes) => check_file(name, Blob::fixed(name, bytes)),
        ModelSource::Brought(bytes) => check_file(name, Blob::brought(name, bytes)),
    }
}

/// A file says by how it begins what it is.
fn check_file(name: &str, blob: Blob) -> Result<Checked, InferenceError> {
    const GGUF: &[u8] = b"GGUF";
    let start = blob.read(0, blob.len().min(GGUF.len() as u64))?;
    if start == GGUF { check_gguf(name, blob) } else { graph::check(name, &blob) }
}

impl Checked {
    /// Says what its weights will be in memory at a place.
    pub(crate) fn at(mut self, place: &Place) -> Self {
        let rounded = place.encoder_weights == EncoderWeights::Int8;
        if rounded && matches!(self.network, Config::Encoder(_)) {
            self.info.quantisation = "INT8".to_owned();
        }
        self
    }

    /// Loads the weights to a device, for sequences of up to `positions_max` tokens.
    pub(crate) fn build(
        self,
        positions_max: usize,
        cache: CacheKind,
        place: &Place,
    ) -> Result<(ModelInfo, Text, Network), InferenceError> {
        let network = match (&self.network, &self.weights) {
            (Config::Graph(model), _) => Network::Graph(Arc::clone(model)),
            (_, None) => return Err(InferenceError::bad_model(&self.info.name, "has no weights")),
            (Config::Decoder(config, naming), Some(weights)) => {
                let loader = Loader { weights, config, naming: *naming, cache, place };
                let positions = config.context.min(positions_max);
                Network::Decoder(Box::new(Decoder::load(&loader, positions)?))
            }
            (Config::Encoder(config), Some(weights)) => {
                Network::Encoder(Box::new(Encoder::load(weights, config, place)?))
            }
        };
        Ok((self.info, self.text, network))
    }

    /// The network on either path with an exact cache, for tests. The reference is on the device
    /// that tests are for.
    #[cfg(test)]
    pub(crate) fn decoder(&self, path: Path) -> Decoder {
        let Config::Decoder(config, naming) = &self.network else { panic!("not a decoder") };
        let weights = self.weights.as_ref().unwrap();
        let (naming, cache) = (*naming, CacheKind::F32);
        let place = &crate::testing::place(path);
        let loader = Loader { weights, config, naming, cache, place };
        Decoder::load(&loader, config.context).unwrap()
    }
}

fn check_gguf(name: &str, blob: Blob) -> Result<Checked, InferenceError> {
    let mut digest = Sha256::new();
    blob.digest_into(&mut digest)?;
    let Gguf { metadata, weights } = gguf::parse(blob)?;
    let vocabulary = gguf_text::vocabulary(&metadata)?;
    let config = DecoderConfig::from_gguf(&metadata, &weights, vocabulary)?;
    decoder::check(&weights, &config, Naming::Gguf)?;
    let codec = gguf_text::codec(&metadata)?;
    const TEMPLATE: &str = "tokenizer.chat_template";
    let template = match metadata.text(TEMPLATE)? {
        None => None,
        Some(source) => {
            let template = ChatTemplate::new(source.to_owned(), gguf_text::frame(&metadata)?);
            Some(Box::new(template.map_err(|reason| metadata.bad(TEMPLATE, reason))?))
        }
    };
    let shape = Shape::of_decoder(&config, template.is_some());
    let info = info(name, &weights, shape, blob::hex(digest));
    let text = Text::Generation { codec: Box::new(codec), template };
    let network = Config::Decoder(Box::new(config), Naming::Gguf);
    Ok(Checked { info, text, weights: Some(weights), network })
}

/// What a model's description takes from its configuration.
#[derive(Clone, Copy)]
struct Shape {
    kind: ModelKind,
    architecture: &'static str,
    context: usize,
    hidden: usize,
    chat_template: bool,
}

impl Shape {
    fn of_decoder(config: &DecoderConfig, chat_template: bool) -> Self {
        Self {
            kind: ModelKind::Generation,
            architecture: config.family.name(),
            context: config.context,
            hidden: config.hidden,
            chat_template,
        }
    }
}

fn info(name: &str, weights: &Weights, shape: Shape, digest: String) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        kind: shape.kind,
        architecture: shape.architecture.to_owned(),
        parameters: weights.parameters(),
        context_length: u32::try_from(shape.context).unwrap_or(u32::MAX),
        embedding_dims: u32::try_from(shape.hidden).unwrap_or(u32::MAX),
        weight_bytes: weights.bytes(),
        quantisation: weights.main_storage().to_string(),
        digest,
        chat_template: shape.chat_template,
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

#[derive(Deserialize)]
struct ModelJson {
    model_type: Option<String>,
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
struct GenerationJson {
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

fn check_folder(name: &str, path: &FilePath, bytes_max: u64) -> Result<Checked, InferenceError> {
    let folder = Folder::new(path);
    let model: ModelJson = folder.required("config.json")?;
    match model.model_type.as_deref() {
        Some(family) if let Some(family) = EncoderFamily::of(family) => {
            check_encoder(name, &folder, family, bytes_max)
        }
        Some(family) if Family::of_hf(family).is_some() => {
            check_decoder(name, &folder, model, bytes_max)
        }
        Some(other) => {
            Err(folder.bad("config.json", format_args!("`model_type`: `{other}` is not supported")))
        }
        None => Err(folder.bad("config.json", "`model_type`: is missing")),
    }
}

fn check_encoder(
    name: &str,
    folder: &Folder,
    family: EncoderFamily,
    bytes_max: u64,
) -> Result<Checked, InferenceError> {
    let config = EncoderConfig::from_hf(folder, family)?;
    let (_, tokenizer) = tokenizer(folder)?;
    let words = tokenizer.get_vocab_size(true);
    if words > config.vocabulary {
        let reason = format!("{words} tokens, but `vocab_size` is {}", config.vocabulary);
        return Err(folder.bad("tokenizer.json", reason));
    }
    library::check_ids(&tokenizer, config.vocabulary)
        .map_err(|reason| folder.bad("tokenizer.json", reason))?;
    let (weights, digest) = folder.weights(bytes_max)?;
    encoder::check(&weights, &config)?;
    let shape = Shape {
        kind: match &config.purpose {
            Purpose::Embed { .. } => ModelKind::Embedding,
            Purpose::Classify { .. } => ModelKind::Classification,
            Purpose::ClassifyTokens { .. } => ModelKind::TokenClassification,
            Purpose::Compare { .. } => ModelKind::Reranking,
        },
        architecture: family.name(),
        context: config.tokens_max,
        hidden: config.hidden,
        chat_template: false,
    };
    let info = info(name, &weights, shape, digest);
    let text = Text::Encoder(Box::new(EncoderText {
        tokenizer,
        vocabulary: config.vocabulary,
        tokens_max: config.tokens_max,
        types: config.types,
        purpose: config.purpose.clone(),
    }));
    let network = Config::Encoder(Box::new(config));
    Ok(Checked { info, text, weights: Some(weights), network })
}

fn check_decoder(
    name: &str,
    folder: &Folder,
    model: ModelJson,
    bytes_max: u64,
) -> Result<Checked, InferenceError> {
    // The configuration is checked twice: before tokenizer and weights are read, and with them.
    DecoderConfig::from_hf(folder, true)?;
    let (json, tokenizer) = tokenizer(folder)?;
    let (weights, digest) = folder.weights(bytes_max)?;
    let output = weights.contains(Naming::HuggingFace.output());
    let config = DecoderConfig::from_hf(folder, output)?;
    let settings: Value = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let mut ends = model.eos_token_id.map_or_else(Vec::new, Ids::into_vec);
    let generation: Option<GenerationJson> = folder.json("generation_config.json")?;
    ends.extend(generation.and_then(|g| g.eos_token_id).map_or_else(Vec::new, Ids::into_vec));
    let last = special(&settings, "eos_token");
    ends.extend(tokenizer.token_to_id(&last));
    let bad = |reason: String| folder.bad("tokenizer.json", reason);
    let codec = library::codec(tokenizer, &json, (config.vocabulary, ends)).map_err(bad)?;
    let template = template(folder, &settings, (special(&settings, "bos_token"), last))?;
    decoder::check(&weights, &config, Naming::HuggingFace)?;
    let info = info(name, &weights, Shape::of_decoder(&config, template.is_some()), digest);
    let text = Text::Generation { codec: Box::new(codec), template };
    Ok(Checked {
        info,
        text,
        weights: Some(weights),
        network: Config::Decoder(Box::new(config), Naming::HuggingFace),
    })
}

fn tokenizer(folder: &Folder) -> Result<(Value, tokenizers::Tokenizer), InferenceError> {
    const FILE: &str = "tokenizer.json";
    let json = folder.bytes(FILE)?.ok_or_else(|| folder.bad(FILE, "the file is missing"))?;
    let tokenizer = library::parse(&json).map_err(|reason| folder.bad(FILE, reason))?;
    let value = serde_json::from_slice(&json).map_err(|error| folder.bad(FILE, error))?;
    Ok((value, tokenizer))
}

/// A special token is a string, or an object with one.
fn special(settings: &Value, name: &str) -> String {
    let token = &settings[name];
    token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned()
}

/// The chat template: a file of its own, or in the tokenizer's settings, alone or by name.
fn template(
    folder: &Folder,
    settings: &Value,
    frame: (String, String),
) -> Result<Option<Box<ChatTemplate>>, InferenceError> {
    const FILE: &str = "chat_template.jinja";
    let own = folder.text(FILE)?;
    let listed = || {
        let all = settings["chat_template"].as_array()?;
        let default = all.iter().find(|t| t["name"].as_str() == Some("default"))?;
        default["template"].as_str()
    };
    let source =
        own.or_else(|| settings["chat_template"].as_str().or_else(listed).map(str::to_owned));
    let Some(source) = source else { return Ok(None) };
    let template = ChatTemplate::new(source, frame).map_err(|reason| folder.bad(FILE, reason))?;
    Ok(Some(Box::new(template)))
}
