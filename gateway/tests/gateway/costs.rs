use emberbox_billing::{Act, Grant, KeyId, Nano, OrgId, Payment, Window};
use serde_json::{Value, json};

use crate::support::{Answer, Server, chat_body, nano, send};

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
const CHAT: &str = "/v1/chat/completions";

/// Posts JSON with a limit of the cost in the head.
fn post_limited(server: &Server, path: &str, (max_cost, body): (&str, &Value)) -> Answer {
    let headers = [("x-emberbox-max-cost", max_cost)];
    let body = body.to_string();
    send(server.public, ("POST", path), &server.key, &headers, Some(body.as_bytes()))
}

/// The ids of the first organisation and of its first key.
fn payer(server: &Server) -> (OrgId, KeyId) {
    let me = server.get("/v1/me").good();
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    (OrgId::new(id(&me["org"])), KeyId::new(id(&me["key"])))
}

fn payment(org: &OrgId, nano: i64) -> Payment {
    Payment {
        org: org.clone(),
        amount: Nano::from_nano(nano),
        rail: "operator".to_owned(),
        reference: None,
        note: String::new(),
    }
}

#[test]
fn a_reply_tells_the_balance_after_its_charge() {
    let server = Server::start();
    assert_eq!(server.deploy("hello", HELLO, "").status, 201);
    let calls: [&dyn Fn() -> Answer; 2] =
        [&|| server.chat(&json!({})), &|| server.get("/f/local/hello/")];
    for call in calls {
        let answer = call();
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = nano(&json!(answer.header("x-emberbox-balance").unwrap()));
        assert_eq!((told, 0), server.balance());
    }
    server.ledger_is_sound();
}

#[test]
fn a_call_that_may_cost_more_than_its_limit_is_refused() {
    let server = Server::start();
    let before = server.balance();
    let quote = server.post("/v1/quote", &chat_body(&json!({}))).good();
    let worst_case = quote["worst_case"].as_str().unwrap();
    let below = Nano::from_nano(nano(&quote["worst_case"]) - 1).to_string();
    let refused = |answer: Answer| {
        let error = answer.refused(402, "max_cost_exceeded");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(worst_case) && message.contains(&below), "{message}");
    };
    refused(server.chat(&json!({ "max_cost": below })));
    refused(post_limited(&server, CHAT, (&below, &chat_body(&json!({})))));
    // Of two limits the lower one holds.
    refused(post_limited(&server, CHAT, (&below, &chat_body(&json!({ "max_cost": "1" })))));
    refused(post_limited(&server, CHAT, ("1", &chat_body(&json!({ "max_cost": below })))));
    assert_eq!(server.balance(), before);
    assert!(server.newest_receipt().is_none());

    let reply = server.chat(&json!({ "max_cost": worst_case })).good();
    assert!(nano(&reply["usage"]["cost"]) <= nano(&quote["worst_case"]));
    let embed = json!({ "model": "tiny-storyteller", "input": "once upon a time" });
    let answer = post_limited(&server, "/v1/embeddings", ("0.000000001", &embed));
    answer.refused(402, "max_cost_exceeded");
    server.ledger_is_sound();
}

#[test]
fn an_answer_without_a_limit_of_its_own_is_as_long_as_its_cost_allows() {
    let server = Server::start();
    let open = json!({ "max_tokens": null });
    let quote = server.post("/v1/quote", &chat_body(&open)).good();
    let prompt = quote["prompt_tokens"].as_i64().unwrap();
    assert!(quote["output_tokens_max"].as_i64() > Some(100), "the server's default: {quote}");
    // The initial prices: 100 nano-credits for each prompt token, 400 for each other.
    let limit = |tokens: i64| Nano::from_nano(prompt * 100 + tokens * 400 + 399).to_string();
    let asked = json!({ "max_tokens": null, "max_cost": limit(5) });
    let reply = server.chat(&asked).good();
    assert_eq!(reply["usage"]["completion_tokens"], json!(5), "{reply}");
    assert_eq!(reply["choices"][0]["finish_reason"], json!("length"));
    assert_eq!(nano(&reply["usage"]["cost_details"]["held"]), prompt * 100 + 5 * 400);
    let quoted = server.post("/v1/quote", &chat_body(&asked)).good();
    assert_eq!(quoted["worst_case"], reply["usage"]["cost_details"]["held"]);
    let nothing = json!({ "max_tokens": null, "max_cost": limit(0) });
    server.chat(&nothing).refused(402, "max_cost_exceeded");
    server.ledger_is_sound();
}

