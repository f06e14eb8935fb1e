use std::sync::Arc;
use std::time::Duration;

use emberbox_runtime::{
    CallEnding, Deployment, Engine, EngineOptions, Grants, Limits, RuntimeError, Stream,
};

use crate::support::{ENGINE, Outcome, World, get, grants, misbehave, outcome};

fn reused(limits: Limits) -> Deployment {
    let grants = Grants { reuse: true, ..grants() };
    misbehave(limits.clone()).with(limits, grants).expect("limits")
}

async fn ask(world: &World, deployment: &Deployment, (payer, path): (&str, &str)) -> Outcome {
    let mut call = world.call(get(path));
    call.tenant = payer.to_owned();
    outcome(deployment.call(call).await).await
}

/// Which of its calls this was to its instance.
async fn calls(world: &World, deployment: &Deployment, payer: &str) -> u64 {
    let answer = ask(world, deployment, (payer, "/count")).await.answered();
    assert_eq!(answer.report.ending, CallEnding::Normal);
    answer.json()["calls"].as_u64().expect("a number")
}

#[tokio::test]
async fn without_the_authors_word_every_request_is_the_first() {
    let world = World::new();
    let deployment = misbehave(Limits::default());
    for _ in 0..3 {
        assert_eq!(calls(&world, &deployment, "org_test").await, 1);
    }
}

#[tokio::test]
async fn an_instance_answers_its_payer_again_and_nobody_else() {
    let deployment = reused(Limits::default());
    for call in 1..=3 {
        let world = World::new();
        assert_eq!(calls(&world, &deployment, "org_test").await, call);
        // The output that the guest has kept open leads to each call's own log.
        let line = format!("call {call}");
        assert_eq!(world.logs.all(), [(Stream::Stdout, line)]);
    }
    let world = World::new();
    assert_eq!(calls(&world, &deployment, "other").await, 1);
    assert_eq!(calls(&world, &deployment, "org_test").await, 4);
    // Of two at a time one is new, and the last to come back is the next to go.
    let (one, two) = tokio::join!(
        calls(&world, &deployment, "org_test"),
        calls(&world, &deployment, "org_test")
    );
    assert_eq!(one.min(two), 1);
    assert_eq!(one.max(two), 5);
}

#[tokio::test]
async fn reports_are_of_each_call() {
    let world = World::new();
    let deployment = reused(Limits::default());
    let first = ask(&world, &deployment, ("a", "/hoard?gentle=1")).await.answered().report;
    let second = ask(&world, &deployment, ("a", "/count")).await.answered().report;
    assert!(first.memory_bytes_peak > 10 << 20, "{first:?}");
    // Memory that was taken once stays taken.
    assert_eq!(second.memory_bytes_peak, first.memory_bytes_peak);
    assert!(second.cpu_us < first.cpu_us && second.response_bytes < 50, "{second:?}");
}

#[tokio::test]
async fn what_ends_badly_is_not_used_again() {
    let world = World::new();
    let limits = Limits { wall_ms_max: 200, ..Limits::default() };
    let deployment = reused(limits);
    for (bad, fails) in [("/trap", true), ("/spin", true), ("/count?leave=context", false)] {
        assert_eq!(calls(&world, &deployment, "org_test").await, 1, "before {bad}");
        let outcome = ask(&world, &deployment, ("org_test", bad)).await;
        assert_eq!(matches!(outcome, Outcome::Failed(_)), fails, "{bad}: {outcome:?}");
    }
    assert_eq!(calls(&world, &deployment, "org_test").await, 1);
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_instance_with_it() {
    let world = World::new();
    let deployment = reused(Limits::default());
    assert_eq!(calls(&world, &deployment, "org_test").await, 1);
    let call = world.call(get("/slow?pieces=100&ms=20"));
    let answer = deployment.call(call).await.expect("a head");
    drop(answer.response);
    assert_eq!(answer.report.await.ending, CallEnding::ClientLeft);
    assert_eq!(calls(&world, &deployment, "org_test").await, 1);
}

/// Those that wait take no place of those that work, and only a part of all.
#[tokio::test]
async fn waiting_instances_are_bounded() {
    let options = EngineOptions { instances_max: 4, ..EngineOptions::default() };
    let engine = Engine::new(options).expect("engine");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/prebuilt/misbehave.wasm");
    let component = std::fs::read(path).expect("prebuilt guest");
    let grants = Grants { reuse: true, ..grants() };
    let deployment =
        Deployment::compile(&engine, &component, Limits::default(), grants).expect("deployment");
    let world = Arc::new(World::new());
    for payer in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(calls(&world, &deployment, payer).await, 1, "{payer}");
    }
    // One of four may wait: the first.
    assert_eq!(calls(&world, &deployment, "b").await, 1);
    assert_eq!(calls(&world, &deployment, "a").await, 2);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (world, deployment) = (Arc::clone(&world), deployment.clone());
            tokio::spawn(async move {
                ask(&world, &deployment, ("z", "/slow?pieces=2&ms=50")).await.answered().status
            })
        })
        .collect();
    for task in tasks {
        let status = tokio::time::timeout(Duration::from_secs(30), task).await;
        assert_eq!(status.expect("in time").expect("a task"), 200);
    }
}

#[test]
fn a_core_module_cannot_be_reused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/prebuilt/legacy-nn.wasm");
    let module = std::fs::read(path).expect("prebuilt guest");
    let grants = Grants { reuse: true, ..Grants::default() };
    let refused = Deployment::compile(&ENGINE, &module, Limits::default(), grants);
    assert!(matches!(refused.err(), Some(RuntimeError::NotReusable)));
}
