use super::{field, open};
use crate::api::{Answer, Event, FinishReason, ModelKind, SessionId, Task, Usage};
use crate::models::encoder::tests::folder;
use crate::testing::defaults;
use crate::{Inference, InferenceError, InferenceOptions, ModelSource};

const MODEL: &str = "bert";

fn engine() -> Inference {
    let options = InferenceOptions { texts_max: 400, ..defaults() };
    let engine = Inference::new(options).unwrap();
    let folder = folder();
    let info = engine.add(MODEL, ModelSource::Path(folder.path().to_owned())).unwrap();
    // The folder goes when this returns: nothing of it is needed later.
    assert_eq!((info.kind, info.embedding_dims), (ModelKind::Embedding, 24));
    engine
}

fn texts(texts: &[&str]) -> Task {
    Task::Embed { texts: texts.iter().map(|text| (*text).into()).collect() }
}

async fn embed(engine: &Inference, session: SessionId, task: Task) -> Vec<Vec<u8>> {
    let plan = engine.prepare(session, task).await.unwrap();
    engine.submit(session).await.unwrap();
    let event = engine.next(session).await.unwrap();
    let Event::Answer { answer: Answer::Embeddings { rows, dims, data }, usage } = event else {
        panic!("{event:?}")
    };
    let whole = Usage { input_tokens: plan.input_tokens, cached_input_tokens: 0, output_tokens: 0 };
    assert_eq!((usage, data.len() as u32), (whole, rows * dims * 4));
    data.chunks_exact(dims as usize * 4).map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn tasks_share_passes_and_keep_their_rows() {
    let engine = engine();
    let session = open(&engine, MODEL).await;
    let a = embed(&engine, session, texts(&["a"])).await.remove(0);
    // The end may be fetched or not.
    let done = engine.next(session).await.unwrap();
    let usage = Usage { input_tokens: 3, ..Usage::default() };
    assert_eq!(done, Event::Done { finish_reason: FinishReason::Stop, usage });
    let b = embed(&engine, session, texts(&["bb c"])).await.remove(0);
    assert_ne!(a, b);
    let many = (0..6).map(|i| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let session = open(&engine, MODEL).await;
            let all: Vec<&str> = ["a", "bb c"].into_iter().cycle().skip(i % 2).take(300).collect();
            (i, embed(&engine, session, texts(&all)).await)
        })
    });
    let close = |x: &[u8], y: &[u8]| {
        let value = |b: &[u8; 4]| f32::from_le_bytes(*b);
        let pairs = x.as_chunks::<4>().0.iter().zip(y.as_chunks::<4>().0);
        pairs.map(|(x, y)| (value(x) - value(y)).abs()).fold(0f32, f32::max) < 1e-6
    };
    for handle in many.collect::<Vec<_>>() {
        let (i, rows) = handle.await.unwrap();
        assert_eq!(rows.len(), 300);
        let expect = [&a, &b].into_iter().cycle().skip(i % 2);
        assert!(rows.iter().zip(expect).all(|(row, expect)| close(row, expect)), "task {i}");
    }
}

#[tokio::test]
async fn wrong_texts_are_refused_and_a_cancelled_task_ends() {
    let engine = engine();
    let session = open(&engine, MODEL).await;
    for task in [texts(&[]), texts(&["a"; 401]), texts(&["a", &"x".repeat(5 << 20)])] {
        assert_eq!(field(&engine.prepare(session, task).await.unwrap_err()), "texts");
    }
    let long = engine.prepare(session, texts(&["a", "a a a a a a a"])).await.unwrap_err();
    assert!(matches!(long, InferenceError::ContextLength { tokens: 9, max: 8 }), "{long}");
    engine.prepare(session, texts(&["a"; 400])).await.unwrap();
    engine.submit(session).await.unwrap();
    engine.cancel(session);
    let end = engine.next(session).await.unwrap();
    assert!(matches!(end, Event::Done { finish_reason: FinishReason::Cancelled, .. }), "{end:?}");
    assert_eq!(embed(&engine, session, texts(&["a"])).await.len(), 1);
}

/// Cosine of two vectors of length one, as bytes.
fn cosine(a: &[u8], b: &[u8]) -> f32 {
    let value = |b: &[u8; 4]| f32::from_le_bytes(*b);
    a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0).map(|(a, b)| value(a) * value(b)).sum()
}

#[tokio::test]
async fn a_generation_model_embeds_too() {
    let options = InferenceOptions { prefill_tokens_max: 16, ..defaults() };
    let engine = Inference::new(options).unwrap();
    engine.add("tiny", ModelSource::Path(super::bundled::artifact())).unwrap();
    let session = open(&engine, "tiny").await;
    // The long text needs several chunks.
    let long = "Once upon a time there was a fox named Mia who found a lantern. ".repeat(4);
    let all = texts(&["Mia found a lantern.", &long, "Ben likes to swim."]);
    let rows = embed(&engine, session, all).await;
    assert_eq!(rows.len(), 3);
    for row in &rows {
        assert!((cosine(row, row) - 1.0).abs() < 1e-5);
    }
    assert!(cosine(&rows[0], &rows[2]) < 0.9999);
    // Beside a running generation, and alone, a text has the same vector.
    let other = open(&engine, "tiny").await;
    engine.prepare(other, super::text("Once upon", super::greedy(100))).await.unwrap();
    engine.submit(other).await.unwrap();
    let beside = embed(&engine, session, texts(&[&long])).await;
    assert!(cosine(&beside[0], &rows[1]) > 0.9999);
    let over = engine.prepare(session, texts(&[&long.repeat(20)])).await.unwrap_err();
    assert!(matches!(over, InferenceError::ContextLength { .. }), "{over}");
}

#[tokio::test]
async fn an_embedding_model_does_not_generate() {
    let engine = engine();
    let session = open(&engine, MODEL).await;
    let task = super::text("x", super::greedy(1));
    let error = engine.prepare(session, task).await.unwrap_err();
    assert!(matches!(error, InferenceError::WrongKind { .. }), "{error}");
}
