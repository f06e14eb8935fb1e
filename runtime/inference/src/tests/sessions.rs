use std::time::Duration;

use super::{Answer, MODEL, engine, engine_of, field, finish, greedy, open, run, run_in, text};
use crate::api::{Event, FinishReason, GenerateOptions, Open, Prompt, Task, Usage};
use crate::testing::{SIZES, defaults, endless_gguf, random_gguf};
use crate::{Inference, InferenceError, InferenceOptions};

fn sampled(seed: u64) -> GenerateOptions {
    GenerateOptions { seed: Some(seed), max_tokens: Some(40), ..GenerateOptions::default() }
}

/// A model that never ends its text: the end token is one that nothing produces.
fn endless(options: InferenceOptions) -> Inference {
    let file = endless_gguf();
    engine_of(options, &file)
}

#[tokio::test]
async fn the_batch_changes_nothing() {
    let engine = endless(defaults());
    let task = |i: u64| {
        let options = if i.is_multiple_of(2) { sampled(i) } else { greedy(30 + i as u32) };
        text(&"the fox and the hen ".repeat(1 + i as usize), options)
    };
    let mut alone = Vec::new();
    for i in 0..8 {
        alone.push(run(&engine, task(i)).await);
    }
    let running = (0..8).map(|i| {
        let engine = engine.clone();
        tokio::spawn(async move { run(&engine, task(i)).await })
    });
    // All but what was found in the cache, which is another's when it was there before.
    let given = |a: Answer| (a.text, a.tokens, a.finish_reason, a.usage.input_tokens);
    for (handle, alone) in running.collect::<Vec<_>>().into_iter().zip(alone) {
        assert_eq!(given(handle.await.unwrap()), given(alone));
    }
}

#[tokio::test]
async fn a_prompt_in_chunks_gives_the_same() {
    let options = InferenceOptions { prefill_tokens_max: 3, ..defaults() };
    let task = || text(&"hen ".repeat(20), greedy(20));
    let (slow, fast) = (endless(options), endless(defaults()));
    assert_eq!(run(&slow, task()).await, run(&fast, task()).await);
}

#[tokio::test]
async fn a_task_ends_for_its_reason() {
    let engine = endless(defaults());
    let whole = run(&engine, text("the", greedy(20))).await;
    assert_eq!((whole.finish_reason, whole.tokens.len()), (FinishReason::Length, 20));
    // A stop string from the middle of the same text, across its tokens.
    let middle: Vec<char> = whole.text.chars().skip(4).take(3).collect();
    let stop: String = middle.iter().collect();
    let options = GenerateOptions { stop: vec![stop.clone()], ..greedy(20) };
    let stopped = run(&engine, text("the", options)).await;
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    assert_eq!(stopped.text, whole.text[..whole.text.find(&stop).unwrap()]);
    // The same model with the third token as its end.
    let mut file = random_gguf(SIZES, true);
    let end = crate::testing::Field::U32(whole.tokens[2]);
    file.set("tokenizer.ggml.eos_token_id", end);
    let ended = run(&engine_of(defaults(), &file), text("the", greedy(20))).await;
    assert_eq!(ended.finish_reason, FinishReason::Stop);
    let first = whole.tokens.iter().position(|id| *id == whole.tokens[2]).unwrap();
    assert_eq!(ended.tokens, whole.tokens[..first]);
}

#[tokio::test]
async fn a_session_goes_on_where_its_cache_allows() {
    let engine = endless(defaults());
    let session = open(&engine, MODEL).await;
    let prompt: Vec<u32> = (10..50).collect();
    let task = |tokens: &[u32]| Task::Generate {
        prompt: Prompt::Tokens(tokens.to_vec()),
        options: greedy(10),
    };
    let first = run_in(&engine, session, task(&prompt)).await;
    assert_eq!(first.usage.cached_input_tokens, 0);
    let longer = [&prompt[..], &first.tokens, &[7, 8, 9]].concat();
    let second = run_in(&engine, session, task(&longer)).await;
    // The whole blocks of what was computed.
    assert_eq!(second.usage.cached_input_tokens, 32);
    let again = run(&engine, task(&longer)).await;
    assert_eq!((&again.tokens, again.usage.cached_input_tokens), (&second.tokens, 32));
    let third = run_in(&engine, session, task(&prompt)).await;
    assert_eq!((third.tokens, third.usage.cached_input_tokens), (first.tokens, 32));
    let stranger = Open { model: MODEL.to_owned(), tenant: "other".to_owned() };
    let stranger = engine.open(stranger).await.unwrap();
    let fresh = run_in(&engine, stranger, task(&longer)).await;
    assert_eq!((fresh.tokens, fresh.usage.cached_input_tokens), (second.tokens, 0));
}

