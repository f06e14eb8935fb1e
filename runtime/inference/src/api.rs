//! The messages that cross into the engine: owned, serialisable, without a tensor or a callback.
//!
//! One session is one sequence. A client opens it, prepares a task (which counts its tokens
//! exactly), submits it, and takes events until [`Event::Done`]; then it may prepare another.
//! Every generation states its whole prompt; what the KV cache already holds as a prefix of it, from
//! any earlier task of the same payer, is not computed again and is counted in
//! [`Usage::cached_input_tokens`]. It comes in blocks of 32 tokens.

pub use emberbox_sampling::Grammar;
use serde::{Deserialize, Serialize};

pub use logprobs::{Likelihood, TokenLogprobs};
pub use tensors::{ElementKind, NamedTensor, TensorSpec};

mod logprobs;
mod tensors;

/// Names one open session of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// Asks for a session on a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The model's name, as it was added.
    pub model: String,
    /// The organisation that pays. Payers share a model's time evenly, and none can find what is in
    /// the cache for another.
    pub tenant: String,
}

/// What a generation starts from. It is always the whole prompt, not a continuation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Plain text. The model's beginning-of-sequence token is added where its tokenizer says so.
    /// Control tokens spelled out in the text stay text.
    Text(String),
    /// A JSON array of messages in OpenAI's shape, rendered by the model's chat template.
    Messages(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

/// How to choose tokens, and when to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateOptions {
    /// The most tokens to produce; `None` means the engine's default, cut to the context.
    pub max_tokens: Option<u32>,
    /// 0 takes the likeliest token; otherwise 0 to 2.
    pub temperature: f32,
    /// Keeps the likeliest tokens whose probabilities sum to this; above 0, up to 1.
    pub top_p: f32,
    /// Keeps this many of the likeliest tokens; 0 is off.
    pub top_k: u32,
    /// Keeps tokens at least this many times as likely as the likeliest; 0, which is off, to 1.
    pub min_p: f32,
    /// Makes tokens of the prompt and the output less likely; above 0, up to 10, and 1 is off.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the output has; -2 to 2.
    pub presence_penalty: f32,
    /// Taken from a token's logit for each time that the output has it; -2 to 2.
    pub frequency_penalty: f32,
    /// Added to a token's logit: pairs of token and bias, -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// With every token the logarithms of its probability and of so many of the likeliest tokens,
    /// 0 to 20; `None` is without. They are the model's own, before penalties and temperature.
    pub logprobs: Option<u32>,
    /// What the output must follow.
    pub grammar: Option<Grammar>,
    /// Functions that the model may ask its caller to call, in OpenAI's shape. The model's chat
    /// template must know them.
    pub tools: Vec<serde_json::Value>,
    /// Whether it may, or must.
    pub tool_choice: ToolChoice,
    /// The same seed with the same prompt and options gives the same text, whatever else runs.
    pub seed: Option<u64>,
    /// Strings that end the text; they are not part of it.
    pub stop: Vec<String>,
    /// The task ends this many milliseconds after it was prepared, whatever it has by then.
    pub deadline_ms: Option<u64>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: None,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
            grammar: None,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            seed: None,
            stop: Vec::new(),
            deadline_ms: None,
        }
    }
}

/// Whether a model calls functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// It does not, and is told of none.
    None,
    /// As it likes.
    #[default]
    Auto,
    /// It calls one.
    Required,
    /// It calls this one.
    Function(String),
}

/// A function that the model asks its caller to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The function's name.
    pub name: String,
    /// A JSON object, as text; from a model, so not always as the function's schema has it.
    pub arguments: String,
}

/// A text for an encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// To be tokenised, with the model's special tokens around it.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

impl Input {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len() * size_of::<u32>(),
        }
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One piece of work for a session.
#[expect(clippy::large_enum_variant, reason = "one for each call, and moved a few times at most")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Continue a prompt.
    Generate {
        /// What to continue.
        prompt: Prompt,
        /// How.
        #[serde(default)]
        options: GenerateOptions,
    },
    /// Turn each text into a vector of length one (unless an embedding model says otherwise). A
    /// generation model takes the mean of its tokens' states after the last norm.
    Embed {
        /// The texts, one row of the result each.
        texts: Vec<Input>,
    },
    /// Ask a classifier which of its classes each text, or each of its words, belongs to.
    Classify {
        /// The texts.
        texts: Vec<Input>,
    },
    /// Ask a cross-encoder how well each document answers a query.
    Rerank {
        /// The query.
        query: String,
        /// The documents, one score each.
        documents: Vec<String>,
    },
    /// Run a graph.
    Run {
        /// Its inputs.
        inputs: Vec<NamedTensor>,
    },
}

