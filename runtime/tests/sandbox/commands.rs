use std::path::Path;
use std::sync::LazyLock;

use emberbox_runtime::{CallEnding, CallError, Deployment, Grants, Limits, RuntimeError, Stream};
use http::Request;
use http_body_util::{BodyExt, Full};

use crate::core_abi::command;
use crate::support::{ENGINE, MODEL, Outcome, World, grants, outcome, post};

static LEGACY: LazyLock<Deployment> = LazyLock::new(|| prebuilt("legacy-nn"));
static WASMEDGE: LazyLock<Deployment> = LazyLock::new(|| prebuilt("wasmedge-nn"));

fn prebuilt(name: &str) -> Deployment {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/prebuilt");
    let module = std::fs::read(folder.join(format!("{name}.wasm"))).expect("prebuilt guest");
    Deployment::compile(&ENGINE, &module, Limits::default(), Grants::default()).expect(name)
}

fn with(deployment: &Deployment, arguments: &[&str], environment: &[(&str, &str)]) -> Deployment {
    let text = |text: &&str| (*text).to_owned();
    let mut grants = grants();
    grants.arguments = arguments.iter().map(text).collect();
    for (name, value) in environment {
        grants.environment.insert((*name).to_owned(), (*value).to_owned());
    }
    deployment.with(Limits::default(), grants).expect("limits")
}

fn wasmedge(what: &str, environment: &[(&str, &str)]) -> Deployment {
    with(&WASMEDGE, &[what, MODEL], environment)
}

async fn ask(world: &World, deployment: &Deployment, body: &str) -> Outcome {
    outcome(deployment.call(world.call(post("/a", body))).await).await
}

pub(crate) fn compile(module: &[u8], limits: Limits) -> Deployment {
    Deployment::compile(&ENGINE, module, limits, grants()).expect("a command")
}

#[tokio::test]
async fn a_program_for_the_wasi_nn_crate_runs_as_it_is() {
    let world = World::new();
    let deployment = with(&LEGACY, &[MODEL], &[]);
    let answer = ask(&world, &deployment, "one two three").await.answered();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "one two three "));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.report.ending, CallEnding::Normal);
    let settled = world.purse.settled();
    assert_eq!((settled.len(), settled[0].input_tokens, settled[0].output_tokens), (1, 3, 3));
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));

    let error = ask(&world, &with(&LEGACY, &["other"], &[]), "x").await.failed();
    assert!(matches!(&error, CallError::Trap(why, _) if why.contains("code 1")), "{error:?}");
    let lines = world.logs.all();
    let said = |text: &str| lines.iter().any(|(s, l)| *s == Stream::Stderr && l.contains(text));
    assert!(said("wasi_ephemeral_nn.load_by_name: model_not_granted"), "{lines:?}");
    assert!(said("NotFound"), "{lines:?}");
}

#[tokio::test]
async fn programs_for_wasmedge_run_as_they_are() {
    let world = World::new();
    for (what, environment, expected) in [
        ("basic", &[][..], "a b c d \n{\"input_tokens\":4,\"output_tokens\":4}\n"),
        ("basic", &[("n_predict", "2")], "a b \n{\"input_tokens\":4,\"output_tokens\":2}\n"),
        ("stream", &[], "a b c d "),
        ("stream", &[("n_predict", "3"), ("temp", "0.1")], "a b c "),
        ("embedding", &[], "{\"n_embedding\":2,\"embedding\":[7.0,4.0]}\n"),
        ("twice", &[], "The old man \na b c d \n"),
        ("unload", &[], "refused: Backend Error"),
        ("not-found", &[], "not found\n"),
        ("too-long", &[], "too long\n"),
    ] {
        let answer = ask(&world, &wasmedge(what, environment), "a b c d").await.answered();
        assert!(answer.text().starts_with(expected), "{what}: {}", answer.text());
        assert_eq!((answer.cut, answer.report.ending), (None, CallEnding::Normal), "{what}");
    }
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

#[tokio::test]
async fn pieces_arrive_while_the_program_runs() {
    let world = World::new();
    let deployment = wasmedge("stream", &[]);
    let call = world.call(post("/", "a b stall"));
    let answer = deployment.call(call).await.expect("the head comes with the first piece");
    let mut body = answer.response.into_body();
    let first = body.frame().await.expect("a piece").expect("a piece");
    assert_eq!(first.into_data().expect("data"), "a ");
    world.bridge.stalls().await;
    drop(body);
    assert_eq!(answer.report.await.ending, CallEnding::ClientLeft);
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

#[tokio::test]
async fn a_program_that_cannot_pay_ends_so() {
    let world = World::with_tokens(5);
    let error = ask(&world, &wasmedge("basic", &[]), "a b c d").await.failed();
    assert!(matches!(error, CallError::Trap(..) | CallError::Budget(_)), "{error:?}");
    assert_eq!((world.purse.tokens(), world.purse.reservations()), (5, 0));
}

#[tokio::test]
async fn a_large_body_and_a_large_answer_pass() {
    let world = World::new();
    let body = "x".repeat(3 << 20);
    // Reads what there is and writes it back, 64 KiB at a time.
    let module = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 3)
            (func (export "_start")
                (loop $more
                    (i32.store (i32.const 0) (i32.const 65536))
                    (i32.store (i32.const 4) (i32.const 65536))
                    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                        (then unreachable))
                    (if (i32.eqz (i32.load (i32.const 8))) (then return))
                    (i32.store (i32.const 4) (i32.load (i32.const 8)))
                    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
                        (then unreachable))
                    (br $more))))"#,
    );
    let deployment = compile(&module.expect("a module"), Limits::default());
    let answer = ask(&world, &deployment, &body).await.answered();
    assert_eq!((answer.body.len(), answer.cut), (body.len(), None));
    assert_eq!(answer.report.response_bytes, body.len() as u64);
}

