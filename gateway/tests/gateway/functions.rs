use serde_json::{Value, json};

use crate::support::{Raw, Server, manifest, nano, send};

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
const HELLO_P3: &[u8] = include_bytes!("../../../examples/prebuilt/hello-p3.wasm");
const MISBEHAVE_P3: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave-p3.wasm");
const STORYTELLER: &[u8] = include_bytes!("../../../examples/prebuilt/storyteller.wasm");
const LEGACY: &[u8] = include_bytes!("../../../examples/prebuilt/legacy-nn.wasm");
const WASMEDGE: &[u8] = include_bytes!("../../../examples/prebuilt/wasmedge-nn.wasm");
const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");

const PLAIN: &str = "text/plain; charset=utf-8";

fn log_lines(server: &Server, function: &str) -> Vec<Value> {
    let logs = server.get(&format!("/v1/functions/{function}/logs?limit=1000")).good();
    logs["data"].as_array().unwrap().clone()
}

#[test]
fn a_call_is_charged_once_and_says_so() {
    let server = Server::start();
    server.deploy("hello", HELLO, "").good_created();
    let (before, _) = server.balance();
    let answer = server.get("/f/local/hello/?name=Mia");
    assert_eq!((answer.status, answer.text.as_str()), (200, "Hello, Mia!\n"));
    let receipt = server.wait_for_receipt(|_| true);
    assert_eq!(receipt["ending"], json!("normal"));
    let cost = nano(&receipt["amount"]);
    // The platform's fee for a call is 1,000 nano-credits; compute comes on top.
    assert!((1_000..1_000_000).contains(&cost), "{receipt}");
    assert_eq!(server.balance(), (before - cost, 0));
    let expected = json!({ "function": { "owner": "local", "name": "hello", "version": 1 } });
    assert_eq!(receipt["subject"], expected);

    server.get("/f/local/nothing/").refused(404, "function_not_found");
    server.get("/f/nobody/hello/").refused(404, "function_not_found");
    assert_eq!(server.balance(), (before - cost, 0));
    server.ledger_is_sound();
}

#[test]
fn a_story_streams_and_its_tokens_are_charged() {
    let server = Server::start();
    server.deploy("storyteller", STORYTELLER, "models = [\"tiny-storyteller\"]").good_created();
    let answer = server.get("/f/local/storyteller/?about=a+fox&seed=1");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.len() > 20, "{answer:?}");
    let receipt = server.wait_for_receipt(|_| true);
    let quantity = |meter: &str| {
        let lines = receipt["usage"].as_array().unwrap();
        let line = lines.iter().find(|line| line["meter"] == json!(meter));
        line.map_or(0, |line| line["quantity"].as_i64().unwrap())
    };
    assert!(quantity("input_tokens") > 0 && quantity("output_tokens") > 5, "{receipt}");
    assert_eq!(quantity("calls"), 1);
    assert!(nano(&receipt["amount"]) <= nano(&receipt["held"]));
    server.ledger_is_sound();
}

/// A component of WASI 0.3, which keeps to the same rules: its request and its answer stream, its model
/// is paid, and a misdeed is the author's.
#[test]
fn a_service_of_wasi_0_3_is_a_function_like_others() {
    let server = Server::start();
    server.deploy("hello-p3", HELLO_P3, "models = [\"tiny-storyteller\"]").good_created();
    let greeting = server.get("/f/local/hello-p3/");
    assert_eq!((greeting.status, greeting.text.as_str()), (200, "Hello, world!\n"));
    let text = "say this back. ".repeat(10_000);
    let path = "/f/local/hello-p3/";
    let echoed = server.send("POST", path, &server.key, Some(text.as_bytes()));
    assert_eq!((echoed.status, echoed.text.as_str()), (200, text.as_str()));
    let story = server.get("/f/local/hello-p3/story");
    assert!(story.status == 200 && story.text.len() > 40, "{story:?}");
    let usage = server.wait_for_receipt(|receipt| {
        let lines = receipt["usage"].as_array().unwrap();
        lines.iter().any(|line| line["meter"] == json!("output_tokens"))
    });
    assert_eq!(usage["ending"], json!("normal"));

    server.deploy("misbehave-p3", MISBEHAVE_P3, "").good_created();
    server.get("/f/local/misbehave-p3/trap").refused(500, "guest_trap");
    let forged = server.get("/f/local/misbehave-p3/forge");
    assert_eq!((forged.text.as_str(), forged.header("set-cookie")), ("forged", None));
    let reused = manifest("hello-p3", "reuse_instances = true\n");
    server.deploy_manifest("hello-p3", HELLO_P3, &reused).refused(400, "invalid_request");
    server.ledger_is_sound();
}

