use serde_json::json;

use crate::support::{Raw, Server};

#[test]
fn bodies_have_a_limit_announced_or_not() {
    let server = Server::start_with(|config| config.limits.json_bytes_max = 1_000);
    let mut raw = Raw::connect(&server);
    raw.send(&server, "POST /v1/chat/completions", "content-length: 1001\r\n", "");
    assert!(raw.read_until("\r\n\r\n").starts_with("HTTP/1.1 413"), "announced");

    let mut raw = Raw::connect(&server);
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001));
    raw.send(&server, "POST /v1/chat/completions", "transfer-encoding: chunked\r\n", &chunk);
    assert!(raw.read_until("request_too_large").starts_with("HTTP/1.1 413"), "not announced");
}

#[test]
fn headers_have_a_limit() {
    let server = Server::start_with(|config| config.limits.header_bytes_max = 8 << 10);
    let mut raw = Raw::connect(&server);
    let long = format!("x-long: {}\r\n", "x".repeat(20_000));
    raw.send(&server, "GET /v1/models", &long, "");
    assert!(raw.read_until("\r\n\r\n").starts_with("HTTP/1.1 431"));
}

#[test]
fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let server = Server::start_with(|config| config.key_limits.requests_per_minute_max = 3);
    for remaining in ["2", "1", "0"] {
        let answer = server.get("/v1/models");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(remaining));
    }
    let answer = server.get("/v1/models");
    answer.refused(429, "rate_limit_exceeded");
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&seconds));
}

#[test]
fn a_client_that_does_not_say_what_it_speaks_is_cut_off() {
    let server = Server::start_with(|config| config.limits.header_read_ms = 50);
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET /healthz HTTP/1.1\r\nhost"] {
        Raw::connect(&server).send_and_be_cut_off(start.as_bytes());
    }
    assert_eq!(server.get("/v1/models").status, 200);
}

#[test]
fn a_full_server_says_so_at_once() {
    let server = Server::start_with(|config| config.limits.requests_max = 1);
    let misbehave = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
    assert_eq!(server.deploy("misbehave", misbehave, "").status, 201);
    let mut raw = Raw::connect(&server);
    raw.send(&server, "GET /f/local/misbehave/slow?pieces=100000&ms=20", "", "");
    raw.read_until("\r\n\r\n");
    let answer = server.get("/v1/models");
    answer.refused(503, "server_overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.operate("GET", "/admin/v1/models", &json!(null)).status, 200);
    drop(raw);
    crate::support::wait_for("room", || (server.get("/v1/models").status == 200).then_some(()));
}

#[test]
fn a_call_has_a_deadline() {
    let server = Server::start_with(|config| config.limits.request_deadline_ms = 1);
    let before = server.balance();
    let answer = server.chat(&json!({ "max_tokens": 200 }));
    answer.refused(504, "deadline_exceeded");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let receipt = server.wait_for_receipt(|_| true);
    assert_eq!(receipt["ending"], json!("deadline"));
    assert!(server.balance().0 <= before.0);
    server.ledger_is_sound();
}

/// A slow answer of the function, in progress until it is dropped.
fn slow(server: &Server) -> Raw {
    let mut raw = Raw::connect(server);
    raw.send(server, "GET /f/local/misbehave/slow?pieces=100000&ms=20", "", "");
    raw.read_until("\r\n\r\n");
    raw
}

#[test]
fn a_function_has_as_many_calls_in_progress_as_its_manifest_says() {
    let server = Server::start();
    let misbehave = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
    let limits = "[limits]\nconcurrency = 1";
    assert_eq!(server.deploy("misbehave", misbehave, limits).status, 201);
    assert_eq!(server.deploy("other", misbehave, limits).status, 201);
    let first = slow(&server);
    let answer = server.get("/f/local/misbehave/");
    let error = answer.refused(429, "rate_limit_exceeded");
    assert!(error["message"].as_str().unwrap().contains("limits.concurrency"), "{error}");
    assert_eq!(error["limit"], json!("concurrency"), "{error}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.get("/f/local/other/").status, 200, "another has its own");
    drop(first);
    crate::support::wait_for("a turn", || {
        (server.get("/f/local/misbehave/").status == 200).then_some(())
    });
    server.wait_for_receipt(|_| true);
    server.ledger_is_sound();
}

#[test]
fn an_organisation_has_so_many_requests_in_progress_with_all_its_keys() {
    let server = Server::start_with(|config| config.key_limits.org_concurrency_max = 1);
    let misbehave = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
    assert_eq!(server.deploy("misbehave", misbehave, "").status, 201);
    let other = server.other_org("other", "1");
    let first = slow(&server);
    let error = server.get("/v1/models").refused(429, "rate_limit_exceeded");
    assert!(error["message"].as_str().unwrap().contains("organisation"), "{error}");
    assert_eq!(server.send("GET", "/v1/models", &other, None).status, 200);
    drop(first);
    crate::support::wait_for("room", || (server.get("/v1/models").status == 200).then_some(()));
}

/// Every limit of the table: what the operator does not allow is refused by its name.
#[test]
fn limits_over_the_operators_are_refused_by_name() {
    let server = Server::start();
    let hello = include_bytes!("../../../examples/prebuilt/hello.wasm");
    for (limit, over) in [
        ("memory_mib", 257),
        ("wall_ms", 300_001),
        ("cpu_ms", 60_001),
        ("fuel_millions", 120_001),
        ("handles", 1_001),
        ("host_call_kib", 65_537),
        ("tensors_kib", 65_537),
        ("contexts", 129),
        ("response_kib", 1_048_577),
        ("log_kib", 1_025),
        ("outbound_requests", 129),
        ("outbound_kib", 262_145),
        ("concurrency", 10_001),
    ] {
        let error = server
            .deploy("hello", hello, &format!("metering = \"fuel\"\n[limits]\n{limit} = {over}"))
            .refused(400, "invalid_request");
        assert_eq!(error["param"], json!(format!("limits.{limit}")), "{error}");
        let within = format!("metering = \"fuel\"\n[limits]\n{limit} = {}", over - 1);
        assert_eq!(server.deploy("hello", hello, &within).status, 201, "{limit}");
    }
    assert_eq!(server.get("/f/local/hello/").status, 200);
}
