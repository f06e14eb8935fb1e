use emberbox_sampling::{Candidate, Constraint, Logprobs, Sampler};

use crate::InferenceError;
use crate::api::{Event, FinishReason, Likelihood, TokenLogprobs};
use crate::text::codec::Codec;
use crate::text::output::{Output, Piece};
use crate::text::tools::{ToolReader, ToolStyle};

/// How one sequence goes from logits to what its client sees.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) sampler: Sampler,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) output: Output,
    /// How many alternatives are told with each token.
    pub(crate) logprobs: Option<usize>,
    /// Looks for calls of functions, where some are offered.
    pub(crate) tools: Option<Tools>,
}

/// How a sequence's calls of functions are found.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) style: ToolStyle,
    pub(crate) reader: ToolReader,
}

/// What a row of logits led to.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// The next token of the sequence; `None` when it was one that ends sequences.
    pub(crate) token: Option<u32>,
    /// What can be shown now.
    pub(crate) event: Option<Event>,
    /// Why this was the last.
    pub(crate) end: Option<FinishReason>,
}

impl Choice {
    /// Chooses from the logits of the sequence's last token.
    ///
    /// # Errors
    /// `InvalidRequest` when the grammar cannot be followed any further.
    pub(crate) fn next(&mut self, logits: &[f32], codec: &Codec) -> Result<Chosen, InferenceError> {
        let mask = match &mut self.constraint {
            Some(constraint) => Some(constraint.mask().map_err(|error| unfollowed(&error))?),
            None => None,
        };
        let token = self.sampler.pick(logits, mask.as_ref());
        if codec.ends(token) {
            return Ok(Chosen { end: Some(FinishReason::Stop), ..Chosen::default() });
        }
        let mut complete = false;
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token).map_err(|error| unfollowed(&error))?;
            complete = constraint.is_complete();
        }
        let logprobs = self.logprobs.map(|count| {
            let Logprobs { chosen, top } = Logprobs::of(logits, token, count);
            let spelled = |candidate: Candidate| likelihood(candidate, codec);
            TokenLogprobs { chosen: spelled(chosen), top: top.into_iter().map(spelled).collect() }
        });
        let mark = self
            .tools
            .as_ref()
            .and_then(|tools| codec.control(token).filter(|control| tools.style.spells(control)));
        let bytes = mark.map_or_else(|| codec.bytes(token), str::as_bytes);
        let (piece, stopped) = self.output.push(token, bytes, logprobs);
        let end = (stopped || complete).then_some(FinishReason::Stop);
        Ok(Chosen { token: Some(token), event: piece.map(|piece| self.event(piece)), end })
    }

    /// The events of the end: what was held back, and the calls of functions that it holds, which
    /// change the reason of the end.
    pub(crate) fn finish(&mut self, reason: FinishReason) -> (Vec<Event>, FinishReason) {
        let mut events = Vec::new();
        if let Some(piece) = self.output.finish() {
            events.push(self.event(piece));
        }
        match self.tools.as_mut().map(|tools| tools.reader.finish()) {
            Some(Ok(calls)) => {
                events.push(Event::ToolCalls(calls));
                let whole = reason == FinishReason::Stop;
                return (events, if whole { FinishReason::ToolCalls } else { reason });
            }
            Some(Err(text)) if !text.is_empty() => {
                events.push(Event::Piece { text, tokens: Vec::new(), logprobs: Vec::new() });
            }
            Some(Err(_)) | None => {}
        }
        (events, reason)
    }

    fn event(&mut self, piece: Piece) -> Event {
        let text = match &mut self.tools {
            Some(tools) => tools.reader.push(&piece.text),
            None => piece.text,
        };
        Event::Piece { text, tokens: piece.tokens, logprobs: piece.logprobs }
    }
}

fn likelihood(candidate: Candidate, codec: &Codec) -> Likelihood {
    let Candidate { token, logprob } = candidate;
    Likelihood { token, bytes: codec.bytes(token).to_vec(), logprob }
}

fn unfollowed(error: &emberbox_sampling::GrammarError) -> InferenceError {
    InferenceError::invalid("grammar", error.to_string())
}
