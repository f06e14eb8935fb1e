//! The engine from outside.

/// Models that somebody has brought.
mod brought;
/// The bundled model against its reference.
mod bundled;
/// Grammars, penalties, likelihoods and calls of functions.
mod control;
/// Embedding tasks.
mod embeddings;
/// Sessions under load, cancellation, limits and damage.
mod sessions;
/// Models that are loaded, evicted, broken and loaded again.
mod store;

use crate::api::{Event, FinishReason, GenerateOptions, Open, Prompt, SessionId, Task, Usage};
use crate::testing::{GgufFile, SIZES, Scratch, random_gguf};
use crate::{Inference, InferenceError, InferenceOptions, ModelSource};

const MODEL: &str = "random";

/// An engine with a random model.
fn engine(options: InferenceOptions) -> Inference {
    engine_of(options, &random_gguf(SIZES, true))
}

fn engine_of(options: InferenceOptions, file: &GgufFile) -> Inference {
    let engine = Inference::new(options).unwrap();
    let scratch = Scratch::new();
    let path = scratch.write("random.gguf", file.bytes());
    engine.add(MODEL, ModelSource::Path(path)).unwrap();
    engine
}

async fn open(engine: &Inference, model: &str) -> SessionId {
    let open = Open { model: model.to_owned(), tenant: "org".to_owned() };
    engine.open(open).await.unwrap()
}

fn text(prompt: &str, options: GenerateOptions) -> Task {
    Task::Generate { prompt: Prompt::Text(prompt.to_owned()), options }
}

fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { temperature: 0.0, max_tokens: Some(max_tokens), ..GenerateOptions::default() }
}

/// All that a task gave.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    text: String,
    tokens: Vec<u32>,
    usage: Usage,
    finish_reason: FinishReason,
}

async fn finish(engine: &Inference, session: SessionId) -> Answer {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    loop {
        match engine.next(session).await.unwrap() {
            Event::Piece { text: piece, tokens: more, .. } => {
                text.push_str(&piece);
                tokens.extend(more);
            }
            Event::Done { finish_reason, usage } => {
                assert_eq!(usage.output_tokens as usize, tokens.len());
                assert_eq!(usage, engine.usage(session));
                return Answer { text, tokens, usage, finish_reason };
            }
            Event::ToolCalls(_) | Event::Answer { .. } => panic!("not asked for"),
        }
    }
}

async fn run_in(engine: &Inference, session: SessionId, task: Task) -> Answer {
    let plan = engine.prepare(session, task).await.unwrap();
    engine.submit(session).await.unwrap();
    let answer = finish(engine, session).await;
    assert_eq!(answer.usage.input_tokens, plan.input_tokens);
    assert!(answer.usage.output_tokens <= plan.output_tokens_max);
    answer
}

async fn run(engine: &Inference, task: Task) -> Answer {
    let session = open(engine, MODEL).await;
    let answer = run_in(engine, session, task).await;
    engine.close(session);
    answer
}

fn field(error: &InferenceError) -> &'static str {
    match error {
        InferenceError::InvalidRequest { field, .. } => field,
        _ => "",
    }
}
