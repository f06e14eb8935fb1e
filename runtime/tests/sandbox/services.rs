//! Components of WASI 0.3: what they answer, what bounds them, and what is left of them.

use std::sync::{Arc, LazyLock};

use emberbox_runtime::{
    Artifacts, BodyError, Build, CallEnding, CallError, Deployment, EngineOptions, Limits,
    Metering, RuntimeError, compile,
};
use http_body_util::BodyExt;

use crate::support::{ENGINE, MODEL, Outcome, World, get, grants, outcome, post};

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello-p3.wasm");
const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave-p3.wasm");

static HELLO_P3: LazyLock<Deployment> = LazyLock::new(|| deploy(HELLO, Limits::default()));
static MISBEHAVE_P3: LazyLock<Deployment> = LazyLock::new(|| deploy(MISBEHAVE, small()));

fn deploy(component: &[u8], limits: Limits) -> Deployment {
    Deployment::compile(&ENGINE, component, limits, grants()).expect("a component of WASI 0.3")
}

fn small() -> Limits {
    Limits {
        cpu_ms_max: 200,
        wall_ms_max: 1_000,
        memory_bytes_max: 8 << 20,
        response_bytes_max: 1 << 20,
        handles_max: 100,
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_service_answers_reads_its_request_and_asks_a_model() {
    let world = World::new();
    let greeting = world.get(&HELLO_P3, "/").await.answered();
    assert_eq!((greeting.status.as_u16(), greeting.text()), (200, "Hello, world!\n"));
    assert_eq!(greeting.report.ending, CallEnding::Normal);
    assert!(greeting.report.cpu_us > 0 && greeting.report.memory_bytes_peak > 0);

    let long = "say this back. ".repeat(20_000);
    let echoed = outcome(HELLO_P3.call(world.call(post("/", &long))).await).await.answered();
    assert_eq!((echoed.status.as_u16(), echoed.text()), (200, long.as_str()));

    let story = world.get(&HELLO_P3, "/story").await.answered();
    let expect = "Tell me a story about a fox named Mia. ";
    assert_eq!((story.status.as_u16(), story.text()), (200, expect), "{MODEL} says it back");
    let settled = world.purse.settled();
    assert_eq!((settled.len(), settled[0].output_tokens), (1, 9), "{settled:?}");
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
    assert_eq!(world.get(&HELLO_P3, "/nothing").await.answered().status.as_u16(), 404);
}

/// How a misdeed must end: the start of what is said of it.
enum Ends {
    Deadline(&'static str),
    Trap(&'static str),
}

#[tokio::test]
async fn what_gives_no_answer_ends_at_its_limit() {
    for (path, ends) in [
        ("/spin", Ends::Deadline("it used its 200 ms of CPU time")),
        ("/never", Ends::Deadline("its wall-clock limit passed")),
        ("/trap", Ends::Trap("wasm `unreachable`")),
        ("/error", Ends::Trap("it answered with the error")),
        ("/hoard", Ends::Trap("its memory limit is 8388608 bytes")),
        ("/tasks", Ends::Trap("store handle limit exceeded")),
        ("/nothing", Ends::Trap("it answered with the error")),
        // Nothing lets it out.
        ("/fetch", Ends::Trap("it answered with the error")),
    ] {
        let world = World::new();
        let error = world.get(&MISBEHAVE_P3, path).await.failed();
        match (ends, &error) {
            (Ends::Deadline(why), CallError::Deadline(report)) => {
                assert_eq!(report.detail.as_deref(), Some(why), "{path}");
            }
            (Ends::Trap(why), CallError::Trap(reason, _)) => {
                assert!(reason.contains(why), "{path}: {reason}");
            }
            (_, other) => panic!("{path}: {other:?}"),
        }
        assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0), "{path}");
    }
}

#[tokio::test]
async fn an_answer_keeps_to_its_limits_and_rules() {
    let world = World::new();
    let endless = world.get(&MISBEHAVE_P3, "/endless").await.answered();
    assert_eq!(endless.cut, Some(BodyError::TooLarge { bytes_max: 1 << 20 }));
    assert!(endless.body.len() <= 1 << 20, "{}", endless.body.len());
    assert!(matches!(endless.report.ending, CallEnding::Trap(_)), "{:?}", endless.report);

    let half = world.get(&MISBEHAVE_P3, "/half").await.answered();
    assert_eq!(half.text(), "half");
    assert!(matches!(half.cut, Some(BodyError::Stopped(CallEnding::Trap(_)))), "{half:?}");

    let forged = world.get(&MISBEHAVE_P3, "/forge").await.answered();
    assert_eq!(forged.text(), "forged");
    for name in ["set-cookie", "x-emberbox-cost", "x-request-id"] {
        assert!(!forged.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_it() {
    let world = World::new();
    let mut answer = MISBEHAVE_P3.call(world.call(get("/endless"))).await.unwrap();
    answer.response.body_mut().frame().await.unwrap().unwrap();
    drop(answer.response);
    assert_eq!(answer.report.await.ending, CallEnding::ClientLeft);
    let started = MISBEHAVE_P3.start(world.call(get("/never"))).unwrap();
    drop(started.head);
    assert_eq!(started.report.await.ending, CallEnding::ClientLeft);
    let outcome = world.get(&HELLO_P3, "/").await;
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
}

#[tokio::test]
async fn its_code_is_kept_and_mapped_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(&ENGINE, folder.path(), [7; 32], |_| true).unwrap();
    let build = Build { digest: "digest".to_owned(), metering: Metering::Cpu };
    let code = compile(&EngineOptions::default(), HELLO, Metering::Cpu).unwrap();
    artifacts.write(&build, &code).unwrap();
    let compiled = artifacts.read(&build).unwrap().expect("what was written");
    assert!(compiled.bytes() > 100_000);
    let mapped = Deployment::new(&ENGINE, &compiled, Limits::default(), grants()).unwrap();
    let greeting = World::new().get(&mapped, "/").await.answered();
    assert_eq!(greeting.text(), "Hello, world!\n");

    let reused = emberbox_runtime::Grants { reuse: true, ..grants() };
    let refused = Deployment::new(&ENGINE, &compiled, Limits::default(), reused).err();
    assert!(matches!(refused, Some(RuntimeError::NotReusable)), "{refused:?}");
}

/// Many at a time, on threads that they share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_run_side_by_side() {
    let world = Arc::new(World::new());
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.get(&HELLO_P3, "/").await.answered().status })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().as_u16(), 200);
    }
}
