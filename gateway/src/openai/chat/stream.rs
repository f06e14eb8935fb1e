use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::KEEP_ALIVE;
use super::reply::Shape;
use crate::body::{Body, BoxError};
use crate::errors::ApiError;
use crate::invoke::model::{Run, Step};

/// A stream of events: for each answer a first chunk with the role, one for each piece, and one with
/// the reason of the end; one with the usage where it was asked for, and `[DONE]`.
pub(super) fn body(run: Run, shape: Shape, first: Option<Step>) -> Body {
    let mut ready = VecDeque::new();
    ready.extend((0..shape.choices).map(|choice| event(&shape.role_chunk(choice))));
    let over = first.is_some_and(|step| push(&shape, Ok(step), &mut ready));
    let state = State { run, shape, ready, over };
    let frames = stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), state))
    });
    StreamBody::new(frames).boxed_unsync()
}

struct State {
    run: Run,
    shape: Shape,
    /// Events that can leave at once.
    ready: VecDeque<Bytes>,
    over: bool,
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            let Ok(step) = tokio::time::timeout(KEEP_ALIVE, self.run.next()).await else {
                return Some(Bytes::from_static(b": keep-alive\n\n"));
            };
            let step = step.unwrap_or(Err(ApiError::Internal));
            self.over = push(&self.shape, step, &mut self.ready);
        }
    }
}

/// Turns a step into events; true after the last step.
fn push(shape: &Shape, step: Result<Step, ApiError>, ready: &mut VecDeque<Bytes>) -> bool {
    match step {
        // Tokens that only completed a stop string have no text.
        Ok(Step::Piece { text, logprobs, .. }) if text.is_empty() && logprobs.is_empty() => false,
        Ok(Step::Piece { choice, text, logprobs, .. }) => {
            ready.push_back(event(&shape.text_chunk(choice, &text, &logprobs)));
            false
        }
        Ok(Step::ToolCalls { choice, calls }) => {
            ready.push_back(event(&shape.calls_chunk(choice, &calls)));
            false
        }
        Ok(Step::Done(finished)) => {
            for (choice, reason) in (0..).zip(&finished.finish_reasons) {
                ready.push_back(event(&shape.last_chunk(choice, *reason)));
            }
            if shape.include_usage {
                ready.push_back(event(&shape.usage_chunk(&finished)));
            }
            ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
            true
        }
        Ok(Step::Started | Step::Answer(_)) => false,
        Err(error) => {
            ready.push_back(Bytes::from(format!("data: {}\n\n", error.json())));
            true
        }
    }
}

fn event(chunk: &serde_json::Value) -> Bytes {
    Bytes::from(format!("data: {chunk}\n\n"))
}
