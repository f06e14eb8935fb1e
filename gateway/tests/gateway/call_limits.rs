use serde_json::{Value, json};

use crate::support::{Raw, Server, wait_for};

const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");

fn server(limit: &str) -> Server {
    let server = Server::start();
    let metering = if limit.starts_with("fuel") { "fuel" } else { "cpu" };
    let rest =
        format!("models = [\"tiny-storyteller\"]\nmetering = \"{metering}\"\n[limits]\n{limit}");
    assert_eq!(server.deploy("misbehave", MISBEHAVE, &rest).status, 201, "{limit}");
    server
}

/// The author's log has a line of the platform with this limit's name.
fn author_reads(server: &Server, limit: &str) {
    let tag = format!("[limits.{limit}]");
    wait_for(&tag, || {
        let logs = server.get("/v1/functions/misbehave/logs?limit=1000").good();
        let lines = logs["data"].as_array()?.clone();
        let told = |line: &Value| {
            line["stream"] == json!("platform") && line["line"].as_str().unwrap().ends_with(&tag)
        };
        lines.iter().any(told).then_some(())
    });
}

/// A call that fails at a limit says which one it was, by its name in the manifest.
#[test]
fn a_failed_call_names_its_limit() {
    for (setting, path, status, code) in [
        ("memory_mib = 16", "/hoard", 500, "guest_trap"),
        ("cpu_ms = 100", "/spin", 504, "deadline_exceeded"),
        ("fuel_millions = 50", "/spin", 504, "deadline_exceeded"),
        ("wall_ms = 100", "/slow?before_ms=100000", 504, "deadline_exceeded"),
        ("core_instances = 1", "/", 500, "guest_trap"),
        ("handles = 20", "/hoard-contexts", 500, "guest_trap"),
        ("host_call_kib = 48", "/lie-shape", 500, "guest_trap"),
    ] {
        let limit = setting.split(' ').next().unwrap();
        let server = server(setting);
        let answer = server.get(&format!("/f/local/misbehave{path}"));
        let error = answer.refused(status, code);
        assert_eq!(error["limit"], json!(limit), "{error}");
        author_reads(&server, limit);
        server.wait_for_receipt(|_| true);
        server.ledger_is_sound();
    }
}

#[test]
fn a_failure_without_a_limit_names_none() {
    let server = server("cpu_ms = 5000");
    let error = server.get("/f/local/misbehave/trap").refused(500, "guest_trap");
    assert_eq!(error.get("limit"), None, "{error}");
}

/// A guest that is refused something and goes on has an answer, and its author is told.
#[test]
fn the_author_is_told_what_a_guest_was_refused() {
    for (setting, path) in [
        ("memory_mib = 16", "/hoard?gentle=1"),
        ("tensors_kib = 1", "/lie-shape"),
        ("contexts = 2", "/hoard-contexts"),
    ] {
        let server = server(setting);
        server.get(&format!("/f/local/misbehave{path}")).good();
        author_reads(&server, setting.split(' ').next().unwrap());
    }
}

/// How much of it has left when it is too long depends on who is faster.
#[test]
fn an_answer_that_is_too_long_never_looks_whole() {
    let server = server("response_kib = 64");
    let mut raw = Raw::connect(&server);
    raw.send(&server, "GET /f/local/misbehave/big-response?mib=1", "connection: close\r\n", "");
    let read = raw.read_to_end();
    let whole = read.ends_with("\r\n0\r\n\r\n") && read.starts_with("HTTP/1.1 200");
    assert!(!whole, "{} bytes", read.len());
    if !read.starts_with("HTTP/1.1 200") {
        assert!(read.contains("\"limit\":\"response_kib\""), "{read}");
    }
    author_reads(&server, "response_kib");
}