#[test]
fn a_function_stays_within_its_callers_limit() {
    let server = Server::start();
    assert_eq!(server.deploy("hello", HELLO, "").status, 201);
    let call = |path: &str, max_cost: &str| {
        let headers = [("x-emberbox-max-cost", max_cost)];
        send(server.public, ("GET", path), &server.key, &headers, None)
    };
    assert_eq!(call("/f/local/hello/", "0.0002").status, 200);
    let receipt = server.wait_for_receipt(|_| true);
    assert_eq!(nano(&receipt["held"]), 200_000);
    // More than the author's own limit changes nothing.
    assert_eq!(call("/f/local/hello/", "7").status, 200);
    let id = receipt["id"].clone();
    assert_eq!(nano(&server.wait_for_receipt(|r| r["id"] != id)["held"]), 1_000_000);
    // The platform's fee for a call is 1,000 nano-credits.
    let error = call("/f/local/hello/", "0.000000999").refused(402, "max_cost_exceeded");
    assert!(error["message"].as_str().unwrap().contains("at least 0.000001 credits"), "{error}");
    server.ledger_is_sound();
}

#[test]
fn a_guest_that_computes_stops_where_its_hold_is_used_up() {
    let server = Server::start();
    let manifest = "[function]\nname = \"misbehave\"\nmax_cost_per_call = \"0.000011\"";
    assert_eq!(server.deploy_manifest("misbehave", MISBEHAVE, manifest).status, 201);
    let answer = server.get("/f/local/misbehave/spin");
    answer.refused(402, "max_cost_exceeded");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let receipt = server.wait_for_receipt(|_| true);
    assert_eq!(receipt["ending"], json!("budget"), "{receipt}");
    assert!(nano(&receipt["amount"]) <= 11_000, "{receipt}");
    // The fee, and 10,000 nano-credits at 100 for a millisecond.
    let lines = receipt["usage"].as_array().unwrap();
    let compute = lines.iter().find(|line| line["meter"] == json!("compute_micros")).unwrap();
    assert!(compute["quantity"].as_u64() >= Some(99_000), "{receipt}");
    server.ledger_is_sound();
}

#[test]
fn limits_of_the_cost_are_decimal_text() {
    let server = Server::start();
    let before = server.balance();
    for wrong in [json!(0.001), json!(1), json!("1e-3"), json!("-1"), json!(""), json!(["1"])] {
        let error = server.chat(&json!({ "max_cost": wrong })).refused(400, "invalid_request");
        assert_eq!(error["param"], json!("max_cost"), "{wrong}");
    }
    for wrong in ["1e-3", "-1", "0.0000000001", "one"] {
        let answer = post_limited(&server, CHAT, (wrong, &chat_body(&json!({}))));
        let error = answer.refused(400, "invalid_request");
        assert_eq!(error["param"], json!("x-emberbox-max-cost"), "{wrong}");
    }
    assert_eq!(server.balance(), before);
}

