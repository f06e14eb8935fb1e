use std::collections::HashSet;
use std::sync::Arc;

use emberbox_runtime::bridge::Usage;
use emberbox_runtime::spend::{Computed, Exhausted, Permit, Spend, Units};
use emberbox_runtime::{BodyError, CallEnding, CallError, Deployment, Grants, Limits, Stream};
use http_body_util::BodyExt;

use crate::support::{ENGINE, Outcome, World, get, hello, misbehave};

/// Runs a misdeed, and then checks that the same deployment still answers.
async fn commit(world: &World, deployment: &Deployment, path: &str) -> Outcome {
    let outcome = world.get(deployment, path).await;
    let after = world.get(deployment, "/").await.answered();
    assert_eq!(after.status, 200, "after {path}");
    assert_eq!(after.report.ending, CallEnding::Normal, "after {path}");
    outcome
}

/// Pays for so much computing, and for nothing else.
pub(crate) struct PaysComputing(pub(crate) u64);

impl Spend for PaysComputing {
    fn reserve(&self, _model: &str, _worst: Units) -> Result<Permit, Exhausted> {
        Err(Exhausted)
    }

    fn compute(&self, computed: Computed) -> Result<(), Exhausted> {
        (computed.quantity <= self.0).then_some(()).ok_or(Exhausted)
    }

    fn settle(&self, _permit: Permit, _model: &str, _actual: Usage) {}
}

fn small() -> Limits {
    Limits { memory_bytes_max: 16 << 20, cpu_ms_max: 300, ..Limits::default() }
}

#[tokio::test]
async fn spinning_ends_with_the_cpu_limit() {
    let world = World::new();
    let error = commit(&world, &misbehave(small()), "/spin").await.failed();
    let CallError::Deadline(report) = error else { panic!("{error:?}") };
    assert_eq!(report.ending, CallEnding::Deadline);
    assert_eq!(report.detail.as_deref(), Some("it used its 300 ms of CPU time"));
    assert!(report.cpu_us > 300_000, "{report:?}");
}

