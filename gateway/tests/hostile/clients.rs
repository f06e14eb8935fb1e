use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Raw, Server, chat_body, wait_for};

/// Clients of each kind.
const TIMES: usize = 6;
const CHAT: &str = "POST /v1/chat/completions";

/// A connection on which this was sent, and nothing read yet.
fn sent(server: &Server, head: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.public).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let key = &server.key;
    let text = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// A call that goes on until the connection is dropped.
pub(crate) fn begin_slow(server: &Server) -> Raw {
    let mut raw = Raw::connect(server);
    raw.send(server, "GET /f/local/misbehave/slow?pieces=100000&ms=20", "", "");
    assert!(raw.read_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    raw
}

/// The guest ends with its wall clock, and the answer that nobody takes is cut off.
pub(crate) fn never_read(server: &Server) {
    let request = "GET /f/local/unread/big-response?mib=1000";
    let unread: Vec<_> = (0..TIMES).map(|_| sent(server, request, "", "")).collect();
    wait_for("the end of their calls", || {
        let logs = server.get("/v1/functions/unread/logs?limit=1000").good();
        let stopped = |line: &&Value| line["line"].as_str().unwrap().contains("[limits.wall_ms]");
        (logs["data"].as_array()?.iter().filter(stopped).count() == TIMES).then_some(())
    });
    for mut stream in unread {
        let mut read = Vec::new();
        // Reset or ended: either tells that it was not whole.
        stream.read_to_end(&mut read).ok();
        assert!(!read.ends_with(b"\r\n0\r\n\r\n"), "{} bytes", read.len());
    }
}

/// Who takes little at a time gets everything, as long as the guest may live.
pub(crate) fn read_slowly(server: &Server) {
    let request = "GET /f/local/misbehave/big-response?mib=4";
    let mut streams: Vec<_> =
        (0..TIMES).map(|_| (sent(server, request, "connection: close\r\n", ""), 0)).collect();
    let mut piece = [0; 1 << 10];
    while !streams.is_empty() {
        streams.retain_mut(|(stream, bytes)| {
            let count = stream.read(&mut piece).unwrap();
            *bytes += count;
            assert!(count > 0 || *bytes > 4 << 20, "cut off after {bytes} bytes");
            count > 0
        });
    }
}

/// Before the body, in the middle of it, and while the function or the model has said nothing yet.
pub(crate) fn leave_before_the_answer(server: &Server) {
    let chat = chat_body(&json!({ "max_tokens": 200 })).to_string();
    let whole = format!("content-length: {}\r\n", chat.len());
    for _ in 0..TIMES {
        for (head, headers, body) in [
            ("POST /f/local/misbehave/echo", "content-length: 1000\r\n", ""),
            ("POST /f/local/misbehave/echo", "content-length: 1000\r\n", "some"),
            ("POST /f/local/misbehave/echo", "transfer-encoding: chunked\r\n", "4\r\nsome\r\n"),
            ("GET /f/local/misbehave/slow?before_ms=100000", "", ""),
            ("GET /f/local/misbehave/spin", "", ""),
            ("GET /f/local/misbehave/hoard-contexts", "", ""),
            ("GET /f/local/misbehave/overspend", "", ""),
            (CHAT, "content-length: 1000\r\n", ""),
            (CHAT, "content-length: 1000\r\n", "{\"model\":"),
            (CHAT, &whole, &chat),
        ] {
            drop(sent(server, head, headers, body));
        }
    }
}

/// In the middle of a function's answer, and while a model generates for it or for a chat.
pub(crate) fn leave_during_the_answer(server: &Server) {
    for _ in 0..TIMES {
        drop(begin_slow(server));
        let mut story = Raw::connect(server);
        story.send(server, "GET /f/local/storyteller/?about=a+fox", "", "");
        story.read_until("\r\n\r\n");
        drop(story);
        let mut chat = Raw::connect(server);
        let body = chat_body(&json!({ "stream": true, "max_tokens": 200 }));
        chat.post(server, "/v1/chat/completions", &body);
        chat.read_until("data: ");
    }
}

/// A body that does not go on ends with the time of the call, or of the request.
pub(crate) fn stall(server: &Server) {
    let headers = "content-length: 1000\r\n";
    let mut stalled: Vec<_> = (0..TIMES)
        .map(|_| {
            let mut raw = Raw::connect(server);
            raw.send(server, "POST /f/local/short/echo", headers, "some");
            raw
        })
        .collect();
    let mut chat = Raw::connect(server);
    chat.send(server, CHAT, headers, "{");
    for raw in &mut stalled {
        let answer = raw.read_until("\"limit\":\"wall_ms\"");
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    }
    let answer = chat.read_until("deadline_exceeded");
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

/// Sends pieces until the other side has had enough.
pub(crate) fn send_without_end(server: &Server) {
    let piece = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
    for head in ["POST /f/local/misbehave/echo", CHAT] {
        let mut stream = sent(server, head, "transfer-encoding: chunked\r\n", "");
        while stream.write_all(piece.as_bytes()).is_ok() {}
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        let answer = String::from_utf8_lossy(&answer);
        // A reset can take the answer with it.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
    }
}
