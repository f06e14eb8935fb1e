use std::collections::{BTreeMap, BTreeSet};

use emberbox_runtime::bridge::Usage;
use emberbox_runtime::{CallEnding, CallError, Grants, Limits};
use http_body_util::BodyExt;

use crate::support::{MODEL, World, get, outcome, post, search, storyteller};

#[tokio::test]
async fn a_story_streams_piece_by_piece() {
    let world = World::new();
    let deployment = storyteller(Limits::default());
    let answer = deployment.call(world.call(get("/?about=a+fox"))).await.unwrap();
    let mut body = answer.response.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.push(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
    }
    assert_eq!(pieces, ["Tell ", "me ", "a ", "story ", "about ", "a ", "fox. "]);
    let report = answer.report.await;
    assert_eq!(report.ending, CallEnding::Normal);
    let used = Usage { input_tokens: 7, cached_input_tokens: 0, output_tokens: 7 };
    assert_eq!(world.purse.settled(), [used]);
    assert_eq!(world.purse.tokens(), 1_000_000 - 14);
    assert_eq!((world.bridge.open_sessions(), world.bridge.closed()), (0, 1));
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_it_received() {
    let world = World::new();
    let deployment = storyteller(Limits::default());
    let mut answer = deployment.call(world.call(get("/?about=one+stall+two"))).await.unwrap();
    // "Tell me a story about one" has six words before the model stalls.
    for _ in 0..6 {
        answer.response.body_mut().frame().await.unwrap().unwrap();
    }
    world.bridge.stalls().await;
    drop(answer.response);
    assert_eq!(answer.report.await.ending, CallEnding::ClientLeft);
    let used = Usage { input_tokens: 8, cached_input_tokens: 0, output_tokens: 6 };
    assert_eq!(world.purse.settled(), [used]);
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_piece_stops_the_model() {
    let world = World::new();
    let deployment = storyteller(Limits::default());
    // The question starts with the function's own words, so the name stalls after the first ones;
    // the head waits for the first piece only.
    let started = deployment.start(world.call(get("/?about=x"))).unwrap();
    drop(started.head);
    assert_eq!(started.report.await.ending, CallEnding::ClientLeft);
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

#[tokio::test]
async fn a_deadline_ends_the_model_too() {
    let world = World::new();
    let deployment = storyteller(Limits { wall_ms_max: 300, ..Limits::default() });
    let answer = world.get(&deployment, "/?about=stall+x").await.answered();
    assert_eq!(answer.report.ending, CallEnding::Deadline);
    assert_eq!(world.purse.settled().len(), 1);
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

#[tokio::test]
async fn a_budget_that_covers_nothing_is_an_error_the_guest_can_read() {
    let world = World::with_tokens(50);
    let answer = world.get(&storyteller(Limits::default()), "/").await.answered();
    assert_eq!(answer.status, 402);
    let error = answer.json();
    assert_eq!(error["error"]["code"], "budget_exhausted", "{error}");
    assert!(error.to_string().contains("up to 200 of output"), "{error}");
    assert_eq!(answer.report.ending, CallEnding::Normal);
    assert_eq!((world.purse.tokens(), world.purse.reservations()), (50, 0));
}

#[tokio::test]
async fn what_is_not_granted_is_told_apart_from_what_does_not_exist() {
    let world = World::new();
    for (granted, name, status, code) in [
        (&["another"][..], MODEL, 403, "model_not_allowed"),
        (&["absent"][..], "absent", 404, "model_not_found"),
    ] {
        let grants = Grants {
            models: granted.iter().map(|name| (*name).to_owned()).collect(),
            environment: BTreeMap::from([("MODEL".to_owned(), name.to_owned())]),
            ..Grants::default()
        };
        let body = r#"{"query":"q","documents":["d"]}"#;
        let call = world.call(post("/", body));
        let answer = outcome(search(grants).call(call).await).await.answered();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code);
    }
}

#[tokio::test]
async fn embeddings_rank_documents() {
    let world = World::new();
    let grants = Grants {
        models: BTreeSet::from([MODEL.to_owned()]),
        environment: BTreeMap::from([("MODEL".to_owned(), MODEL.to_owned())]),
        ..Grants::default()
    };
    // The echo model's vector of a text is its bytes and its words.
    let body = r#"{"query":"a b c","documents":["longword","d e f"],"top_n":1}"#;
    let answer = outcome(search(grants).call(world.call(post("/", body))).await).await.answered();
    let ranking = answer.json();
    assert_eq!(ranking["results"][0]["index"], 1, "{ranking}");
    let used = Usage { input_tokens: 7, cached_input_tokens: 0, output_tokens: 0 };
    assert_eq!(world.purse.settled(), [used]);
}

#[tokio::test]
async fn a_tensor_over_the_limit_is_refused() {
    let world = World::new();
    let limits = Limits { tensor_bytes_max: 20, ..Limits::default() };
    let answer = world.get(&storyteller(limits), "/").await;
    let answer = answer.answered();
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[tokio::test]
async fn a_full_engine_says_so() {
    use emberbox_runtime::{Deployment, Engine, EngineOptions};
    let engine =
        Engine::new(EngineOptions { instances_max: 1, pooling: false, ..EngineOptions::default() })
            .unwrap();
    assert!(!engine.pooling());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/prebuilt/hello.wasm");
    let component = std::fs::read(path).unwrap();
    let deployment =
        Deployment::compile(&engine, &component, Limits::default(), Grants::default()).unwrap();
    let world = World::new();
    let first = deployment.start(world.call(get("/"))).unwrap();
    let second = deployment.start(world.call(get("/")));
    assert!(matches!(second, Err(CallError::Overloaded)), "{second:?}");
    drop(first.head);
    first.report.await;
    assert_eq!(world.get(&deployment, "/").await.answered().status, 200);
}