#[tokio::test]
async fn spinning_ends_where_nobody_pays_for_it() {
    let world = World::new();
    let mut call = world.call(get("/spin"));
    call.models = world.models_paid(Arc::new(PaysComputing(50_000)));
    let outcome = misbehave(small()).call(call).await;
    let Err(CallError::Budget(report)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(report.ending, CallEnding::Budget);
    assert!(report.cpu_us > 50_000, "{report:?}");
}

#[tokio::test]
async fn spinning_ends_with_the_wall_clock() {
    let world = World::new();
    let limits = Limits { wall_ms_max: 100, ..small() };
    let error = world.get(&misbehave(limits), "/spin").await.failed();
    let CallError::Deadline(report) = error else { panic!("{error:?}") };
    assert_eq!(report.detail.as_deref(), Some("its wall-clock limit passed"));
    assert!(report.cpu_us < 300_000, "{report:?}");
}

/// The test's runtime has one thread, so a guest that kept it would keep everyone.
#[tokio::test(flavor = "current_thread")]
async fn a_spinning_guest_blocks_nobody() {
    let world = World::new();
    let spinning = misbehave(Limits { cpu_ms_max: 60_000, ..small() });
    let mut spin = Box::pin(world.get(&spinning, "/spin"));
    let deployment = hello();
    let answer = tokio::select! {
        biased;
        spun = &mut spin => panic!("the spinning guest ended first: {spun:?}"),
        answer = world.get(&deployment, "/") => answer.answered(),
    };
    assert_eq!(answer.text(), "Hello, world!\n");
}

#[tokio::test]
async fn hoarding_memory_ends_at_the_limit() {
    let world = World::new();
    let deployment = misbehave(small());
    let error = commit(&world, &deployment, "/hoard").await.failed();
    let CallError::Trap(reason, report) = error else { panic!("{error:?}") };
    assert!(reason.contains("its memory limit is 16777216 bytes"), "{reason}");
    assert!(report.memory_bytes_peak <= 16 << 20, "{report:?}");

    let gentle = commit(&world, &deployment, "/hoard?gentle=1").await.answered();
    let mib = gentle.json()["mib"].as_u64().unwrap();
    assert!((8..16).contains(&mib), "{mib} MiB");
}

#[tokio::test]
async fn traps_end_only_their_call() {
    let world = World::new();
    let deployment = misbehave(small());
    for (path, expect) in [
        ("/trap", "unreachable"),
        ("/trap?how=index", "unreachable"),
        ("/trap?how=recurse", "call stack exhausted"),
    ] {
        let error = commit(&world, &deployment, path).await.failed();
        let CallError::Trap(reason, report) = error else { panic!("{path}: {error:?}") };
        assert!(reason.contains(expect), "{path}: {reason}");
        assert_eq!(report.ending, CallEnding::Trap(reason.into()));
    }
    let logs = world.logs.all();
    assert!(logs.iter().any(|(_, line)| line.contains("panicked")), "{logs:?}");
}

#[tokio::test]
async fn lies_about_tensors_are_told_apart() {
    let world = World::new();
    let deployment = misbehave(Limits::default());
    let outcomes = commit(&world, &deployment, "/lie-shape").await.answered().json();
    let outcomes = outcomes.as_array().unwrap();
    assert!(outcomes.len() > 30);
    let mut messages = HashSet::new();
    for outcome in outcomes {
        assert_ne!(outcome["outcome"], "accepted", "{outcome}");
        messages.insert(outcome["message"].as_str().unwrap());
    }
    assert!(messages.len() > 25, "{messages:#?}");
    let message = |lie: &str| {
        let found = outcomes.iter().find(|outcome| outcome["lie"] == lie).unwrap();
        found["message"].as_str().unwrap().to_owned()
    };
    for (lie, expect) in [
        (
            "data shorter than the dimensions say",
            "has 3 bytes of data, but its dimensions [1000] of U8 take 1000",
        ),
        ("dimensions beyond 64 bits", "overflows"),
        ("dimensions that wrap to zero in 64 bits", "overflows"),
        ("dimensions that wrap to zero in 32 bits", "take 4294967296"),
        ("a thousand dimensions", "at most 16"),
        ("a name that is none", "there is no input `promt`"),
        ("a prompt that is not UTF-8", "not UTF-8"),
        ("options {\"max_tokens\":-1}", "option `max_tokens`"),
        ("options {\"max_tokens\":8,\"price\":0}", "option `price`"),
        ("a prompt over the context", "do not fit"),
    ] {
        let message = message(lie);
        assert!(message.contains(expect), "{lie}: {message}");
    }
    assert_eq!(world.purse.tokens(), 1_000_000, "a lie cost something");
    assert_eq!(world.purse.reservations(), 0);
}

#[tokio::test]
async fn spending_stops_at_the_budget() {
    let world = World::with_tokens(1_000);
    let outcome =
        commit(&world, &misbehave(Limits::default()), "/overspend").await.answered().json();
    // A call reserves 4 + 200 tokens and uses 4 + 4.
    assert_eq!(outcome["ended"], "budget_exhausted", "{outcome}");
    assert_eq!(outcome["calls"], 100, "{outcome}");
    assert_eq!(outcome["slipped_through"], 0, "{outcome}");
    assert_eq!(world.purse.tokens(), 200);
    assert_eq!(world.purse.reservations(), 0);
    assert_eq!(world.purse.settled().len(), 100);
}

#[tokio::test]
async fn contexts_are_bounded() {
    let world = World::new();
    let outcome =
        commit(&world, &misbehave(Limits::default()), "/hoard-contexts").await.answered().json();
    assert_eq!(
        (&outcome["contexts"], &outcome["ended"]),
        (&128.into(), &"server_overloaded".into())
    );
    assert_eq!(world.bridge.open_sessions(), 0);
}

#[tokio::test]
async fn handles_are_bounded() {
    let world = World::new();
    let limits = Limits { handles_max: 50, ..Limits::default() };
    let error = commit(&world, &misbehave(limits), "/hoard-contexts").await.failed();
    let CallError::Trap(reason, _) = error else { panic!("{error:?}") };
    assert!(reason.contains("table"), "{reason}");
}

#[tokio::test]
async fn what_one_host_call_copies_is_bounded() {
    let world = World::new();
    let limits = Limits { host_call_bytes_max: 50_000, ..Limits::default() };
    // One of the lies is a prompt of 100,000 bytes.
    let error = commit(&world, &misbehave(limits), "/lie-shape").await.failed();
    assert!(matches!(error, CallError::Trap(..)), "{error:?}");
}

#[tokio::test]
async fn core_instances_are_bounded() {
    let world = World::new();
    // A Rust guest has its module and the adapters around it.
    let limits = Limits { core_instances_max: 1, ..Limits::default() };
    let deployment = hello().with(limits, Grants::default()).unwrap();
    let error = world.get(&deployment, "/").await.failed();
    let CallError::Trap(reason, _) = error else { panic!("{error:?}") };
    assert!(reason.contains("instance"), "{reason}");
}

#[tokio::test]
async fn platform_headers_cannot_be_forged() {
    let world = World::new();
    let deployment = misbehave(Limits::default());
    let answer = commit(&world, &deployment, "/forge-headers").await.answered();
    assert_eq!(answer.headers["x-own"], "kept");
    for forged in [
        "x-emberbox-cost",
        "x-emberbox-balance",
        "x-emberbox-receipt",
        "x-emberbox-anything",
        "x-request-id",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-tokens",
        "x-should-retry",
        "set-cookie",
        "service-worker-allowed",
    ] {
        assert!(!answer.headers.contains_key(forged), "{forged}");
    }
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let policies: Vec<_> = answer.headers.get_all("content-security-policy").iter().collect();
    assert_eq!(policies, ["default-src *", "sandbox"]);

    for kind in ["hop", "crlf"] {
        let answer = commit(&world, &deployment, &format!("/forge-headers?kind={kind}")).await;
        let answer = answer.answered();
        assert_eq!(answer.status, 500, "{kind}: the guest is told that it may not");
        for forged in ["connection", "transfer-encoding", "upgrade", "set-cookie", "x-plain"] {
            assert!(!answer.headers.contains_key(forged), "{kind}: {forged}");
        }
    }
}

#[tokio::test]
async fn a_guest_sees_its_environment_and_nothing_else() {
    let world = World::new();
    let deployment = misbehave(Limits::default());
    let mut seen = commit(&world, &deployment, "/probe-env").await.answered().json();
    assert_eq!(seen["environment"], serde_json::json!({ "PLAIN": "a plain value" }), "{seen}");
    assert_eq!(seen["arguments"], serde_json::json!([]), "{seen}");
    // A guest always has a current directory; that nothing is in it, the reads below say.
    seen["current_dir"].take();
    let text = seen.to_string();
    assert!(!text.contains("\"ok\""), "something was reachable: {text}");
    assert!(text.contains("HttpRequestDenied"), "{text}");
}

#[tokio::test]
async fn logs_are_bounded() {
    let world = World::new();
    let limits = Limits { log_bytes_max: 10_000, ..Limits::default() };
    let answer = commit(&world, &misbehave(limits), "/flood-logs?lines=5000").await.answered();
    assert_eq!(answer.json()["lines"], 5000);
    let logs = world.logs.all();
    let bytes: usize = logs.iter().map(|(_, line)| line.len() + 1).sum();
    assert!((9_000..10_200).contains(&bytes), "{bytes}");
    let (_, last) = logs.last().unwrap();
    assert_eq!(last, "[the log limit of 10000 bytes is reached; the rest is dropped]");
    assert!(logs[0].0 == Stream::Stdout && logs[1].0 == Stream::Stderr);
    assert!(logs[0].1.starts_with("0 xxx") && logs[1].1.starts_with("1 xxx"), "{:?}", &logs[..2]);
}

#[tokio::test]
async fn long_answers_are_cut_off() {
    let world = World::new();
    let limits = Limits { response_bytes_max: 1 << 20, ..Limits::default() };
    let answer = commit(&world, &misbehave(limits), "/big-response?mib=100").await.answered();
    assert_eq!(answer.cut, Some(BodyError::TooLarge { bytes_max: 1 << 20 }));
    assert!(answer.body.len() <= 1 << 20);
    assert!(matches!(answer.report.ending, CallEnding::Trap(_)), "{:?}", answer.report);
    assert_eq!(answer.report.response_bytes, answer.body.len() as u64);
}

#[tokio::test]
async fn a_slow_answer_ends_at_the_deadline() {
    let world = World::new();
    let limits = Limits { wall_ms_max: 2_000, ..Limits::default() };
    let deployment = misbehave(limits);
    let answer = commit(&world, &deployment, "/slow?ms=20").await.answered();
    assert!(answer.text().starts_with("0\n1\n"), "{}", answer.text());
    assert_eq!(answer.cut, Some(BodyError::Stopped(CallEnding::Deadline)));
    assert_eq!(answer.report.ending, CallEnding::Deadline);

    let error = world.get(&deployment, "/slow?before_ms=10000").await.failed();
    assert!(matches!(error, CallError::Deadline(_)), "{error:?}");
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_guest() {
    let world = World::new();
    let deployment = misbehave(Limits::default());
    // In the middle of the answer.
    let mut answer = deployment.call(world.call(get("/slow?ms=10"))).await.unwrap();
    assert!(answer.response.body_mut().frame().await.is_some());
    drop(answer.response);
    let report = answer.report.await;
    assert_eq!(report.ending, CallEnding::ClientLeft);
    assert!(report.cpu_us > 0 && report.response_bytes > 0, "{report:?}");
    // Before the head.
    let started = deployment.start(world.call(get("/slow?before_ms=100000"))).unwrap();
    drop(started.head);
    assert_eq!(started.report.await.ending, CallEnding::ClientLeft);
}

#[tokio::test]
async fn broken_answers_are_errors() {
    let world = World::new();
    let deployment = misbehave(Limits::default());
    let error = commit(&world, &deployment, "/no-response").await.failed();
    let CallError::NoResponse(report) = error else { panic!("{error:?}") };
    assert!(matches!(report.ending, CallEnding::Trap(_)), "{report:?}");

    let half = commit(&world, &deployment, "/half").await.answered();
    assert_eq!(half.text(), "the first half\n");
    assert!(matches!(half.cut, Some(BodyError::Stopped(CallEnding::Trap(_)))), "{half:?}");

    let short = commit(&world, &deployment, "/lie-length?kind=short").await.answered();
    assert!(short.cut.is_some(), "{short:?}");
    let long = commit(&world, &deployment, "/lie-length?kind=long").await;
    let long = long.answered();
    assert!(long.cut.is_some() && long.body.len() <= 10, "{long:?}");
}

#[tokio::test]
async fn slots_are_given_back() {
    let world = World::new();
    let deployment = misbehave(small());
    for path in ["/trap", "/spin", "/hoard", "/no-response", "/"] {
        drop(world.get(&deployment, path).await);
    }
    // Other tests share the engine, so only an upper bound holds for it as a whole.
    assert!(ENGINE.instances() < 100, "{}", ENGINE.instances());
}
