use std::time::Duration;

use emberbox::Config;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Server, config, nano, send};

#[test]
fn only_the_operators_token_opens_the_operators_listener() {
    let server = Server::start();
    for key in ["", "op_wrong", server.key.as_str()] {
        let answer = send(server.admin, ("GET", "/admin/v1/orgs"), key, &[], None);
        answer.refused(401, "invalid_api_key");
    }
    for path in ["/metrics", "/healthz"] {
        assert_eq!(send(server.admin, ("GET", path), "", &[], None).status, 200);
    }
    server.operate("GET", "/admin/v1/nothing", &Value::Null).refused(404, "not_found");
    // Nothing of it is on the public listener.
    server.send("GET", "/admin/v1/orgs", &server.token, None).refused(404, "not_found");
    server.send("GET", "/metrics", "", None).refused(404, "not_found");
}

#[test]
fn credits_are_added_once_for_each_id() {
    let server = Server::start();
    let (before, _) = server.balance();
    let top_up = json!({ "org": "local", "amount": "1.5", "id": "invoice-7", "note": "paid" });
    for _ in 0..2 {
        server.operate("POST", "/admin/v1/credits", &top_up).good();
    }
    assert_eq!(server.balance().0, before + 1_500_000_000);
    let other = json!({ "org": "local", "amount": "2", "id": "invoice-7", "note": "paid" });
    server.operate("POST", "/admin/v1/credits", &other).refused(409, "conflict");
    for (amount, param) in [("0", "amount"), ("-1", "amount"), ("1e3", "amount")] {
        let wrong = json!({ "org": "local", "amount": amount, "id": "x" });
        let error =
            server.operate("POST", "/admin/v1/credits", &wrong).refused(400, "invalid_request");
        assert_eq!(error["param"], json!(param), "{amount}");
    }
    let nobody = json!({ "org": "nobody", "amount": "1" });
    server.operate("POST", "/admin/v1/credits", &nobody).refused(404, "not_found");
    server.operate("POST", "/admin/v1/orgs", &json!({ "name": "local" })).refused(409, "conflict");
    let wrong = json!({ "name": "No Spaces" });
    server.operate("POST", "/admin/v1/orgs", &wrong).refused(400, "invalid_request");
}

#[test]
fn new_prices_apply_to_new_calls() {
    let server = Server::start();
    let mut book = server.operate("GET", "/admin/v1/prices", &Value::Null).good();
    let first = server.chat(&json!({})).good();
    book["default_model"]["output_token"] = json!("0.000001");
    let set = server.operate("PUT", "/admin/v1/prices", &book).good();
    assert_eq!(set["version"], json!(2));
    let second = server.chat(&json!({})).good();
    assert_eq!(second["usage"]["cost_details"]["price_version"], json!(2));
    let output = second["usage"]["completion_tokens"].as_i64().unwrap();
    let more = nano(&second["usage"]["cost"]) - nano(&first["usage"]["cost"]);
    assert_eq!(more, output * 600, "greedy: both answers have the same tokens");
    server.operate("PUT", "/admin/v1/prices", &json!({})).refused(400, "invalid_request");
}

#[test]
fn models_that_cannot_be_loaded_are_refused_with_the_reason() {
    let server = Server::start();
    let broken = server.folder.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF and then nothing").unwrap();
    let missing = server.folder.path().join("missing.gguf");
    for path in [broken, missing] {
        let body = json!({ "name": "m", "path": path.display().to_string() });
        let error =
            server.operate("POST", "/admin/v1/models", &body).refused(400, "invalid_request");
        assert_eq!(error["param"], json!("path"));
    }
    let relative = json!({ "name": "m", "path": "x.gguf" });
    server.operate("POST", "/admin/v1/models", &relative).refused(400, "invalid_request");
    let taken = json!({ "name": "tiny-storyteller", "path": "/x.gguf" });
    server.operate("POST", "/admin/v1/models", &taken).refused(409, "conflict");
    let path = "/admin/v1/models/m";
    server.operate("DELETE", path, &Value::Null).refused(404, "not_found");
}

#[test]
fn models_are_loaded_by_the_first_call_unless_they_are_pinned() {
    for (pinned, before) in [("", "registered"), ("a, tiny-storyteller", "loaded")] {
        let set = |config: &mut Config| config.inference.pinned_models = pinned.to_owned();
        let server = Server::start_with(set);
        let model = || {
            let models = server.operate("GET", "/admin/v1/models", &Value::Null).good();
            (models["data"][0]["state"].clone(), models["data"][0]["pinned"].clone())
        };
        assert_eq!(model(), (json!(before), json!(before == "loaded")));
        server.chat(&json!({})).good();
        assert_eq!(model(), (json!("loaded"), json!(before == "loaded")));
    }
}

#[test]
fn metrics_count_calls_and_name_nobody() {
    let server = Server::start();
    server.chat(&json!({})).good();
    let text = send(server.admin, ("GET", "/metrics"), "", &[], None).text;
    for name in [
        "emberbox_requests_running",
        "emberbox_requests_waiting",
        "emberbox_request_duration_seconds",
        "emberbox_queue_seconds",
        "emberbox_time_to_first_token_seconds",
        "emberbox_inter_token_latency_seconds",
        "emberbox_prompt_tokens_total",
        "emberbox_generation_tokens_total",
        "emberbox_debits_total 1",
    ] {
        assert!(text.contains(name), "no {name} in {text}");
    }
    assert!(!text.contains("local") && !text.contains("eb_"), "{text}");
}

#[test]
fn a_restart_keeps_everything() {
    let server = Server::start();
    let hello = include_bytes!("../../../examples/prebuilt/hello.wasm");
    assert_eq!(server.deploy("hello", hello, "").status, 201);
    server.chat(&json!({})).good();
    assert_eq!(server.get("/f/local/hello/").status, 200);
    server.wait_for_receipt(|receipt| receipt["subject"].get("function").is_some());
    let (key, token) = (server.key.clone(), server.token.clone());
    let (balance, receipts) = (server.balance(), server.get("/v1/receipts").text);

    let runtime = Runtime::new().unwrap();
    let second = config(server.folder.path());
    let refused = runtime.block_on(Box::pin(emberbox::start(second))).map(|_| ());
    assert!(matches!(refused, Err(emberbox::StartError::Folder(_))), "one server per folder");

    let mut server = Server::start_in(server.stop(), |_| {});
    assert!(server.key.is_empty(), "the first key is shown once");
    server.key = key;
    assert_eq!(server.token, token);
    assert_eq!(server.balance(), balance);
    assert_eq!(server.get("/v1/receipts").text, receipts);
    // The first calls after a restart share one compilation.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(server.get("/f/local/hello/").text, "Hello, world!\n"));
        }
    });
    server.ledger_is_sound();
    runtime.shutdown_timeout(Duration::from_secs(1));
}

#[test]
fn a_server_that_stops_lets_calls_end_and_charges_them() {
    let server = Server::start();
    let asked = crate::support::chat_body(&json!({ "stream": true, "max_tokens": 100 }));
    let mut raw = crate::support::Raw::connect(&server);
    raw.post(&server, "/v1/chat/completions", &asked);
    raw.read_until("\"content\":");
    let reader = std::thread::spawn(move || raw.read_until("[DONE]"));
    let key = server.key.clone();
    let folder = server.stop();
    assert!(reader.join().unwrap().contains("[DONE]"), "the stream ran to its end");
    let mut server = Server::start_in(folder, |_| {});
    server.key = key;
    assert_eq!(server.newest_receipt().unwrap()["ending"], json!("normal"));
    server.ledger_is_sound();
}