#[tokio::test]
async fn cancelling_stops_and_the_session_can_go_on() {
    let engine = endless(defaults());
    let session = open(&engine, MODEL).await;
    engine.prepare(session, text("the", greedy(200))).await.unwrap();
    engine.submit(session).await.unwrap();
    let Event::Piece { tokens, .. } = engine.next(session).await.unwrap() else {
        panic!("no piece")
    };
    engine.cancel(session);
    let end = engine.next(session).await.unwrap();
    let Event::Done { finish_reason: FinishReason::Cancelled, usage } = end else {
        panic!("{end:?}")
    };
    assert_eq!((usage.input_tokens, usage.output_tokens), (1, tokens.len() as u32));
    assert_eq!(field(&engine.next(session).await.unwrap_err()), "session");
    let again = run_in(&engine, session, text("the", greedy(5))).await;
    assert_eq!(again.tokens.len(), 5);
}

#[tokio::test]
async fn a_client_that_does_not_fetch_holds_nobody_up() {
    let options = InferenceOptions { stream_events_max: 2, kv_tokens_max: 64, ..defaults() };
    let engine = endless(options);
    let expect = run(&engine, text("the hen", greedy(40))).await;
    let slow = open(&engine, MODEL).await;
    engine.prepare(slow, text("the hen", greedy(40))).await.unwrap();
    engine.submit(slow).await.unwrap();
    engine.next(slow).await.unwrap();
    // The whole cache is needed here, so the slow one's blocks are taken.
    let task = Task::Generate { prompt: Prompt::Tokens(vec![9; 40]), options: greedy(20) };
    assert_eq!(run(&engine, task).await.tokens.len(), 20);
    let rest = finish_after_one(&engine, slow).await;
    assert_eq!(rest.1, Usage { input_tokens: expect.usage.input_tokens, ..expect.usage });
    assert_eq!(rest.0, expect.tokens[1..]);
    engine.close(slow);
}

async fn finish_after_one(engine: &Inference, session: crate::api::SessionId) -> (Vec<u32>, Usage) {
    let mut all = Vec::new();
    loop {
        match engine.next(session).await.unwrap() {
            Event::Piece { tokens, .. } => all.extend(tokens),
            Event::Done { usage, .. } => return (all, usage),
            Event::ToolCalls(_) | Event::Answer { .. } => panic!("not asked for"),
        }
    }
}

#[tokio::test]
async fn limits_are_refused_by_name() {
    let options = InferenceOptions { sessions_max: 1, ..defaults() };
    let engine = engine(options);
    let unknown = Open { model: "x".to_owned(), tenant: String::new() };
    let error = engine.open(unknown).await.unwrap_err();
    assert!(matches!(error, InferenceError::ModelNotFound(name) if name == "x"));
    let session = open(&engine, MODEL).await;
    let second = Open { model: MODEL.to_owned(), tenant: String::new() };
    assert!(matches!(engine.open(second).await.unwrap_err(), InferenceError::Overloaded(_)));
    let with = |change: fn(&mut GenerateOptions)| {
        let mut options = greedy(1);
        change(&mut options);
        text("the", options)
    };
    for (task, expect) in [
        (with(|o| o.max_tokens = Some(0)), "max_tokens"),
        (with(|o| o.temperature = -0.1), "temperature"),
        (with(|o| o.temperature = f32::NAN), "temperature"),
        (with(|o| o.temperature = 2.1), "temperature"),
        (with(|o| o.top_p = 0.0), "top_p"),
        (with(|o| o.top_p = f32::NAN), "top_p"),
        (with(|o| o.stop = vec![String::new()]), "stop"),
        (with(|o| o.stop = vec!["x".to_owned(); 10_000]), "stop"),
        (with(|o| o.stop = vec!["x".repeat(257)]), "stop"),
        (text("", greedy(1)), "prompt"),
        (text(&"x".repeat(5 << 20), greedy(1)), "prompt"),
        (Task::Generate { prompt: Prompt::Tokens(vec![264]), options: greedy(1) }, "tokens"),
        (
            Task::Generate { prompt: Prompt::Messages("{".to_owned()), options: greedy(1) },
            "messages",
        ),
    ] {
        let error = engine.prepare(session, task).await.unwrap_err();
        assert_eq!(field(&error), expect, "{error}");
    }
    let long = text(&"x ".repeat(200), greedy(1));
    let error = engine.prepare(session, long).await.unwrap_err();
    assert!(matches!(error, InferenceError::ContextLength { tokens: 400, max: 255 }), "{error}");
    assert_eq!(field(&engine.submit(session).await.unwrap_err()), "session");
    let plan = engine.prepare(session, text("the", greedy(9_999))).await.unwrap();
    assert_eq!((plan.input_tokens, plan.output_tokens_max), (1, 255));
    engine.close(session);
    engine.close(session);
    assert!(matches!(engine.next(session).await.unwrap_err(), InferenceError::UnknownSession));
}

#[tokio::test]
async fn a_client_that_does_not_fetch_gives_its_place_to_others() {
    let options = InferenceOptions { batch_max: 1, stream_events_max: 1, ..defaults() };
    let engine = endless(options);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = open(&engine, MODEL).await;
        engine.prepare(session, text("the", greedy(50))).await.unwrap();
        engine.submit(session).await.unwrap();
        sessions.push(session);
    }
    // The last is fetched first: it needs the only place, which the others hold in turn.
    for session in sessions.into_iter().rev() {
        assert_eq!(finish(&engine, session).await.tokens.len(), 50);
    }
}