#[test]
fn a_quote_is_what_a_call_holds() {
    let server = Server::start();
    let models = "models = [\"tiny-storyteller\"]\n[price]\ncall_fee = \"0.0001\"";
    assert_eq!(server.deploy("hello", HELLO, models).status, 201);
    let before = server.balance();
    let chat = server.post("/v1/quote", &chat_body(&json!({}))).good();
    let embed = json!({ "model": "tiny-storyteller", "input": ["a fox", "a bear"] });
    let embedding = server.post("/v1/quote", &embed).good();
    let function = server.post("/v1/quote", &json!({ "function": "local/hello" })).good();
    assert_eq!(server.balance(), before, "a quote is free");
    assert_eq!(chat["price_version"], json!(1));
    assert_eq!(nano(&chat["rates"]["output_token"].clone()), 400);

    let held = || server.newest_receipt().unwrap()["held"].clone();
    server.chat(&json!({})).good();
    assert_eq!(held(), chat["worst_case"]);
    let vectors = server.post("/v1/embeddings", &embed).good();
    assert_eq!(held(), embedding["worst_case"]);
    assert_eq!(vectors["usage"]["prompt_tokens"], embedding["prompt_tokens"]);
    assert_eq!(vectors["usage"]["cost"], embedding["worst_case"], "all of it is known before");
    assert_eq!(server.get("/f/local/hello/").status, 200);
    let receipt = server.wait_for_receipt(|r| r["subject"].get("function").is_some());
    assert_eq!(receipt["held"], function["worst_case"]);
    assert_eq!(function["subject"], receipt["subject"]);
    assert_eq!(function["author"]["call_fee"], json!("0.0001"));
    assert!(function["models"]["tiny-storyteller"]["input_token"].is_string(), "{function}");

    for (wrong, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({ "function": "hello" }), 400, "invalid_request"),
        (json!({ "function": "local/nothing" }), 404, "function_not_found"),
        (json!({ "model": "gpt-9", "input": "x" }), 404, "model_not_found"),
        (json!({ "function": "local/hello", "max_cost": "0.000000999" }), 402, "max_cost_exceeded"),
    ] {
        server.post("/v1/quote", &wrong).refused(status, code);
    }
    server.ledger_is_sound();
}

#[test]
fn a_budget_that_is_used_up_is_402() {
    let server = Server::start();
    let (org, key) = payer(&server);
    let worst_case = nano(&server.post("/v1/quote", &chat_body(&json!({}))).good()["worst_case"]);
    let set = |key: Option<KeyId>, window: Window, limit: Option<i64>| {
        let limit = limit.map(Nano::from_nano);
        server.order(Act::SetBudget { org: org.clone(), key, window, limit });
    };
    for (of_key, window, said) in [
        (true, Window::Day, "daily budget of this key"),
        (false, Window::Month, "monthly budget of this organisation"),
        (true, Window::Total, "total budget of this key"),
    ] {
        let key = of_key.then(|| key.clone());
        set(key.clone(), window, Some(worst_case));
        server.chat(&json!({})).good();
        let answer = server.chat(&json!({}));
        let error = answer.refused(402, "key_limit_exceeded");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
        assert_eq!(message.contains("resets on"), window != Window::Total, "{message}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        set(key, window, None);
    }
    server.chat(&json!({})).good();
    server.ledger_is_sound();
}

#[test]
fn who_owes_is_refused_until_it_is_paid() {
    let server = Server::start();
    let (org, _) = payer(&server);
    let (posted, _) = server.balance();
    server.order(Act::Chargeback(payment(&org, posted + 1_000)));
    let free = Grant {
        org: org.clone(),
        amount: Nano::from_nano(1_000_000_000),
        funding: emberbox_billing::Funding::Promotional,
        priority: 0,
        expires_at_ms: None,
        scope: emberbox_billing::Scope::default(),
        note: String::new(),
    };
    server.order(Act::Grant(free));
    let error = server.chat(&json!({})).refused(402, "insufficient_credits");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("0.000001 credits are owed"), "{message}");
    server.order(Act::TopUp(payment(&org, 1_000)));
    server.chat(&json!({})).good();
    server.ledger_is_sound();
}
