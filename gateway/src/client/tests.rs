//! The client against texts, and against a server of a few lines on a free port.

use std::io::Write;
use std::net::TcpListener;

use serde_json::json;

use super::*;

/// Answers one request with these bytes; gives back the address and what was received.
fn serve_once(answer: &str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        // Every request of these tests ends in a closing brace or an empty line.
        while !received.ends_with(b"}") && !received.ends_with(b"\r\n\r\n") {
            let read = socket.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..read]);
        }
        socket.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(received).unwrap()
    });
    (base, server)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

#[test]
fn a_good_answer_is_read_and_the_key_is_sent() {
    let (base, server) = serve_once(&answer("200 OK", "", "{\"ok\":true}"));
    let client = Client::new(&base, Some(Secret::new(" eb_key\n"))).unwrap();
    assert_eq!(client.post("/v1/x", &json!({"a": 1})).unwrap(), json!({"ok": true}));
    let request = server.join().unwrap().to_lowercase();
    assert!(request.starts_with("post /v1/x http/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: bearer eb_key\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
}

#[test]
fn a_refusal_keeps_all_it_says() {
    let body = json!({"error": {"message": "no credits", "type": "billing", "param": null,
        "code": "insufficient_credits"}});
    let headers = "x-request-id: r1\r\nretry-after: 7\r\n";
    let (base, server) = serve_once(&answer("402 Payment Required", headers, &body.to_string()));
    let error = Client::new(&base, None).unwrap().get("/v1/x").unwrap_err();
    server.join().unwrap();
    let ClientError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.status, 402);
    assert_eq!(refusal.code.as_deref(), Some("insufficient_credits"));
    assert_eq!(refusal.request_id.as_deref(), Some("r1"));
    assert_eq!(refusal.retry_after_s, Some(7));
    assert_eq!(refusal.to_string(), "no credits (402 insufficient_credits)");
}

#[test]
fn errors_of_other_programs_are_shown_too() {
    for (body, expected) in [
        ("", "the server gave no reason (502)"),
        ("\n  Bad gateway\nmore", "Bad gateway (502)"),
        ("{\"error\":\"text\"}", "{\"error\":\"text\"} (502)"),
        ("{\"error\":{\"code\":\"x\"}}", "{\"error\":{\"code\":\"x\"}} (502)"),
    ] {
        assert_eq!(Refusal::read(502, body).to_string(), expected);
    }
}

#[test]
fn addresses_are_checked() {
    for (url, good) in [
        ("http://127.0.0.1:8080", true),
        ("http://127.0.0.1:8080/", true),
        ("https://example.org", true),
        ("127.0.0.1:8080", false),
        ("ftp://example.org", false),
        ("http://", false),
        ("", false),
    ] {
        assert_eq!(Client::new(url, None).is_ok(), good, "{url}");
    }
}

#[test]
fn nobody_at_the_address_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&base, None).unwrap().get("/v1/x").unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[test]
fn a_stream_gives_its_documents_and_its_errors() {
    let end = "ended without [DONE]";
    for (body, documents, failure) in [
        ("data: {\"a\":1}\n\n: alive\n\ndata:{\"b\":2}\r\n\r\ndata: [DONE]\n\n", 2, None),
        ("data: [DONE]\n\n", 0, None),
        ("data: {\"a\":1}\n\n", 1, Some(end)),
        ("", 0, Some(end)),
        ("data: {\"a\":1}\n\ndata: {\"b\"", 1, Some("cut or too long")),
        ("data: {\"a\"\n\n", 0, Some("not JSON")),
        ("data: {\"error\":{\"message\":\"late\"}}\n\n", 0, Some("late (200)")),
    ] {
        let events = Events::new("u".to_owned(), body.as_bytes());
        let (good, bad): (Vec<_>, Vec<_>) = events.partition(Result::is_ok);
        assert_eq!(good.len(), documents, "{body}");
        let bad: Vec<String> = bad.into_iter().map(|e| e.unwrap_err().to_string()).collect();
        match failure {
            None => assert!(bad.is_empty(), "{body}: {bad:?}"),
            Some(part) => assert!(bad.len() == 1 && bad[0].contains(part), "{body}: {bad:?}"),
        }
    }
}