/// Programs for wasmtime's and `WasmEdge`'s own wasi-nn, as they are, on the bundled model.
#[test]
fn a_core_module_reads_its_request_and_is_charged() {
    let server = Server::start();
    let story = |name: &str, wasm: &[u8], arguments: &str| {
        let rest = format!(
            "models = [\"tiny-storyteller\"]\narguments = {arguments}\n\
             [environment]\nseed = \"7\"\ntemp = \"0\""
        );
        server.deploy(name, wasm, &rest).good_created();
        let path = format!("/f/local/{name}/");
        let prompt = Some(&b"Once upon a time"[..]);
        let answer = send(server.public, ("POST", &path), &server.key, &[], prompt);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(PLAIN)), "{name}");
        let receipt =
            server.wait_for_receipt(|of| of["subject"]["function"]["name"] == json!(name));
        let lines = receipt["usage"].as_array().unwrap();
        let metered = lines.iter().any(|line| line["meter"] == json!("output_tokens"));
        assert!(metered && answer.text.len() > 100, "{receipt}: {answer:?}");
        answer.text
    };
    story("legacy-nn", LEGACY, "[\"tiny-storyteller\"]");
    let whole = story("basic", WASMEDGE, "[\"basic\", \"tiny-storyteller\"]");
    let streamed = story("stream", WASMEDGE, "[\"stream\", \"tiny-storyteller\"]");
    assert!(whole.starts_with(&streamed), "{streamed} is not how {whole} begins");
    server.ledger_is_sound();
}

#[test]
fn what_a_guest_says_for_the_platform_is_not_passed_on() {
    let server = Server::start();
    server.deploy("misbehave", MISBEHAVE, "").good_created();
    let answer = server.get("/f/local/misbehave/forge-headers");
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert!(answer.headers.get("set-cookie").is_none(), "{answer:?}");
    let receipt = server.wait_for_receipt(|_| true);
    for name in ["x-emberbox-cost", "x-emberbox-receipt"] {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
    }
    if let Some(cost) = answer.header("x-emberbox-cost") {
        assert_eq!(json!(cost), receipt["amount"]);
    }
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);

    let headers = [("cookie", "a=b"), ("idempotency-key", "k"), ("x-mine", "kept")];
    let path = ("GET", "/f/local/misbehave/echo?a=b");
    let echo = send(server.public, path, &server.key, &headers, None);
    assert!(echo.text.contains("x-mine"), "{echo:?}");
    for hidden in ["authorization", "cookie", "idempotency-key", server.key.as_str()] {
        assert!(!echo.text.contains(hidden), "{hidden} in {echo:?}");
    }
}

#[test]
fn a_guest_that_fails_is_charged_and_told_to_its_author() {
    let server = Server::start();
    let limits = "[limits]\ncpu_ms = 200\nwall_ms = 2000";
    server.deploy("misbehave", MISBEHAVE, limits).good_created();
    let rows = [
        ("/trap", 500, "guest_trap", "guest_trap"),
        ("/no-response", 500, "guest_trap", "normal"),
        ("/spin", 504, "deadline_exceeded", "deadline"),
    ];
    for (path, status, code, ending) in rows {
        let before = server.newest_receipt().map(|receipt| receipt["id"].clone());
        let answer = server.get(&format!("/f/local/misbehave{path}"));
        answer.refused(status, code);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let receipt = server.wait_for_receipt(|r| Some(&r["id"]) != before.as_ref());
        assert!(receipt["ending"] == json!(ending) || path == "/no-response", "{path}: {receipt}");
        assert_eq!(answer.header("x-emberbox-receipt"), receipt["id"].as_str(), "{path}");
    }
    let lines = log_lines(&server, "misbehave");
    let told = |text: &str| {
        lines.iter().any(|line| {
            line["stream"] == json!("platform") && line["line"].as_str().unwrap().contains(text)
        })
    };
    assert!(told("trapped") && told("longer than it may"), "{lines:#?}");
    server.ledger_is_sound();
}

