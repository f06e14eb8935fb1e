use super::model::Model;
use super::sampler::Sampling;
use crate::InferenceError;
use crate::api::{GenerateOptions, ModelKind, Plan, Prompt, Task};
use crate::models::load::Text;
use crate::text::codec::{self, Codec};

const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 256;
const TEMPERATURE_MAX: f32 = 2.0;

/// A task whose every number was checked.
#[derive(Debug)]
pub(crate) enum Prepared {
    Generate(Generation),
    Embed(Vec<Vec<u32>>),
}

/// A generation.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) prompt: Vec<u32>,
    pub(crate) output_max: usize,
    pub(crate) sampling: Sampling,
    pub(crate) stops: Vec<String>,
}

impl Prepared {
    /// What it can cost at most.
    pub(crate) fn plan(&self) -> Plan {
        match self {
            Self::Generate(task) => Plan {
                input_tokens: task.prompt.len() as u32,
                output_tokens_max: task.output_max as u32,
            },
            Self::Embed(texts) => Plan {
                input_tokens: texts.iter().map(|text| text.len() as u32).sum(),
                output_tokens_max: 0,
            },
        }
    }
}

/// Tokenises and checks a task. Slow for a long text: it runs on the model's text thread.
pub(crate) fn prepare(model: &Model, task: Task) -> Result<Prepared, InferenceError> {
    match (task, model.text()) {
        (Task::Generate { prompt, options }, Text::Generation { .. }) => {
            Ok(Prepared::Generate(generation(model, prompt, options)?))
        }
        (Task::Embed { texts }, Text::Embedding { tokenizer, tokens_max }) => {
            let encode = |text: &str| codec::encode(tokenizer, text, true);
            Ok(Prepared::Embed(embedding(model, &texts, *tokens_max, encode)?))
        }
        (Task::Embed { texts }, Text::Generation { codec, .. }) => {
            let encode = |text: &str| codec.encode_text(text);
            Ok(Prepared::Embed(embedding(model, &texts, model.context(), encode)?))
        }
        (Task::Generate { .. }, Text::Embedding { .. }) => Err(InferenceError::WrongKind {
            model: model.info().name.clone(),
            actual: ModelKind::Embedding,
        }),
    }
}

fn generation(
    model: &Model,
    prompt: Prompt,
    options: GenerateOptions,
) -> Result<Generation, InferenceError> {
    let sampling = check_options(&options)?;
    let prompt = tokens(model, prompt)?;
    if prompt.is_empty() {
        return Err(InferenceError::invalid("prompt", "has no tokens"));
    }
    let context = model.context();
    // Room for one token of output at least.
    if prompt.len() >= context {
        let tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        return Err(InferenceError::ContextLength { tokens, max: context as u32 - 1 });
    }
    let asked = options.max_tokens.unwrap_or(model.options().output_tokens_default);
    let output_max = (asked as usize).min(context - prompt.len());
    Ok(Generation { prompt, output_max, sampling, stops: options.stop })
}

fn check_options(options: &GenerateOptions) -> Result<Sampling, InferenceError> {
    let invalid = |field, reason: String| InferenceError::invalid(field, reason);
    if options.max_tokens == Some(0) {
        return Err(invalid("max_tokens", "must be at least 1".to_owned()));
    }
    if !(0.0..=TEMPERATURE_MAX).contains(&options.temperature) {
        return Err(invalid("temperature", format!("must be from 0 to {TEMPERATURE_MAX}")));
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return Err(invalid("top_p", "must be above 0 and at most 1".to_owned()));
    }
    if options.stop.len() > STOPS_MAX {
        return Err(invalid("stop", format!("at most {STOPS_MAX} strings are allowed")));
    }
    if !options.stop.iter().all(|stop| (1..=STOP_BYTES_MAX).contains(&stop.len())) {
        return Err(invalid("stop", format!("a string must have 1 to {STOP_BYTES_MAX} bytes")));
    }
    Ok(Sampling {
        temperature: options.temperature,
        top_p: options.top_p,
        top_k: options.top_k,
        seed: options.seed.unwrap_or_else(rand::random),
    })
}

fn tokens(model: &Model, prompt: Prompt) -> Result<Vec<u32>, InferenceError> {
    let Text::Generation { codec, template } = model.text() else {
        return Err(InferenceError::invalid("prompt", "the model does not generate"));
    };
    let bytes_max = model.options().text_bytes_max;
    let too_long = |field, len| {
        InferenceError::invalid(field, format!("{len} bytes are more than {bytes_max}"))
    };
    match prompt {
        Prompt::Text(text) if text.len() > bytes_max => Err(too_long("prompt", text.len())),
        Prompt::Text(text) => {
            codec.encode_text(&text).map_err(|reason| InferenceError::invalid("prompt", reason))
        }
        Prompt::Messages(json) if json.len() > bytes_max => Err(too_long("messages", json.len())),
        Prompt::Messages(json) => {
            let Some(template) = template else {
                return Err(InferenceError::invalid("messages", "the model has no chat template"));
            };
            let tokens = template.encode(&json, codec);
            tokens.map_err(|reason| InferenceError::invalid("messages", reason))
        }
        Prompt::Tokens(tokens) => check_tokens(codec, tokens),
    }
}

fn check_tokens(codec: &Codec, tokens: Vec<u32>) -> Result<Vec<u32>, InferenceError> {
    match tokens.iter().find(|id| **id as usize >= codec.vocabulary()) {
        Some(id) => {
            let reason = format!("token {id} is outside the vocabulary of {}", codec.vocabulary());
            Err(InferenceError::invalid("tokens", reason))
        }
        None => Ok(tokens),
    }
}

fn embedding(
    model: &Model,
    texts: &[String],
    tokens_max: usize,
    encode: impl Fn(&str) -> Result<Vec<u32>, String>,
) -> Result<Vec<Vec<u32>>, InferenceError> {
    let options = model.options();
    if texts.is_empty() || texts.len() > options.texts_max {
        let reason = format!("{} texts; 1 to {} are allowed", texts.len(), options.texts_max);
        return Err(InferenceError::invalid("texts", reason));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > options.text_bytes_max {
        let reason = format!("{bytes} bytes are more than {}", options.text_bytes_max);
        return Err(InferenceError::invalid("texts", reason));
    }
    let mut all = Vec::with_capacity(texts.len());
    for text in texts {
        let ids = encode(text).map_err(|reason| InferenceError::invalid("texts", reason))?;
        if ids.is_empty() {
            return Err(InferenceError::invalid("texts", "a text has no tokens"));
        }
        if ids.len() > tokens_max {
            let tokens = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            return Err(InferenceError::ContextLength { tokens, max: tokens_max as u32 });
        }
        all.push(ids);
    }
    Ok(all)
}
