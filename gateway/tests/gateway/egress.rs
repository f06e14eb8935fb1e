use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use emberbox::config::Config;
use serde_json::{Value, json};

use crate::support::{Server, send, wait_for};

const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");

/// Somebody to send requests to: answers with the head that it got, or as its path says.
fn receiver() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| answer(stream.unwrap()));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = match path.as_str() {
        "/large" => "x".repeat(1 << 20),
        "/hang" => {
            // Until the other side goes.
            std::io::copy(&mut reader, &mut std::io::sink()).ok();
            return;
        }
        "/swallow" => {
            let mut byte = [0; 4096];
            while !byte.windows(5).any(|end| end == b"0\r\n\r\n") {
                if reader.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
            }
            "swallowed".to_owned()
        }
        _ => head.clone(),
    };
    let status = if path == "/elsewhere" { "302 Found\r\nlocation: /large" } else { "200 OK" };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok();
}

fn open(hosts: &str, private: &str) -> impl FnOnce(&mut Config) + use<> {
    let (hosts, private) = (hosts.parse().unwrap(), private.parse().unwrap());
    move |config: &mut Config| {
        (config.egress.hosts, config.egress.private_hosts) = (hosts, private);
    }
}

fn deploy(server: &Server, hosts: &[&str], rest: &str) {
    let rest = format!("outbound_hosts = {hosts:?}\n{rest}");
    server.deploy("misbehave", MISBEHAVE, &rest).good();
}

/// How a function's requests went.
#[track_caller]
fn fetch(server: &Server, url: &str, rest: &str) -> Vec<Value> {
    let answer = server.get(&format!("/f/local/misbehave/fetch?url={url}{rest}"));
    answer.good().as_array().unwrap().clone()
}

#[track_caller]
fn refused(server: &Server, url: &str, error: &str) {
    let outcomes = fetch(server, url, "");
    let found = outcomes[0]["error"].as_str().unwrap_or_default();
    assert!(found.contains(error), "{url}: {outcomes:?}");
}

fn log(server: &Server) -> String {
    server.get("/v1/functions/misbehave/logs?limit=1000").text
}

#[test]
fn a_granted_host_is_reached_and_no_other() {
    let there = receiver();
    let place = format!("http://{there}");
    let localhost = format!("http://localhost:{}", there.port());
    let all = format!("{place}, {localhost}, http://*.example.com");
    let server = Server::start_with(open(&all, &place));
    deploy(&server, &[&place, &localhost, "http://*.example.com"], "");

    let outcomes = fetch(&server, &format!("{place}/a?b=c"), "");
    assert_eq!(outcomes[0]["status"], json!(200), "{outcomes:?}");
    let head = outcomes[0]["text"].as_str().unwrap();
    assert!(head.starts_with("GET /a HTTP/1.1\r\n") || head.starts_with("GET /a?b=c"), "{head}");
    assert!(head.contains(&format!("host: {there}")), "{head}");
    assert!(!head.contains("x-emberbox") && !head.contains("authorization"), "{head}");

    // A redirection is an answer, not a way.
    assert_eq!(fetch(&server, &format!("{place}/elsewhere"), "")[0]["status"], json!(302));
    // The same machine by a name that the operator did not open inwards.
    refused(&server, &localhost, "DestinationIpProhibited");
    refused(&server, "http://127.0.0.1:1", "HttpRequestDenied");
    refused(&server, &format!("https://{there}"), "HttpRequestDenied");
    refused(&server, "http://169.254.169.254/latest/meta-data", "HttpRequestDenied");
    refused(&server, "http://nobody.example.com", "DestinationNotFound");
    refused(&server, "gopher://127.0.0.1:1", "HttpProtocolError");
    let log = log(&server);
    assert!(log.contains("outbound request: a request to `http://127.0.0.1:1` is not"), "{log}");
    assert!(log.contains("not on the public internet"), "{log}");
    server.ledger_is_sound();
}

