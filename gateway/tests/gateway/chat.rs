use serde_json::{Value, json};

use crate::support::{Raw, Server, chat_body, nano};

/// The events of a stream, the final `[DONE]` checked and left out.
fn events(text: &str) -> Vec<Value> {
    let mut lines: Vec<&str> = text.split("\n\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.pop(), Some("data: [DONE]"), "{text}");
    lines
        .into_iter()
        .map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[test]
fn the_cost_is_the_same_everywhere() {
    let server = Server::start();
    let (before, _) = server.balance();
    let answer = server.chat(&json!({}));
    let reply = answer.good();
    assert_eq!(reply["object"], json!("chat.completion"));
    let choice = &reply["choices"][0];
    assert_eq!(choice["message"]["role"], json!("assistant"));
    assert!(!choice["message"]["content"].as_str().unwrap().is_empty(), "{reply}");

    let usage = &reply["usage"];
    let (prompt, output) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
    assert!(prompt.as_u64() > Some(0) && (1..=12).contains(&output.as_u64().unwrap()), "{reply}");
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(prompt.as_u64().unwrap() + output.as_u64().unwrap())
    );
    let cost = nano(&usage["cost"]);
    // The initial prices: 100 nano-credits for each prompt token, 400 for each other.
    let expected = prompt.as_i64().unwrap() * 100 + output.as_i64().unwrap() * 400;
    assert_eq!(cost, expected);

    assert_eq!(answer.header("x-emberbox-cost"), usage["cost"].as_str());
    let id = answer.header("x-emberbox-receipt").unwrap();
    let receipt = server.get(&format!("/v1/receipts/{id}")).good();
    assert_eq!(receipt["amount"], usage["cost"]);
    assert_eq!(receipt["ending"], json!("normal"));
    assert_eq!(usage["cost_details"]["receipt"], json!(id));
    assert_eq!(server.balance(), (before - cost, 0));
    let left = answer.header("x-emberbox-balance").unwrap();
    assert_eq!(nano(&json!(left)), before - cost);
    let used = server.get("/v1/usage").good();
    assert_eq!((nano(&used["total"]), &used["calls"]), (cost, &json!(1)));
    server.ledger_is_sound();
}

#[test]
fn a_stream_ends_with_its_reason_its_usage_and_done() {
    let server = Server::start();
    let (before, _) = server.balance();
    let whole = server.chat(&json!({})).good();
    let asked = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let answer = server.chat(&asked);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events = events(&answer.text);
    let (usage, chunks) = events.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], json!("assistant"));
    let reasons: Vec<&Value> = chunks.iter().map(|c| &c["choices"][0]["finish_reason"]).collect();
    assert_eq!(reasons.last(), Some(&&whole["choices"][0]["finish_reason"]));
    assert!(reasons[..reasons.len() - 1].iter().all(|reason| reason.is_null()));
    let text: String =
        chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(json!(text), whole["choices"][0]["message"]["content"], "greedy: the same story");

    let receipt = server.newest_receipt().unwrap();
    assert_eq!(usage["usage"]["cost"], receipt["amount"]);
    let spent = nano(&whole["usage"]["cost"]) + nano(&receipt["amount"]);
    assert_eq!(server.balance(), (before - spent, 0));

    let quiet = self::events(&server.chat(&json!({ "stream": true })).text);
    assert!(quiet.iter().all(|chunk| chunk.get("usage").is_none()), "usage only when asked for");
    server.ledger_is_sound();
}

