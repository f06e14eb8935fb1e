use std::path::PathBuf;
use std::time::Duration;

use super::{finish, greedy, open, run_in, text};
use crate::api::ModelState::{self, Failed, Loaded, Registered};
use crate::api::{ModelStatus, SessionId};
use crate::testing::{Scratch, defaults, endless_gguf};
use crate::{Inference, InferenceError, InferenceOptions, ModelSource};

const HOUR: Duration = Duration::from_secs(3_600);

/// An engine that knows the models `a`, `b` and `c`, and has memory for so many of them.
fn engine(models: f64, options: &InferenceOptions) -> (Inference, Scratch) {
    let file = endless_gguf();
    let scratch = Scratch::new();
    let weights: usize = file.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    let memory_bytes_max = (weights as f64 * models) as u64;
    let engine = Inference::new(InferenceOptions { memory_bytes_max, ..options.clone() }).unwrap();
    for name in ["a", "b", "c"] {
        let path = scratch.write(&format!("{name}.gguf"), file.bytes());
        let info = engine.register(name, ModelSource::Path(path), false).unwrap();
        assert_eq!((info.name.as_str(), info.weight_bytes), (name, weights as u64));
    }
    (engine, scratch)
}

fn file(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.path().join(format!("{name}.gguf"))
}

/// State and loads of all models.
fn states(engine: &Inference) -> Vec<(ModelState, u64)> {
    engine.models().into_iter().map(|ModelStatus { state, loads, .. }| (state, loads)).collect()
}

async fn use_model(engine: &Inference, name: &str) {
    let session = open(engine, name).await;
    assert_eq!(run_in(engine, session, text("the", greedy(3))).await.tokens.len(), 3);
    // The session stays: without a task it holds no memory.
}

async fn prepare(engine: &Inference, name: &str) -> Result<SessionId, InferenceError> {
    let session = open(engine, name).await;
    engine.prepare(session, text("the", greedy(3))).await?;
    Ok(session)
}

/// A session whose task is neither submitted nor ended.
async fn keep_busy(engine: &Inference, name: &str) -> SessionId {
    prepare(engine, name).await.unwrap()
}

#[tokio::test]
async fn models_are_loaded_on_demand_and_leave_for_others() {
    let (engine, _scratch) = engine(2.5, &defaults());
    assert_eq!(states(&engine), [(Registered, 0); 3]);
    for (name, expect) in [
        ("a", [(Loaded, 1), (Registered, 0), (Registered, 0)]),
        // Whoever comes shares the one copy.
        ("a", [(Loaded, 1), (Registered, 0), (Registered, 0)]),
        ("b", [(Loaded, 1), (Loaded, 1), (Registered, 0)]),
        ("a", [(Loaded, 1), (Loaded, 1), (Registered, 0)]),
        // The least recently used goes.
        ("c", [(Loaded, 1), (Registered, 1), (Loaded, 1)]),
        ("b", [(Registered, 1), (Loaded, 2), (Loaded, 1)]),
    ] {
        use_model(&engine, name).await;
        assert_eq!(states(&engine), expect, "{name}");
    }
}

#[tokio::test]
async fn a_pinned_model_stays() {
    let (engine, scratch) = engine(1.5, &defaults());
    assert!(engine.pin("a", true) && !engine.pin("x", true));
    use_model(&engine, "a").await;
    let error = prepare(&engine, "b").await.unwrap_err();
    assert!(matches!(error, InferenceError::Overloaded(_)), "{error}");
    let add = || engine.add("d", ModelSource::Path(file(&scratch, "b")));
    assert!(matches!(add().unwrap_err(), InferenceError::Overloaded(_)));
    assert_eq!(states(&engine)[0], (Loaded, 1));
    engine.pin("a", false);
    add().unwrap();
    assert_eq!(states(&engine)[0], (Registered, 1));
    use_model(&engine, "b").await;
    assert_eq!(states(&engine)[3], (Registered, 1));
}

#[tokio::test]
async fn a_model_that_was_used_later_goes_before_a_pinned_one() {
    let (engine, _scratch) = engine(2.5, &defaults());
    engine.pin("a", true);
    for name in ["a", "b", "c"] {
        use_model(&engine, name).await;
    }
    assert_eq!(states(&engine), [(Loaded, 1), (Registered, 1), (Loaded, 1)]);
}

#[tokio::test]
async fn a_task_waits_for_the_memory_of_models_in_use() {
    let options = InferenceOptions { load_waiting_max: 1, ..defaults() };
    let (engine, _scratch) = engine(1.5, &options);
    let busy = keep_busy(&engine, "a").await;
    let clone = engine.clone();
    let (started, begun) = tokio::sync::oneshot::channel();
    let held = tokio::spawn(async move {
        let session = open(&clone, "b").await;
        started.send(()).unwrap();
        clone.prepare(session, text("the", greedy(3))).await?;
        Ok::<_, InferenceError>(session)
    });
    begun.await.unwrap();
    tokio::task::yield_now().await;
    // One waits, so that is all; and it does not wait beyond its deadline.
    let error = prepare(&engine, "b").await.unwrap_err();
    assert!(matches!(error, InferenceError::Overloaded(what) if what.contains("many")), "{error}");
    assert_eq!(states(&engine)[1], (Registered, 0));
    engine.submit(busy).await.unwrap();
    finish(&engine, busy).await;
    let session = held.await.unwrap().unwrap();
    engine.submit(session).await.unwrap();
    assert_eq!(finish(&engine, session).await.tokens.len(), 3);
    assert_eq!(states(&engine)[..2], [(Registered, 1), (Loaded, 1)]);
}

