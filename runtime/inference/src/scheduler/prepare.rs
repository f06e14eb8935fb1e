use emberbox_sampling::{Constraint, Grammar, Sampler, Sampling, TOP_LOGPROBS_MAX};

use super::choice::{Choice, Tools};
use super::encode::Reading;
use super::graph::GraphRun;
use super::model::Model;
use super::read;
use crate::InferenceError;
use crate::api::{GenerateOptions, Input, ModelInfo, Plan, Prompt, Task, ToolChoice};
use crate::models::load::Text;
use crate::text::codec::Codec;
use crate::text::output::Output;
use crate::text::tools::{self, ToolReader, ToolStyle};

const STOPS_MAX: usize = 16;
const TOOLS_MAX: usize = 128;
const STOP_BYTES_MAX: usize = 256;

/// A task whose every number was checked.
#[derive(Debug)]
pub(crate) enum Prepared {
    Generate(Box<Generation>),
    Embed(Vec<Vec<u32>>),
    Read(Reading),
    Graph(Box<GraphRun>),
}

/// A generation.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) prompt: Vec<u32>,
    pub(crate) output_max: usize,
    pub(crate) choice: Choice,
}

impl Prepared {
    /// What it can cost at most.
    pub(crate) fn plan(&self) -> Plan {
        match self {
            Self::Generate(task) => Plan {
                input_tokens: task.prompt.len() as u32,
                output_tokens_max: task.output_max as u32,
            },
            Self::Graph(run) => run.plan(),
            Self::Read(reading) => Plan {
                input_tokens: reading.texts.iter().map(|text| text.ids.len() as u32).sum(),
                output_tokens_max: 0,
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
        (Task::Run { inputs }, Text::Graph(graph)) => {
            Ok(Prepared::Graph(Box::new(GraphRun::new(graph, inputs, model.options())?)))
        }
        (Task::Generate { prompt, options }, Text::Generation { codec, .. }) => {
            Ok(Prepared::Generate(Box::new(generation((model, codec), prompt, options)?)))
        }
        (task, Text::Encoder(text)) => match read::prepare(model, text, task)? {
            Some(reading) => Ok(Prepared::Read(reading)),
            None => Err(wrong_kind(model)),
        },
        (Task::Embed { texts }, Text::Generation { codec, .. }) => {
            let encode = |text: &Input| match text {
                Input::Text(text) => codec.encode_text(text),
                Input::Tokens(tokens) => known(tokens, codec.vocabulary()),
            };
            Ok(Prepared::Embed(embedding(model, &texts, model.context(), encode)?))
        }
        _ => Err(wrong_kind(model)),
    }
}

fn wrong_kind(model: &Model) -> InferenceError {
    let ModelInfo { name, kind, .. } = model.info();
    InferenceError::WrongKind { model: name.clone(), actual: *kind }
}

fn generation(
    (model, codec): (&Model, &Codec),
    prompt: Prompt,
    options: GenerateOptions,
) -> Result<Generation, InferenceError> {
    check_options(&options)?;
    let sampling = sampling(&options);
    sampling
        .check(codec.vocabulary())
        .map_err(|invalid| InferenceError::invalid(invalid.field, invalid.reason))?;
    let tools = offered(model, &prompt, &options)?;
    let prompt = tokens(model, prompt, tools.map_or(&[], |_| &options.tools))?;
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
    let constraint = constraint(codec, &options, tools)?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let choice = Choice {
        sampler: Sampler::new(sampling, seed, &prompt),
        constraint,
        output: Output::new(options.stop),
        logprobs: options.logprobs.map(|count| count as usize),
        tools: tools.map(|style| Tools { style, reader: ToolReader::new(style) }),
    };
    Ok(Generation { prompt, output_max, choice })
}

/// The style of the calls that the model may make; `None` where no function is offered.
fn offered(
    model: &Model,
    prompt: &Prompt,
    options: &GenerateOptions,
) -> Result<Option<ToolStyle>, InferenceError> {
    let invalid = |reason: String| InferenceError::invalid("tools", reason);
    if options.tools.is_empty() || options.tool_choice == ToolChoice::None {
        let needed = matches!(options.tool_choice, ToolChoice::Required | ToolChoice::Function(_));
        return match needed {
            true => Err(invalid("are needed for this tool_choice".to_owned())),
            false => Ok(None),
        };
    }
    if options.tools.len() > TOOLS_MAX {
        return Err(invalid(format!("has {}; at most {TOOLS_MAX}", options.tools.len())));
    }
    let bytes: usize = options.tools.iter().map(|tool| tool.to_string().len()).sum();
    if bytes > model.options().text_bytes_max {
        return Err(invalid(format!("{bytes} bytes are too many")));
    }
    for tool in &options.tools {
        tools::function(tool).map_err(invalid)?;
    }
    if options.grammar.is_some() {
        return Err(invalid("cannot be offered together with a grammar".to_owned()));
    }
    let Text::Generation { template: Some(template), .. } = model.text() else {
        return Err(invalid("the model has no chat template to show them".to_owned()));
    };
    if !matches!(prompt, Prompt::Messages(_)) {
        return Err(invalid("can be offered only with messages".to_owned()));
    }
    match template.tools() {
        Some(style) => Ok(Some(style)),
        None => Err(invalid("are not known to the model's chat template".to_owned())),
    }
}

/// What the output must follow, compiled.
fn constraint(
    codec: &Codec,
    options: &GenerateOptions,
    tools: Option<ToolStyle>,
) -> Result<Option<Constraint>, InferenceError> {
    let call = match (tools, &options.tool_choice) {
        (Some(style), choice @ (ToolChoice::Required | ToolChoice::Function(_))) => {
            let grammar = style.grammar(&options.tools, choice, |text| codec.control_id(text));
            let invalid = |reason| InferenceError::invalid("tool_choice", reason);
            Some(Grammar::Lark(grammar.map_err(invalid)?))
        }
        _ => None,
    };
    let field = if call.is_some() { "tools" } else { "grammar" };
    let Some(grammar) = call.as_ref().or(options.grammar.as_ref()) else { return Ok(None) };
    let constraint = codec.constrain(grammar);
    constraint.map(Some).map_err(|error| InferenceError::invalid(field, error.to_string()))
}

fn sampling(options: &GenerateOptions) -> Sampling {
    Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        repetition_penalty: options.repetition_penalty,
        presence_penalty: options.presence_penalty,
        frequency_penalty: options.frequency_penalty,
        logit_bias: options.logit_bias.clone(),
    }
}

fn check_options(options: &GenerateOptions) -> Result<(), InferenceError> {
    let invalid = |field, reason: String| InferenceError::invalid(field, reason);
    if options.max_tokens == Some(0) {
        return Err(invalid("max_tokens", "must be at least 1".to_owned()));
    }
    if options.stop.len() > STOPS_MAX {
        return Err(invalid("stop", format!("at most {STOPS_MAX} strings are allowed")));
    }
    if !options.stop.iter().all(|stop| (1..=STOP_BYTES_MAX).contains(&stop.len())) {
        return Err(invalid("stop", format!("a string must have 1 to {STOP_BYTES_MAX} bytes")));
    }
    if options.logprobs.is_some_and(|count| count as usize > TOP_LOGPROBS_MAX) {
        return Err(invalid("logprobs", format!("must be from 0 to {TOP_LOGPROBS_MAX}")));
    }
    Ok(())
}

fn tokens(
    model: &Model,
    prompt: Prompt,
    tools: &[serde_json::Value],
) -> Result<Vec<u32>, InferenceError> {
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
            let tokens = template.encode((&json, tools), codec);
            tokens.map_err(|reason| InferenceError::invalid("messages", reason))
        }
        Prompt::Tokens(tokens) => known(&tokens, codec.vocabulary())
            .map_err(|reason| InferenceError::invalid("tokens", reason)),
    }
}

/// Tokens that came as such, where the vocabulary has them all.
pub(super) fn known(tokens: &[u32], vocabulary: usize) -> Result<Vec<u32>, String> {
    match tokens.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => Err(format!("token {id} is outside the vocabulary of {vocabulary}")),
        None => Ok(tokens.to_vec()),
    }
}

fn embedding(
    model: &Model,
    texts: &[Input],
    tokens_max: usize,
    encode: impl Fn(&Input) -> Result<Vec<u32>, String>,
) -> Result<Vec<Vec<u32>>, InferenceError> {
    let options = model.options();
    if texts.is_empty() || texts.len() > options.texts_max {
        let reason = format!("{} texts; 1 to {} are allowed", texts.len(), options.texts_max);
        return Err(InferenceError::invalid("texts", reason));
    }
    let bytes: usize = texts.iter().map(Input::bytes).sum();
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