#[test]
fn what_a_guest_prints_is_kept_for_its_author() {
    let server = Server::start();
    server.deploy("misbehave", MISBEHAVE, "").good_created();
    assert_eq!(server.get("/f/local/misbehave/flood-logs?lines=4&width=3").status, 200);
    server.wait_for_receipt(|_| true);
    let lines = log_lines(&server, "misbehave");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0]["line"], json!("0 xxx"));
    assert_eq!((&lines[0]["stream"], &lines[1]["stream"]), (&json!("stdout"), &json!("stderr")));
    let after = server.get("/v1/functions/misbehave/logs?after=3").good();
    assert_eq!((after["data"].as_array().unwrap().len(), &after["next"]), (1, &json!(4)));
}

#[test]
fn a_guest_spends_no_more_than_its_call_may_cost() {
    let server = Server::start();
    let manifest = "[function]\nname = \"misbehave\"\nmax_cost_per_call = \"0.0003\"\n\
        models = [\"tiny-storyteller\"]";
    server.deploy_manifest("misbehave", MISBEHAVE, manifest).good_created();
    let told = server.get("/f/local/misbehave/overspend").good();
    assert!(told["calls"].as_i64() > Some(0), "the first fits the budget: {told}");
    assert_eq!((told["ended"].is_string(), &told["slipped_through"]), (true, &json!(0)), "{told}");
    let receipt = server.wait_for_receipt(|_| true);
    assert!(nano(&receipt["amount"]) <= 300_000, "{receipt}");
    let lines = receipt["usage"].as_array().unwrap();
    let output = lines.iter().find(|line| line["meter"] == json!("output_tokens")).unwrap();
    assert_eq!(output["quantity"], told["output_tokens"], "counted by the host as by the guest");
    server.ledger_is_sound();
}

#[test]
fn a_client_that_leaves_stops_its_function_and_pays_until_then() {
    let server = Server::start();
    server.deploy("misbehave", MISBEHAVE, "").good_created();
    for path in ["/slow?pieces=100000&ms=20", "/slow?before_ms=20000"] {
        let before = server.newest_receipt().map(|receipt| receipt["id"].clone());
        let mut raw = Raw::connect(&server);
        raw.send(&server, &format!("GET /f/local/misbehave{path}"), "", "");
        if path.contains("pieces") {
            raw.read_until("\r\n\r\n");
        } else {
            // The hold tells that the call has begun.
            crate::support::wait_for("the hold", || (server.balance().1 > 0).then_some(()));
        }
        drop(raw);
        let receipt = server.wait_for_receipt(|r| Some(&r["id"]) != before.as_ref());
        assert_eq!(receipt["ending"], json!("client_left"), "{path}: {receipt}");
    }
    server.ledger_is_sound();
}

#[test]
fn bodies_go_in_and_methods_are_kept() {
    let server = Server::start();
    server.deploy("misbehave", MISBEHAVE, "").good_created();
    let body = "x".repeat(100_000);
    let answer =
        server.send("PATCH", "/f/local/misbehave/echo", &server.key, Some(body.as_bytes()));
    let echo = answer.good();
    assert_eq!((&echo["method"], &echo["body_bytes"]), (&json!("PATCH"), &json!(100_000)));
    let head = server.send("HEAD", "/f/local/misbehave/", &server.key, None);
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

impl crate::support::Answer {
    #[track_caller]
    fn good_created(&self) {
        assert_eq!(self.status, 201, "{self:?}");
    }
}