#[tokio::test]
async fn a_client_that_left_with_a_prepared_task_holds_no_memory() {
    let session_idle_max = Duration::ZERO;
    let (engine, _scratch) = engine(1.5, &InferenceOptions { session_idle_max, ..defaults() });
    let gone = keep_busy(&engine, "a").await;
    prepare(&engine, "b").await.unwrap();
    assert_eq!(states(&engine)[..2], [(Registered, 1), (Loaded, 1)]);
    let error = engine.submit(gone).await.unwrap_err();
    assert!(matches!(error, InferenceError::UnknownSession), "{error}");
}

#[tokio::test]
async fn a_task_does_not_wait_beyond_its_deadline() {
    let (engine, _scratch) = engine(1.5, &defaults());
    let busy = keep_busy(&engine, "a").await;
    let session = open(&engine, "b").await;
    let mut options = greedy(3);
    options.deadline_ms = Some(1);
    let error = engine.prepare(session, text("the", options)).await.unwrap_err();
    assert!(matches!(error, InferenceError::Overloaded(what) if what.contains("time")), "{error}");
    engine.close(busy);
    use_model(&engine, "b").await;
}

async fn fail(engine: Inference) -> InferenceError {
    prepare(&engine, "a").await.unwrap_err()
}

#[tokio::test]
async fn a_failed_load_answers_all_and_is_tried_again() {
    let options = |load_retry_after| InferenceOptions { load_retry_after, ..defaults() };
    for retry in [HOUR, Duration::ZERO] {
        let (engine, scratch) = engine(9.0, &options(retry));
        let path = file(&scratch, "a");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let waiting = (0..5).map(|_| tokio::spawn(fail(engine.clone())));
        for error in waiting.collect::<Vec<_>>() {
            let error = error.await.unwrap();
            assert!(matches!(error, InferenceError::LoadFailed { .. }), "{error}");
        }
        assert_eq!(states(&engine)[0], (Failed, 0));
        // Another file than the one that was checked is no better.
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&path, other).unwrap();
        assert!(prepare(&engine, "a").await.is_err());
        std::fs::write(&path, &bytes).unwrap();
        match retry {
            HOUR => assert!(prepare(&engine, "a").await.is_err(), "not yet"),
            _ => use_model(&engine, "a").await,
        }
        // The others are not touched by it.
        use_model(&engine, "b").await;
    }
}

/// Makes a model's thread panic, and waits until it has.
async fn kill(engine: &Inference, name: &str) {
    engine.break_worker(name);
    let index = engine.models().iter().position(|model| model.info.name == name).unwrap();
    while states(engine)[index].0 != Failed {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dead_model_is_loaded_again() {
    let options = InferenceOptions { load_retry_after: HOUR, ..defaults() };
    let (engine, _scratch) = engine(9.0, &options);
    let session = keep_busy(&engine, "a").await;
    engine.submit(session).await.unwrap();
    finish(&engine, session).await;
    let lost = keep_busy(&engine, "a").await;
    kill(&engine, "a").await;
    let error = engine.submit(lost).await.unwrap_err();
    assert!(matches!(error, InferenceError::WorkerDied), "{error}");
    // A session that had no task in it goes on.
    assert_eq!(run_in(&engine, session, text("the", greedy(3))).await.tokens.len(), 3);
    assert_eq!(states(&engine)[0], (Loaded, 2));
    // It has worked since, so another death is the first again; one after that is not.
    kill(&engine, "a").await;
    keep_busy(&engine, "a").await;
    assert_eq!(states(&engine)[0], (Loaded, 3));
    kill(&engine, "a").await;
    let error = prepare(&engine, "a").await.unwrap_err();
    assert!(matches!(error, InferenceError::LoadFailed { .. }), "{error}");
}

#[tokio::test]
async fn who_waits_for_a_model_that_is_removed_is_told() {
    let (engine, scratch) = engine(1.5, &defaults());
    let busy = keep_busy(&engine, "a").await;
    let clone = engine.clone();
    let held = tokio::spawn(async move { prepare(&clone, "b").await });
    tokio::task::yield_now().await;
    assert!(engine.remove("b"));
    let error = held.await.unwrap().unwrap_err();
    assert!(matches!(error, InferenceError::UnknownSession), "{error}");
    // Under its name there may be another.
    engine.close(busy);
    engine.register("b", ModelSource::Path(file(&scratch, "a")), true).unwrap();
    use_model(&engine, "b").await;
    let ModelStatus { pinned, state, .. } = engine.models().remove(1);
    assert_eq!((pinned, state), (true, Loaded));
}
