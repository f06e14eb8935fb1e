use std::sync::Arc;

use super::{greedy, open, run_in, text};
use crate::api::Open;
use crate::testing::{SIZES, defaults, endless_gguf, random_gguf};
use crate::{Inference, InferenceError, InferenceOptions, is_brought};

fn engine(options: InferenceOptions) -> Inference {
    Inference::new(options).unwrap()
}

fn bytes() -> Arc<[u8]> {
    endless_gguf().bytes().into()
}

async fn is_known(engine: &Inference, name: &str) -> bool {
    let open = Open { model: name.to_owned(), tenant: "org".to_owned() };
    match engine.open(open).await {
        Ok(session) => {
            engine.close(session);
            true
        }
        Err(InferenceError::ModelNotFound(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_model_is_known_by_its_bytes_and_not_listed() {
    let engine = engine(defaults());
    let info = engine.bring(bytes()).await.unwrap();
    assert!(is_brought(&info.name) && info.name.ends_with(&info.digest), "{info:?}");
    assert_eq!(engine.bring(bytes()).await.unwrap(), info);
    assert!(engine.models().is_empty());
    let session = open(&engine, &info.name).await;
    assert_eq!(run_in(&engine, session, text("the", greedy(3))).await.tokens.len(), 3);
}

#[tokio::test]
async fn bytes_that_are_no_model_are_refused_and_leave_nothing() {
    let engine = engine(InferenceOptions { brought_max: 1, ..defaults() });
    let whole = bytes();
    let refused = async |bytes: &[u8]| match engine.bring(bytes.into()).await {
        Err(InferenceError::BadModel { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    for length in [0, 3, 4, 24, whole.len() / 2, whole.len() - 1] {
        let reason = refused(&whole[..length]).await;
        assert!(!reason.is_empty(), "{length} bytes");
    }
    assert!(engine.bring(whole).await.is_ok());
}

#[tokio::test]
async fn room_is_made_by_those_that_nobody_uses() {
    let engine = engine(InferenceOptions { brought_max: 2, ..defaults() });
    let others = [true, false].map(|tied| Arc::<[u8]>::from(random_gguf(SIZES, tied).bytes()));
    let first = engine.bring(bytes()).await.unwrap().name;
    let second = engine.bring(Arc::clone(&others[0])).await.unwrap().name;
    // The first was used later, so the second leaves.
    engine.bring(bytes()).await.unwrap();
    let third = engine.bring(Arc::clone(&others[1])).await.unwrap().name;
    assert!(is_known(&engine, &first).await && is_known(&engine, &third).await);
    assert!(!is_known(&engine, &second).await);

    let _sessions = (open(&engine, &first).await, open(&engine, &third).await);
    let error = engine.bring(Arc::clone(&others[0])).await.unwrap_err();
    assert!(matches!(error, InferenceError::Overloaded(_)), "{error}");
    assert!(is_known(&engine, &first).await && is_known(&engine, &third).await);
    assert!(!is_known(&engine, &second).await);
}

#[tokio::test]
async fn bytes_are_bounded_together() {
    let max = bytes().len() as u64;
    let engine = engine(InferenceOptions { brought_bytes_max: max, ..defaults() });
    let first = engine.bring(bytes()).await.unwrap().name;
    let other: Arc<[u8]> = random_gguf(SIZES, true).bytes().into();
    let other_is_larger = other.len() as u64 > max;
    match engine.bring(other).await {
        Err(InferenceError::BadModel { reason, .. }) => {
            assert!(other_is_larger && reason.contains("more than the limit"), "{reason}");
            assert!(is_known(&engine, &first).await);
        }
        Ok(second) => {
            assert!(is_known(&engine, &second.name).await && !is_known(&engine, &first).await);
        }
        Err(error) => panic!("{error}"),
    }
}
