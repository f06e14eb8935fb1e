use serde_json::{Value, json};

use crate::support::{Answer, Server, send};

const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
const GGUF: &[u8] = include_bytes!("../../../examples/tiny-lm/model/tiny-storyteller.gguf");
const PATH: &str = "/f/local/misbehave/load";

fn server() -> Server {
    Server::start_with(|config| config.function_limits.load_models = true)
}

fn deploy(server: &Server, rest: &str) -> Answer {
    server.deploy("misbehave", MISBEHAVE, &format!("load_models = true\n{rest}"))
}

fn load(server: &Server, path: &str, model: &[u8]) -> Answer {
    server.send("POST", path, &server.key, Some(model))
}

#[test]
fn a_function_brings_a_model_and_its_caller_pays_for_tokens() {
    let server = server();
    deploy(&server, "").good();
    let told = load(&server, &format!("{PATH}?times=2"), GGUF).good();
    assert_eq!(told["texts"][0], told["texts"][1], "{told}");
    let receipt = server.wait_for_receipt(|_| true);
    let output = |line: &&Value| line["meter"] == json!("output_tokens");
    let line = receipt["usage"].as_array().unwrap().iter().find(output).unwrap().clone();
    assert_eq!(line["quantity"], json!(16), "{receipt}");
    let model = line["model"].as_str().unwrap();
    assert!(model.starts_with("sha256:"), "{model}");

    // It is a model of this call's, and not one that the server offers.
    let listed = server.get("/v1/models").good().to_string();
    assert!(!listed.contains("sha256"), "{listed}");
    let ask = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] });
    server.post("/v1/chat/completions", &ask).refused(404, "model_not_found");
    server.ledger_is_sound();
}

#[test]
fn the_operator_and_the_organisation_decide_who_loads() {
    let refused = |server: &Server, why: &str| {
        let error = deploy(server, "").refused(400, "invalid_request");
        assert_eq!(error["param"], json!("function.load_models"));
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    };
    refused(&Server::start(), "function_limits.load_models");

    let server = server();
    deploy(&server, "").good();
    load(&server, PATH, GGUF).good();
    let policy = |body: Value| {
        let body = body.to_string();
        send(server.public, ("PUT", "/v1/policy"), &server.key, &[], Some(body.as_bytes()))
    };
    policy(json!({ "load_models": "no" })).refused(400, "invalid_request");
    policy(json!({ "load_models": false })).good();
    assert_eq!(server.get("/v1/policy").good()["load_models"], json!(false));
    // What is live loses it with the next call.
    load(&server, PATH, GGUF).refused(403, "load_not_allowed");
    refused(&server, "the organisation's policy");
    policy(json!({ "load_models": null })).good();
    load(&server, PATH, GGUF).good();

    // One that does not ask for it does not get it.
    server.deploy("misbehave", MISBEHAVE, "").good();
    load(&server, PATH, GGUF).refused(403, "load_not_allowed");
}

#[test]
fn hostile_models_are_refused_and_harm_nobody() {
    let server = server();
    deploy(&server, "[limits]\nload_kib = 3500").good();
    let mut bent = GGUF.to_vec();
    let step = 997;
    for at in (8..20_000).step_by(step) {
        bent[at] ^= 0xff;
        let answer = load(&server, PATH, &bent);
        assert!([200, 400].contains(&answer.status), "byte {at}: {answer:?}");
        bent[at] ^= 0xff;
    }
    for (what, model) in [
        ("nothing", &b""[..]),
        ("a text", b"once"),
        ("no more than a count that lies", &[b"GGUF\x03\0\0\0".as_slice(), &[0xff; 16]].concat()),
        ("a part", &GGUF[..GGUF.len() / 3]),
    ] {
        let error = load(&server, PATH, model).refused(400, "invalid_request");
        assert!(error["message"].as_str().unwrap().len() > 10, "{what}: {error}");
    }
    load(&server, &format!("{PATH}?times=2"), GGUF).refused(413, "request_too_large");
    // Everything is as before.
    load(&server, PATH, GGUF).good();
    assert_eq!(server.chat(&json!({})).status, 200);
    server.ledger_is_sound();
}