#[test]
fn several_answers_cost_their_prompt_once() {
    let server = Server::start();
    let (before, _) = server.balance();
    let alone = |seed: u64| {
        let reply = server.chat(&json!({ "temperature": 1, "seed": seed })).good();
        reply["choices"][0]["message"]["content"].clone()
    };
    // Each answer is what it would be alone, with a seed of its own.
    let expected: Vec<Value> = (7..10).map(alone).collect();
    let asked = json!({ "n": 3, "temperature": 1, "seed": 7 });
    let reply = server.chat(&asked).good();
    let choices = reply["choices"].as_array().unwrap();
    let texts: Vec<Value> = choices.iter().map(|c| c["message"]["content"].clone()).collect();
    assert_eq!(texts, expected);
    let indices: Vec<&Value> = choices.iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indices, [&json!(0), &json!(1), &json!(2)]);
    assert!(choices.iter().all(|choice| choice["finish_reason"] == json!("length")), "{reply}");
    let usage = &reply["usage"];
    assert_eq!(usage["completion_tokens"], json!(36));
    let quote = server.post("/v1/quote", &chat_body(&asked)).good();
    assert_eq!(usage["prompt_tokens"], quote["prompt_tokens"]);
    assert_eq!(server.newest_receipt().unwrap()["held"], quote["worst_case"]);

    let mut stream = asked;
    stream["stream"] = json!(true);
    let mut streamed = vec![String::new(); 3];
    let mut reasons = vec![Vec::new(); 3];
    for event in events(&server.chat(&stream).text) {
        let choice = &event["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        streamed[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        reasons[index].extend(choice["finish_reason"].as_str().map(str::to_owned));
    }
    assert_eq!(streamed.into_iter().map(Value::from).collect::<Vec<_>>(), expected);
    assert_eq!(reasons, vec![["length"]; 3]);
    let spent = nano(&server.get("/v1/usage").good()["total"]);
    assert_eq!(server.balance(), (before - spent, 0));
    server.chat(&json!({ "n": 17 })).refused(400, "invalid_request");
    server.ledger_is_sound();
}

#[test]
fn what_is_wrong_is_named_and_free() {
    let server = Server::start();
    let before = server.balance();
    let check = |body: &str, status: u16, code: &str, param: Value| {
        let answer =
            server.send("POST", "/v1/chat/completions", &server.key, Some(body.as_bytes()));
        assert_eq!(answer.refused(status, code)["param"], param, "{body}");
    };
    check("{\"model\":", 400, "invalid_request", Value::Null);
    check("[]", 400, "invalid_request", Value::Null);
    check(&"[".repeat(10_000), 400, "invalid_request", Value::Null);
    check("{}", 400, "invalid_request", json!("model"));
    let with = |extra: Value| chat_body(&extra).to_string();
    check(&with(json!({ "max_tokens": -1 })), 400, "invalid_request", json!("max_tokens"));
    check(&with(json!({ "temperature": 9 })), 400, "invalid_request", json!("temperature"));
    check(&with(json!({ "tools": [{}] })), 400, "invalid_request", json!("tools"));
    check(&with(json!({ "model": "gpt-9" })), 404, "model_not_found", json!("model"));
    let long = "once upon a time ".repeat(2_000);
    let messages = json!([{ "role": "user", "content": long }]);
    check(&with(json!({ "messages": messages })), 400, "context_length_exceeded", Value::Null);
    assert_eq!(server.balance(), before);
    assert!(server.newest_receipt().is_none());
}

#[test]
fn an_empty_balance_is_402_and_nothing_runs() {
    let server = Server::start();
    let poor = server.other_org("poor", "0");
    let body = chat_body(&json!({})).to_string();
    let path = "/v1/chat/completions";
    let answer = server.send("POST", path, &poor, Some(body.as_bytes()));
    answer.refused(402, "insufficient_credits");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    // Enough for a short answer, not for the default one: the hold is the worst case.
    let top_up = json!({ "org": "poor", "amount": "0.00001", "id": "t", "note": "" });
    server.operate("POST", "/admin/v1/credits", &top_up).good();
    let short = chat_body(&json!({ "max_tokens": 1 })).to_string();
    let long = chat_body(&json!({ "max_tokens": 100 })).to_string();
    let status = |body: &str| server.send("POST", path, &poor, Some(body.as_bytes())).status;
    assert_eq!((status(&long), status(&short)), (402, 200));
    server.ledger_is_sound();
}

#[test]
fn a_client_that_leaves_pays_for_what_it_got() {
    let server = Server::start();
    let asked = chat_body(&json!({ "stream": true, "max_tokens": 200, "temperature": 1.5 }));
    // The model is fast and may be done before the server sees that its client has left; then
    // the call ended normally, and another one is tried.
    let receipt = (0..50).find_map(|_| {
        let mut raw = Raw::connect(&server);
        let before = server.newest_receipt().map(|receipt| receipt["id"].clone());
        raw.post(&server, "/v1/chat/completions", &asked);
        raw.read_until("\"content\":");
        drop(raw);
        let receipt = server.wait_for_receipt(|receipt| Some(&receipt["id"]) != before.as_ref());
        (receipt["ending"] == json!("client_left")).then_some(receipt)
    });
    let receipt = receipt.expect("no call ended because its client left");
    assert!(nano(&receipt["amount"]) > 0, "the prompt was prefilled: {receipt}");
    assert!(nano(&receipt["amount"]) < nano(&receipt["held"]), "{receipt}");
    server.ledger_is_sound();
}
