use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use emberbox_inference::{Inference, InferenceOptions, ModelSource};
use emberbox_runtime::bridge::{Event, GenerateOptions, Open, Prompt, Task};
use emberbox_runtime::{CallEnding, CallError, Deployment, Grants, LimitKind, Limits, RequestBody};
use http::Request;
use http_body_util::{BodyExt, Full};

use crate::support::{
    ENGINE, MODEL, Whole, World, get, misbehave, outcome, post, search, storyteller,
};

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

static GGUF: &[u8] = include_bytes!("../../../examples/tiny-lm/model/tiny-storyteller.gguf");

/// A guest that may load models.
fn loads(limits: Limits) -> Deployment {
    let granted = Grants { load: true, ..Grants::default() };
    misbehave(limits.clone()).with(limits, granted).expect("limits")
}

fn post_bytes(path: &str, body: &'static [u8]) -> Request<RequestBody> {
    let body = Full::new(Bytes::from_static(body)).map_err(|never| match never {}).boxed_unsync();
    Request::post(path).header("host", "functions.test").body(body).expect("request")
}

#[tokio::test]
async fn a_guest_brings_a_model_and_asks_it() {
    let world = World::new();
    let deployment = loads(Limits::default());
    let by_name = async |prompt: &str| {
        let session = INFERENCE
            .open(Open { model: MODEL.to_owned(), tenant: "t".to_owned() })
            .await
            .expect("a session");
        let options =
            GenerateOptions { temperature: 0.0, max_tokens: Some(8), ..GenerateOptions::default() };
        let task = Task::Generate { prompt: Prompt::Text(prompt.to_owned()), options };
        INFERENCE.prepare(session, task).await.expect("a plan");
        INFERENCE.submit(session).await.expect("a task");
        let mut all = String::new();
        while let Event::Piece { text, .. } = INFERENCE.next(session).await.expect("an event") {
            all.push_str(&text);
        }
        all
    };
    let answer = ask(&world, &deployment, post_bytes("/load?times=2", GGUF)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expect = by_name("Once upon a time").await;
    assert_eq!(answer.json()["texts"], serde_json::json!([expect, expect]));
    let settled = world.purse.settled();
    assert_eq!((settled.len(), world.purse.reservations()), (2, 0));
    assert_eq!(settled[0].output_tokens, 8, "{settled:?}");
    assert!(answer.report.inference_us > 0);
}

#[tokio::test]
async fn what_a_guest_may_not_load_costs_nothing() {
    let world = World::new();
    let answer = ask(&world, &misbehave(Limits::default()), post_bytes("/load", GGUF)).await;
    assert_eq!(answer.json()["error"]["code"], "load_not_allowed", "{}", answer.text());

    let deployment = loads(Limits { load_bytes_max: 4 << 20, ..Limits::default() });
    let answer = ask(&World::new(), &deployment, post_bytes("/load?times=2", GGUF)).await;
    assert_eq!((answer.status.as_u16(), answer.report.limit), (413, Some(LimitKind::Load)));

    let deployment = loads(Limits::default());
    for (what, body) in [
        ("nothing", &b""[..]),
        ("a text", b"once upon a time"),
        ("ONNX", b"\x08\x08\x12\x07pytorch\x1a"),
        ("the magic alone", b"GGUF"),
        ("half of it", &GGUF[..GGUF.len() / 2]),
        ("all but a byte", &GGUF[..GGUF.len() - 1]),
        (
            "a count that lies",
            b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
    ] {
        let answer = ask(&world, &deployment, post_bytes("/load", body)).await;
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "invalid_request", "{what}: {}", answer.text());
        assert_eq!(answer.report.ending, CallEnding::Normal);
    }
    assert_eq!((world.purse.tokens(), world.purse.reservations()), (1_000_000, 0));
}

/// The core interface: the bytes are in the program itself.
#[tokio::test]
async fn a_program_brings_a_model_and_asks_it() {
    let mut data = String::with_capacity(GGUF.len() * 3);
    GGUF.iter().for_each(|byte| write!(data, "\\{byte:02x}").expect("a text"));
    let bytes = GGUF.len();
    let module = format!(
        r#"(module
            (import "wasi_ephemeral_nn" "load"
                (func $load (param i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "init_execution_context"
                (func $init (param i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "set_input" (func $input (param i32 i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "compute_single" (func $compute (param i32) (result i32)))
            (import "wasi_ephemeral_nn" "get_output_single"
                (func $output (param i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 64)
            ;; The list of the one model at 0; a tensor at 16, its prompt at 64; the words at 100.
            (data (i32.const 0) "\00\00\01\00")
            (data (i32.const 64) "Once upon a time")
            (data (i32.const 65536) "{data}")
            (func (export "_start")
                (i32.store (i32.const 4) (i32.const {bytes}))
                (if (call $load (i32.const 0) (i32.const 1) (i32.const 5) (i32.const 0) (i32.const 8))
                    (then unreachable))
                (if (call $init (i32.load (i32.const 8)) (i32.const 12)) (then unreachable))
                (i32.store (i32.const 28) (i32.const 64))
                (i32.store (i32.const 32) (i32.const 16))
                (if (call $input (i32.load (i32.const 12)) (i32.const 0) (i32.const 16))
                    (then unreachable))
                (if (call $compute (i32.load (i32.const 12))) (then unreachable))
                (i32.store (i32.const 48) (i32.const 100))
                (if (call $output (i32.load (i32.const 12)) (i32.const 0) (i32.const 100)
                        (i32.const 1000) (i32.const 52))
                    (then unreachable))
                (if (call $write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56))
                    (then unreachable))))"#
    );
    let module = wat::parse_str(&module).expect("a module");
    let granted = Grants { load: true, ..Grants::default() };
    let deployment = |grants| {
        Deployment::compile(&ENGINE, &module, Limits::default(), grants).expect("a command")
    };
    let world = World::new();
    let answer = ask(&world, &deployment(granted), get("/")).await;
    assert_eq!(answer.report.ending, CallEnding::Normal, "{:?}", world.logs.all());
    assert!(!answer.text().is_empty());
    assert_eq!(world.purse.settled().len(), 1);

    let mut call = world.call(get("/"));
    call.models = world.models(Arc::new(INFERENCE.clone()));
    let refused = deployment(Grants::default()).call(call).await;
    assert!(matches!(refused, Err(CallError::Trap(..))), "{refused:?}");
    let lines = world.logs.all();
    assert!(lines.iter().any(|(_, line)| line.contains("load_not_granted")), "{lines:?}");
}