#[tokio::test]
async fn an_end_without_a_word_is_an_empty_answer() {
    let world = World::new();
    let answer = world.get(&compile(&command("", ""), Limits::default()), "/").await.answered();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
}

#[tokio::test]
async fn a_failure_in_the_middle_cuts_the_answer() {
    let world = World::new();
    let module = command("", "(call $print (i32.const 42)) unreachable");
    let answer = world.get(&compile(&module, Limits::default()), "/").await.answered();
    assert_eq!(answer.text(), "42\n");
    assert!(answer.cut.is_some() && matches!(answer.report.ending, CallEnding::Trap(_)));
}

#[tokio::test]
async fn a_program_sees_its_request_and_nothing_else() {
    let world = World::new();
    let module = wat::parse_str(include_str!("print-environment.wat"));
    let secrets = [("HTTP_TOKEN", Some("of the author")), ("HTTP_UNSET", None)];
    let secrets = secrets.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
    let grants = Grants { secrets: secrets.into_iter().collect(), ..grants() };
    let deployment = compile(&module.expect("a module"), Limits::default());
    let deployment = deployment.with(Limits::default(), grants).expect("limits");
    let body = Full::new("x".into()).map_err(|never| match never {}).boxed_unsync();
    let request = Request::post("/a%20b?c=d")
        .header("host", "functions.test")
        .header("authorization", "Bearer secret")
        .header("cookie", "session=secret")
        .header("plain", "of the client")
        .header("token", "of the client")
        .header("unset", "of the client")
        .header("x-tag", "t")
        .body(body)
        .expect("request");
    let answer = outcome(deployment.call(world.call(request)).await).await.answered();
    let found: Vec<&str> = answer.text().split_terminator('\0').collect();
    for expected in [
        "PLAIN=a plain value",
        "REQUEST_METHOD=POST",
        "PATH_INFO=/a b",
        "QUERY_STRING=c=d",
        "HTTP_X_TAG=t",
        "HTTP_TOKEN=of the author",
    ] {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    for hidden in ["secret", "HTTP_UNSET", "HTTP_TOKEN=of the client"] {
        assert!(!answer.text().contains(hidden), "{found:?}");
    }
}

#[test]
fn modules_that_are_no_programs_are_refused() {
    for (text, expected) in [
        ("(module)", "does not export `_start`"),
        (r#"(module (func (export "_start")))"#, "does not export `memory`"),
        (r#"(module (memory (export "_start") 1))"#, "does not export `_start`"),
        (
            r#"(module (import "env" "emscripten_sleep" (func)) (memory (export "memory") 1)
                (func (export "_start")))"#,
            "does not offer: `env.emscripten_sleep`; it offers wasi_snapshot_preview1",
        ),
        (
            r#"(module (import "wasi_ephemeral_nn" "train" (func)) (memory (export "memory") 1)
                (func (export "_start")))"#,
            "train",
        ),
        (
            r#"(module (import "wasi_ephemeral_nn" "compute" (func (param i64)))
                (memory (export "memory") 1) (func (export "_start")))"#,
            "compute",
        ),
    ] {
        let module = wat::parse_str(text).expect("a module");
        let error: RuntimeError =
            Deployment::compile(&ENGINE, &module, Limits::default(), Grants::default())
                .err()
                .expect(text);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_start_of_another_shape_is_a_trap() {
    let module = r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#;
    let deployment = compile(&wat::parse_str(module).expect("a module"), Limits::default());
    let error = World::new().get(&deployment, "/").await.failed();
    assert!(matches!(error, CallError::Trap(..)), "{error:?}");
}