/// What a prepared task can cost at most; to be reserved before it is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Exact number of tokens of the prompt or the texts.
    pub input_tokens: u32,
    /// The most tokens that will be produced.
    pub output_tokens_max: u32,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its text, a stop string appeared, or the grammar allows nothing more.
    Stop,
    /// The model asks for functions to be called.
    ToolCalls,
    /// `max_tokens` were produced.
    Length,
    /// The client cancelled.
    Cancelled,
    /// The task's deadline passed.
    Deadline,
}

/// Tokens worked on. Work that is repeated for the engine's own reasons is not counted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, the cached ones included.
    pub input_tokens: u32,
    /// Those of `input_tokens` that were in the KV cache before the task came to them.
    pub cached_input_tokens: u32,
    /// Tokens delivered. The end-of-sequence token is not one of them, so this is the sum of the
    /// lengths of every [`Event::Piece`]'s `tokens`.
    pub output_tokens: u32,
}

/// What a session yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// More text. Whole characters only.
    Piece {
        /// The text; may be empty when the tokens only completed a stop string.
        text: String,
        /// The tokens that it was made from.
        tokens: Vec<u32>,
        /// One for each of `tokens` where they were asked for, else none.
        logprobs: Vec<TokenLogprobs>,
    },
    /// The functions that the model asks for, after all text. A `Done` follows it.
    ToolCalls(Vec<ToolCall>),
    /// The result of a task that has one, whole. A `Done` follows it.
    Answer {
        /// What was asked for.
        answer: Answer,
        /// What it took.
        usage: Usage,
    },
    /// The task is over; the session may prepare another.
    Done {
        /// Why.
        finish_reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
}

/// The result of a task that is not a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of `Embed`.
    Embeddings {
        /// One row for each text, in order.
        rows: u32,
        /// Length of a row.
        dims: u32,
        /// `rows * dims` little-endian f32.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Of `Classify`.
    Classes {
        /// The model's classes.
        labels: Vec<String>,
        /// What each row is about.
        parts: Vec<Part>,
        /// `parts * labels` little-endian f32: probabilities, which sum to one in a row unless the
        /// model's classes do not exclude each other.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Of `Rerank`.
    Scores {
        /// One little-endian f32 for each document, in order: 0 to 1, the higher the better.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Of `Run`: what the graph gives.
    Tensors(Vec<NamedTensor>),
}

/// A text that was classified, or a token of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which text.
    pub text: u32,
    /// Its first byte in the text, or the number of the token in a text that came as tokens.
    pub start: u32,
    /// The byte, or the token, after its last.
    pub end: u32,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Continues text; it can turn text into vectors too.
    Generation,
    /// Turns text into vectors.
    Embedding,
    /// Says which class a text belongs to.
    Classification,
    /// Says which class each word of a text belongs to.
    TokenClassification,
    /// Says how well documents answer a query.
    Reranking,
    /// Turns tensors into tensors.
    Graph,
}

impl ModelKind {
    /// Its name, as configuration, catalogues and messages have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Embedding => "embedding",
            Self::Classification => "classification",
            Self::TokenClassification => "token_classification",
            Self::Reranking => "reranking",
            Self::Graph => "graph",
        }
    }
}

/// Whether a model can run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// Its files are known; the next task loads it.
    Registered,
    /// It is being loaded.
    Loading,
    /// Its weights are in memory.
    Loaded,
    /// It could not be loaded, or its thread died. A later task tries again.
    Failed,
}

/// A model, and what the engine does with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// What it is.
    #[serde(flatten)]
    pub info: ModelInfo,
    /// Whether it can run now.
    pub state: ModelState,
    /// Whether it stays in memory once it is loaded.
    pub pinned: bool,
    /// How often its weights were loaded.
    pub loads: u64,
}

/// A model, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name under which it was added.
    pub name: String,
    /// What it is for.
    pub kind: ModelKind,
    /// `llama`, `bert`, `onnx`, …
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Most tokens of prompt and output together.
    pub context_length: u32,
    /// Length of the vectors it makes: the width of its hidden state.
    pub embedding_dims: u32,
    /// Size of the weights in their file.
    pub weight_bytes: u64,
    /// The type most weights have in their file, such as `Q8_0`.
    pub quantisation: String,
    /// SHA-256 of the file, or of the folder's files in order of name; lower-case hex.
    pub digest: String,
    /// Whether messages can be rendered by a template of the model's own.
    pub chat_template: bool,
    /// What a graph takes; nothing for other kinds.
    pub inputs: Vec<TensorSpec>,
    /// What a graph gives.
    pub outputs: Vec<TensorSpec>,
}