#[test]
fn requests_and_their_bytes_are_counted() {
    let there = receiver();
    let place = format!("http://{there}");
    let server = Server::start_with(open(&place, &place));
    deploy(&server, &[&place], "[limits]\noutbound_requests = 3\noutbound_kib = 1536");
    let outcomes = fetch(&server, &place, "&times=5");
    let good = outcomes.iter().filter(|outcome| outcome["status"] == json!(200)).count();
    assert_eq!(good, 3, "{outcomes:?}");
    assert_eq!(outcomes[4]["error"], json!("ErrorCode::ConnectionLimitReached"), "{outcomes:?}");
    told(&server, "[limits.outbound_requests]");

    let outcomes = fetch(&server, &format!("{place}/large"), "&times=2");
    assert_eq!(outcomes[0]["bytes"], json!(1 << 20), "{outcomes:?}");
    assert!(outcomes[1]["error"].is_string(), "{outcomes:?}");
    // What is sent counts as well.
    let outcomes = fetch(&server, &format!("{place}/swallow"), "&body_kib=1024");
    assert_eq!(outcomes[0]["text"], json!("swallowed"), "{outcomes:?}");
    let outcomes = fetch(&server, &format!("{place}/swallow"), "&body_kib=2048");
    assert!(outcomes[0]["error"].is_string(), "{outcomes:?}");
    told(&server, "[limits.outbound_kib]");
}

/// The author's log says so, as soon as the call is over.
fn told(server: &Server, text: &str) {
    wait_for(text, || log(server).contains(text).then_some(()));
}

#[test]
fn a_host_that_does_not_answer_ends_with_the_call() {
    let there = receiver();
    let place = format!("http://{there}");
    let server = Server::start_with(open(&place, &place));
    deploy(&server, &[&place], "[limits]\nwall_ms = 300");
    let answer = server.get(&format!("/f/local/misbehave/fetch?url={place}/hang"));
    answer.refused(504, "deadline_exceeded");
    server.wait_for_receipt(|receipt| receipt["ending"] == json!("deadline"));
    server.ledger_is_sound();
}

#[test]
fn the_operator_and_the_organisation_decide() {
    let server = Server::start_with(open("*.example.com, api.example.org", ""));
    let deploy =
        |host: &str| server.deploy("misbehave", MISBEHAVE, &format!("outbound_hosts = [{host:?}]"));
    let refused = |host: &str, why: &str| {
        let error = deploy(host).refused(400, "invalid_request");
        assert_eq!(error["param"], json!("function.outbound_hosts"), "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    };
    refused("api.example.net", "https://api.example.net is not granted: this server");
    refused("*", "* is not granted: this server");
    deploy("a.example.com").good();
    let egress = || {
        let body = json!({ "function": "local/misbehave" }).to_string();
        let path = ("POST", "/v1/quote");
        let quote = send(server.public, path, &server.key, &[], Some(body.as_bytes()));
        quote.good()["egress"].clone()
    };
    assert_eq!(egress(), json!(["https://a.example.com"]));

    let policy = |body: Value| {
        let body = body.to_string();
        send(server.public, ("PUT", "/v1/policy"), &server.key, &[], Some(body.as_bytes()))
    };
    assert_eq!(server.get("/v1/policy").good()["outbound_hosts"], Value::Null);
    policy(json!({ "outbound_hosts": ["api.example.org"] })).good();
    // What is live loses it with the next call.
    assert_eq!(egress(), json!([]));
    refused("a.example.com", "the organisation's policy");
    deploy("api.example.org").good();
    policy(json!({ "outbound_hosts": "x" })).refused(400, "invalid_request");
    policy(json!({ "outbound_hosts": ["a b"] })).refused(400, "invalid_request");
    policy(json!({ "outbound_hosts": null })).good();
    deploy("a.example.com").good();

    let made = server.post("/v1/keys", &json!({ "name": "dev", "role": "developer" })).good();
    let developer = made["key"].as_str().unwrap();
    let body = json!({ "outbound_hosts": [] }).to_string();
    send(server.public, ("PUT", "/v1/policy"), developer, &[], Some(body.as_bytes()))
        .refused(403, "permission_denied");
}

#[test]
fn a_caller_can_refuse_a_function_that_talks() {
    let there = receiver();
    let place = format!("http://{there}");
    let server = Server::start_with(open(&place, &place));
    deploy(&server, &[&place], "");
    let get = |path: &str, wish: &str| {
        let headers = [("x-emberbox-egress", wish)];
        send(server.public, ("GET", path), &server.key, &headers, None)
    };
    let (before, _) = server.balance();
    let error = get("/f/local/misbehave/", "none").refused(403, "permission_denied");
    assert!(error["message"].as_str().unwrap().contains(&place), "{error}");
    get("/f/local/misbehave/", "some").refused(400, "invalid_request");
    assert_eq!(server.balance(), (before, 0));
    server.deploy("quiet", MISBEHAVE, "").good();
    assert_eq!(get("/f/local/quiet/", "none").status, 200);
    let outcomes = server.get(&format!("/f/local/quiet/fetch?url={place}")).good();
    assert_eq!(outcomes[0]["error"], json!("ErrorCode::HttpRequestDenied"), "{outcomes}");
}
