use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use emberbox_inference::{Inference, InferenceOptions, ModelSource};
use emberbox_runtime::{CallEnding, Deployment, Grants, Limits, RequestBody};
use http::Request;

use crate::support::{MODEL, Whole, World, get, misbehave, outcome, post, search, storyteller};

/// The bundled model, on the real engine.
static INFERENCE: LazyLock<Inference> = LazyLock::new(|| {
    let inference = Inference::new(InferenceOptions::default()).expect("inference");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/tiny-lm/model/tiny-storyteller.gguf");
    inference.add(MODEL, ModelSource::Path(path)).expect("the bundled model");
    inference
});

async fn ask(world: &World, deployment: &Deployment, request: Request<RequestBody>) -> Whole {
    let mut call = world.call(request);
    call.models = world.models(Arc::new(INFERENCE.clone()));
    outcome(deployment.call(call).await).await.answered()
}

#[tokio::test]
async fn a_guest_tells_a_story_from_the_bundled_model() {
    let world = World::new();
    let deployment = storyteller(Limits::default());
    let path = "/?about=a+fox&name=Mia&seed=7";
    let first = ask(&world, &deployment, get(path)).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(first.text().split_whitespace().count() > 10, "{}", first.text());
    assert_eq!(first.report.ending, CallEnding::Normal);

    let again = ask(&world, &deployment, get(path)).await;
    assert_eq!(first.text(), again.text(), "the same seed tells the same story");
    let other = ask(&world, &deployment, get("/?about=a+fox&name=Mia&seed=8")).await;
    assert_ne!(first.text(), other.text(), "another seed tells another story");

    let settled = world.purse.settled();
    assert_eq!((settled.len(), world.purse.reservations()), (3, 0));
    assert!(settled[0].input_tokens > 5 && settled[0].output_tokens > 10, "{settled:?}");
    assert_eq!(settled[0].output_tokens, settled[1].output_tokens);
}

#[tokio::test]
async fn the_engine_refuses_every_lie_too() {
    let world = World::new();
    let answer = ask(&world, &misbehave(Limits::default()), get("/lie-shape")).await;
    let outcomes = answer.json();
    for outcome in outcomes.as_array().unwrap() {
        assert_ne!(outcome["outcome"], "accepted", "{outcome}");
        assert_ne!(outcome["outcome"], "model_failed", "{outcome}");
    }
    assert_eq!((world.purse.tokens(), world.purse.reservations()), (1_000_000, 0));
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_engine() {
    use http_body_util::BodyExt;
    let world = World::new();
    let deployment = storyteller(Limits::default());
    let mut call = world.call(get("/?about=a+fox&seed=1"));
    call.models = world.models(Arc::new(INFERENCE.clone()));
    let mut answer = deployment.call(call).await.unwrap();
    answer.response.body_mut().frame().await.unwrap().unwrap();
    drop(answer.response);
    assert_eq!(answer.report.await.ending, CallEnding::ClientLeft);
    let settled = world.purse.settled();
    assert_eq!((settled.len(), world.purse.reservations()), (1, 0));
    assert!((1..200).contains(&settled[0].output_tokens), "{settled:?}");
    let next = ask(&world, &deployment, get("/?seed=1")).await;
    assert_eq!(next.status, 200);
}

#[tokio::test]
async fn a_guest_ranks_documents_with_the_bundled_model() {
    let world = World::new();
    let grants = Grants {
        models: BTreeSet::from([MODEL.to_owned()]),
        environment: BTreeMap::from([("MODEL".to_owned(), MODEL.to_owned())]),
        ..Grants::default()
    };
    let body = r#"{"query":"Mia found a fox.","documents":["Ben had a boat.","Mia found a fox."]}"#;
    let answer = ask(&world, &search(grants), post("/", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ranking = answer.json();
    assert_eq!(ranking["results"][0]["index"], 1, "{ranking}");
    assert!(ranking["results"][0]["score"].as_f64().unwrap() > 0.999, "{ranking}");
}
