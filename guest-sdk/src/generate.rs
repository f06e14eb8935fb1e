//! A generation as an iterator over its pieces.
//!
//! Over wasi:nn it is a sequence of `compute` calls on one context: the first takes the prompt and
//! the options, each further one takes nothing and returns the next piece, and the one that
//! returns a `finish_reason` was the last.

use crate::nn::{Compute, Graph, Named};
use crate::{Error, Prompt, Tensor};
use serde::{Deserialize, Serialize};
use std::{fmt, rc::Rc};

/// A generation being set up; [`Model::generate`](crate::Model::generate) begins one.
#[must_use = "nothing runs until it is streamed or completed"]
pub struct Generate {
    graph: Rc<dyn Graph>,
    prompt: Prompt,
    options: Options,
}

/// The `options` tensor. What is not set is the model's or the platform's choice.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    pub(crate) stream: bool,
}

impl Options {
    /// The inputs that start a generation.
    pub(crate) fn inputs(&self, prompt: &Prompt) -> Result<Named, Error> {
        let options = Self { stream: true, ..self.clone() };
        let (name, tensor) = prompt.input()?;
        let options = Tensor::text(&serde_json::to_string(&options)?);
        Ok(vec![(name.to_owned(), tensor), ("options".to_owned(), options)])
    }
}

/// The setters that [`Generate`] and [`Chat`](crate::Chat) share; both have a field `options`.
macro_rules! option_setters {
    () => {
        /// At most this many tokens of answer. Without it the platform's default holds.
        pub fn max_tokens(mut self, tokens: u32) -> Self {
            self.options.max_tokens = Some(tokens);
            self
        }

        /// 0 always takes the likeliest token; higher is more varied. The usual range is 0 to 2.
        pub fn temperature(mut self, temperature: f32) -> Self {
            self.options.temperature = Some(temperature);
            self
        }

        /// Only the likeliest tokens that together have this probability; 1 for all.
        pub fn top_p(mut self, probability: f32) -> Self {
            self.options.top_p = Some(probability);
            self
        }

        /// Only this many of the likeliest tokens; 0 for all.
        pub fn top_k(mut self, tokens: u32) -> Self {
            self.options.top_k = Some(tokens);
            self
        }

        /// The same seed, prompt and options give the same answer.
        pub fn seed(mut self, seed: u64) -> Self {
            self.options.seed = Some(seed);
            self
        }

        /// Ends the answer before this text. May be given several times.
        pub fn stop(mut self, text: impl Into<String>) -> Self {
            self.options.stop.push(text.into());
            self
        }
    };
}
pub(crate) use option_setters;

impl Generate {
    pub(crate) fn new(graph: Rc<dyn Graph>, prompt: Prompt) -> Self {
        Self { graph, prompt, options: Options::default() }
    }

    option_setters!();

    /// The pieces as they come. The model starts when the first one is asked for.
    #[must_use = "nothing runs until a piece is asked for"]
    pub fn stream(self) -> Pieces {
        Pieces { state: State::Ready(Box::new(self)), end: None }
    }

    /// The whole answer at once.
    ///
    /// # Errors
    /// Whatever ends the generation early: no budget, no time, options the model does not accept.
    pub fn complete(self) -> Result<Completion, Error> {
        let mut pieces = self.stream();
        let mut text = String::new();
        for piece in &mut pieces {
            text.push_str(&piece?.text);
        }
        let end = pieces.end.unwrap_or_default();
        Ok(Completion { text, finish_reason: end.finish_reason, usage: end.usage })
    }
}

impl IntoIterator for Generate {
    type Item = Result<Piece, Error>;
    type IntoIter = Pieces;

    fn into_iter(self) -> Pieces {
        self.stream()
    }
}

/// A piece of an answer: one token or a few. Its text is whole characters; it is empty while a
/// character of several tokens is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// The tokens it was made of.
    pub tokens: Vec<u32>,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model said it was done, or came to a stop text.
    #[default]
    Stop,
    /// `max_tokens` or the model's context was full.
    Length,
    /// The call's budget was spent.
    Budget,
    /// It was cancelled.
    Cancelled,
    /// Something that this SDK does not know yet.
    Other(String),
}

impl FinishReason {
    fn parse(text: &str) -> Self {
        let word = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
        match word.as_str() {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "budget" => Self::Budget,
            "cancelled" => Self::Cancelled,
            _ => Self::Other(word),
        }
    }

    /// The word for it in OpenAI's API and ours.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Budget => "budget",
            Self::Cancelled => "cancelled",
            Self::Other(word) => word,
        }
    }
}

/// What a generation used, as the platform counted and billed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// Those of them that were still in the KV cache.
    #[serde(default)]
    pub cached_input_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What it used.
    pub usage: Usage,
}

/// The pieces of an answer as they come. Dropping it stops the model.
#[must_use = "nothing runs until a piece is asked for"]
pub struct Pieces {
    state: State,
    end: Option<End>,
}

enum State {
    Ready(Box<Generate>),
    Running(Box<dyn Compute>),
    Over,
}

impl Pieces {
    /// What the answer used, once it is at its end; before that `None`.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.end.as_ref().map(|end| end.usage)
    }

    /// Why the answer ended, once it is at its end; before that `None`.
    #[must_use]
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.end.as_ref().map(|end| &end.finish_reason)
    }

    /// The next piece, if there is one; the state is `Over` unless the step says there is more.
    fn advance(&mut self) -> Result<Option<Piece>, Error> {
        let (mut context, inputs) = match std::mem::replace(&mut self.state, State::Over) {
            State::Ready(start) => (start.graph.context()?, start.options.inputs(&start.prompt)?),
            State::Running(context) => (context, Vec::new()),
            State::Over => return Ok(None),
        };
        let step = step(context.as_mut(), inputs)?;
        match step.end {
            Some(end) => self.end = Some(end),
            None => self.state = State::Running(context),
        }
        Ok(step.piece)
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

impl std::iter::FusedIterator for Pieces {}

/// The end of an answer.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: Usage,
}

/// What one step brought. Without an end there is always a piece.
pub(crate) struct Step {
    pub(crate) piece: Option<Piece>,
    pub(crate) end: Option<End>,
}

/// Computes until something has come: a piece, the end, or both.
pub(crate) fn step(context: &mut dyn Compute, mut inputs: Named) -> Result<Step, Error> {
    loop {
        let step = read(&context.compute(std::mem::take(&mut inputs))?)?;
        if step.piece.is_some() || step.end.is_some() {
            return Ok(step);
        }
    }
}

/// Reads the outputs of one `compute`.
fn read(outputs: &Named) -> Result<Step, Error> {
    let find = |name: &str| outputs.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor);
    let text = find("text").map(Tensor::to_text).transpose()?.unwrap_or_default();
    let ids = find("tokens").map(Tensor::to_i64).transpose()?.unwrap_or_default();
    let tokens: Vec<u32> = ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
    let finish_reason = find("finish_reason").map(Tensor::to_text).transpose()?;
    let usage = find("usage").map(Tensor::to_text).transpose()?;
    let something = !text.is_empty() || !tokens.is_empty();
    let piece = something.then(|| Piece { text: text.to_owned(), tokens });
    let end = match finish_reason {
        Some(word) => Some(End {
            finish_reason: FinishReason::parse(word),
            usage: usage.map(serde_json::from_str).transpose()?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(Step { piece, end })
}

#[cfg(test)]
mod tests;