#[tokio::test]
async fn a_payer_cannot_take_all_sessions() {
    let options = InferenceOptions { sessions_max: 3, sessions_payer_max: 2, ..defaults() };
    let engine = engine(options);
    let open_for =
        |tenant: &str| engine.open(Open { model: MODEL.to_owned(), tenant: tenant.to_owned() });
    let first = open_for("a").await.unwrap();
    open_for("a").await.unwrap();
    let error = open_for("a").await.unwrap_err();
    assert!(matches!(error, InferenceError::Overloaded(what) if what.contains("caller")));
    open_for("b").await.unwrap();
    assert!(open_for("b").await.is_err(), "all are taken");
    engine.close(first);
    open_for("b").await.unwrap();
}

#[tokio::test]
async fn a_client_that_left_is_forgotten() {
    let options = InferenceOptions {
        session_idle_max: Duration::from_millis(30),
        sessions_max: 1,
        ..defaults()
    };
    let engine = endless(options);
    let session = open(&engine, MODEL).await;
    engine.prepare(session, text("the", greedy(200))).await.unwrap();
    engine.submit(session).await.unwrap();
    // Dropped while it waits; then nobody calls again.
    drop(tokio::time::timeout(Duration::ZERO, engine.next(session)).await);
    let open = || Open { model: MODEL.to_owned(), tenant: String::new() };
    while engine.open(open()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(engine.next(session).await.unwrap_err(), InferenceError::UnknownSession));
}

#[tokio::test]
async fn removing_a_model_ends_its_sessions() {
    let engine = endless(defaults());
    let session = open(&engine, MODEL).await;
    engine.prepare(session, text("the", greedy(200))).await.unwrap();
    engine.submit(session).await.unwrap();
    let clone = engine.clone();
    let drain = async move { while clone.next(session).await.is_ok() {} };
    let waiting = tokio::spawn(drain);
    assert!(engine.remove(MODEL) && !engine.remove(MODEL));
    waiting.await.unwrap();
    assert!(engine.models().is_empty() && engine.model(MODEL).is_none());
}

#[tokio::test]
async fn a_dead_worker_is_an_error_and_not_a_hang() {
    let engine = endless(defaults());
    let session = open(&engine, MODEL).await;
    engine.prepare(session, text("the", greedy(200))).await.unwrap();
    engine.submit(session).await.unwrap();
    engine.next(session).await.unwrap();
    engine.break_worker(MODEL);
    let error = loop {
        match engine.next(session).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, InferenceError::WorkerDied), "{error}");
    // Its file is gone by now.
    let later = open(&engine, MODEL).await;
    let error = engine.prepare(later, text("the", greedy(5))).await.unwrap_err();
    assert!(matches!(error, InferenceError::LoadFailed { .. }), "{error}");
}

#[tokio::test]
async fn a_deadline_ends_a_task() {
    let engine = endless(defaults());
    let session = open(&engine, MODEL).await;
    let options = GenerateOptions { deadline_ms: Some(0), ..greedy(200) };
    let late = engine.prepare(session, text("the", options)).await;
    assert_eq!(late.unwrap().output_tokens_max, 200);
    engine.submit(session).await.unwrap();
    let end = finish(&engine, session).await;
    assert_eq!((end.finish_reason, end.usage), (FinishReason::Deadline, Usage::default()));
    let options = GenerateOptions { deadline_ms: Some(u64::MAX), ..greedy(5) };
    let again = run_in(&engine, session, text("the", options)).await;
    assert_eq!(again.finish_reason, FinishReason::Length);
}

/// What one of many clients does: some finish, some cancel, some leave without a word.
async fn visit(engine: Inference, i: u64) -> usize {
    let session = open(&engine, MODEL).await;
    let mut delivered = 0;
    for round in 0..3 {
        engine.prepare(session, text("the hen", sampled(i + round))).await.unwrap();
        engine.submit(session).await.unwrap();
        let patience = if i.is_multiple_of(3) { 5 } else { usize::MAX };
        let taken = take(&engine, session, patience).await;
        delivered += taken;
        engine.cancel(session);
    }
    if !i.is_multiple_of(4) {
        engine.close(session);
    }
    delivered
}

async fn take(engine: &Inference, session: crate::api::SessionId, patience: usize) -> usize {
    let mut taken = 0;
    while taken < patience {
        match engine.next(session).await.unwrap() {
            Event::Piece { tokens, .. } => taken += tokens.len(),
            Event::Done { .. } => break,
            Event::ToolCalls(_) | Event::Answer { .. } => panic!("not asked for"),
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_at_once_are_all_served() {
    let options =
        InferenceOptions { batch_max: 4, stream_events_max: 1, kv_tokens_max: 256, ..defaults() };
    let engine = endless(options);
    let visits = (0..60).map(|i| tokio::spawn(visit(engine.clone(), i)));
    for (i, visit) in visits.collect::<Vec<_>>().into_iter().enumerate() {
        let delivered = visit.await.unwrap();
        if i % 3 != 0 {
            assert_eq!(delivered, 120, "client {i}");
        }
    }
}
