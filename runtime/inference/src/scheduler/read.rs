//! Tasks of encoders, tokenised and checked.

use super::encode::Reading;
use super::model::Model;
use crate::InferenceError;
use crate::api::{Input, ModelKind, Part, Task};
use crate::models::encoder::Encoded;
use crate::models::load::EncoderText;
use crate::text::library;

/// What a task asks an encoder to read; `None` where it is for another kind of model.
pub(super) fn prepare(
    model: &Model,
    text: &EncoderText,
    task: Task,
) -> Result<Option<Reading>, InferenceError> {
    match (task, model.info().kind) {
        (Task::Embed { texts }, ModelKind::Embedding) => {
            read(model, ("texts", texts.iter().map(Read::One).collect()), text).map(Some)
        }
        (Task::Classify { texts }, ModelKind::Classification | ModelKind::TokenClassification) => {
            read(model, ("texts", texts.iter().map(Read::One).collect()), text).map(Some)
        }
        (Task::Rerank { query, documents }, ModelKind::Reranking) => {
            let pair = |document| Read::Two(&query, document);
            read(model, ("documents", documents.iter().map(pair).collect()), text).map(Some)
        }
        _ => Ok(None),
    }
}

/// One thing to read.
enum Read<'a> {
    One(&'a Input),
    Two(&'a str, &'a String),
}

impl Read<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::One(input) => input.bytes(),
            Self::Two(first, second) => first.len() + second.len(),
        }
    }
}

fn read(
    model: &Model,
    (field, all): (&'static str, Vec<Read<'_>>),
    text: &EncoderText,
) -> Result<Reading, InferenceError> {
    let options = model.options();
    let invalid = |reason: String| InferenceError::invalid(field, reason);
    if all.is_empty() || all.len() > options.texts_max {
        let reason = format!("{} texts; 1 to {} are allowed", all.len(), options.texts_max);
        return Err(invalid(reason));
    }
    let bytes = all.iter().map(Read::bytes).fold(0, usize::saturating_add);
    if bytes > options.text_bytes_max {
        return Err(invalid(format!("{bytes} bytes are more than {}", options.text_bytes_max)));
    }
    let mut reading = Reading { texts: Vec::new(), parts: Vec::new() };
    for (at, read) in all.iter().enumerate() {
        let (encoded, spans) = encode(text, read).map_err(invalid)?;
        if encoded.ids.is_empty() {
            return Err(invalid("a text has no tokens".to_owned()));
        }
        if encoded.ids.len() > text.tokens_max {
            let tokens = u32::try_from(encoded.ids.len()).unwrap_or(u32::MAX);
            return Err(InferenceError::ContextLength { tokens, max: text.tokens_max as u32 });
        }
        let part = |(start, end)| Part { text: at as u32, start, end };
        reading.parts.push(match model.info().kind {
            ModelKind::TokenClassification => {
                spans.into_iter().map(|span| span.map(part)).collect()
            }
            _ => vec![Some(part((0, length(read))))],
        });
        reading.texts.push(encoded);
    }
    Ok(reading)
}

/// Bytes of a text, or tokens.
fn length(read: &Read<'_>) -> u32 {
    let length = match read {
        Read::One(Input::Text(text)) => text.len(),
        Read::One(Input::Tokens(tokens)) => tokens.len(),
        Read::Two(_, document) => document.len(),
    };
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Where each token stands in its text; nothing for those that the tokenizer has added.
type Spans = Vec<Option<(u32, u32)>>;

fn encode(text: &EncoderText, read: &Read<'_>) -> Result<(Encoded, Spans), String> {
    let framed = match read {
        Read::One(Input::Tokens(tokens)) => {
            let ids = super::prepare::known(tokens, text.vocabulary)?;
            let spans = (0..ids.len() as u32).map(|at| Some((at, at + 1))).collect();
            return Ok((Encoded { ids, types: Vec::new() }, spans));
        }
        Read::One(Input::Text(first)) => library::framed(&text.tokenizer, first, None)?,
        Read::Two(first, second) => library::framed(&text.tokenizer, first, Some(second))?,
    };
    let apart = framed.types.iter().any(|of| *of > 0 && (*of as usize) < text.types);
    let types = if apart { framed.types } else { Vec::new() };
    Ok((Encoded { ids: framed.ids, types }, framed.spans))
}
