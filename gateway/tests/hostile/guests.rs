use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::bomb::bomb;
use crate::guest_text::{component, header};
use crate::support::{Raw, Server};

/// The name in a manifest of one of the sandbox's limits.
fn named(kind: &str) -> &'static str {
    match kind {
        "Cpu" => "cpu_ms",
        "Wall" => "wall_ms",
        "Memory" => "memory_mib",
        "Tables" => "table_elements",
        "Handles" => "handles",
        "HostCall" => "host_call_kib",
        other => panic!("{other} has no name here"),
    }
}

/// One of the sandbox's limits, `FIELD=NUMBER`, as a manifest sets it.
fn setting(limit: &str) -> String {
    let (field, number) = limit.split_once('=').unwrap();
    let number: u64 = number.parse().unwrap();
    let (name, number) = match field {
        "cpu_ms_max" => ("cpu_ms", number),
        "wall_ms_max" => ("wall_ms", number),
        "memory_bytes_max" => ("memory_mib", number >> 20),
        "host_call_bytes_max" => ("host_call_kib", number >> 10),
        other => panic!("{other} has no name here"),
    };
    format!("{name} = {number}\n")
}

/// The sandbox's own collection, each as a function of its own.
pub(crate) fn committed(server: &Server) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/sandbox/guests");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let limits = header(&text, "limits").unwrap_or_default();
        let limits: String = limits.split_whitespace().map(setting).collect();
        let deployed = server.deploy(&name, &component(&text), &format!("[limits]\n{limits}"));
        let (status, code) = match header(&text, "ends").unwrap() {
            "trap" | "no-response" => (500, "guest_trap"),
            "deadline" => (504, "deadline_exceeded"),
            "refused" => {
                deployed.refused(400, "invalid_request");
                continue;
            }
            other => panic!("{name}: {other}"),
        };
        assert_eq!(deployed.status, 201, "{name}: {deployed:?}");
        let error = server.get(&format!("/f/local/{name}/")).refused(status, code);
        let limit = header(&text, "limit").map(named);
        assert_eq!(error["limit"].as_str(), limit, "{name}: {error}");
        // A function that is kept ready has a file open.
        let deleted = server.send("DELETE", &format!("/v1/functions/{name}"), &server.key, None);
        assert_eq!(deleted.status, 200, "{name}: {deleted:?}");
    }
}

/// What the example does when it is asked to.
pub(crate) fn misdeeds(server: &Server) {
    for _ in 0..3 {
        for (path, status, code, limit) in [
            ("/hoard", 500, "guest_trap", json!("memory_mib")),
            ("/spin", 504, "deadline_exceeded", json!("cpu_ms")),
            ("/trap", 500, "guest_trap", Value::Null),
            ("/trap?how=index", 500, "guest_trap", Value::Null),
            ("/trap?how=recurse", 500, "guest_trap", Value::Null),
            ("/no-response", 500, "guest_trap", Value::Null),
        ] {
            let answer = server.get(&format!("/f/local/small{path}"));
            let error = answer.refused(status, code);
            assert_eq!(error["limit"], limit, "{path}: {error}");
        }
        let opened = server.get("/f/local/misbehave/hoard-contexts?max=100").good();
        assert_eq!(opened["contexts"], json!(100), "{opened}");
        assert_eq!(server.get("/f/local/misbehave/flood-logs?lines=50000").status, 200);
        let forged = server.get("/f/local/misbehave/forge-headers");
        assert!(forged.headers.get("set-cookie").is_none(), "{forged:?}");
        assert_eq!(forged.headers.get_all("x-request-id").iter().count(), 1, "{forged:?}");
    }
}

/// Answers that never begin, never end, or break: their connection ends, and never as if all was well.
pub(crate) fn broken_answers(server: &Server) {
    for path in [
        "/misbehave/half",
        "/misbehave/lie-length?kind=short",
        "/misbehave/lie-length?kind=long",
        "/short/slow?pieces=100000&ms=10",
        "/short/slow?before_ms=100000",
        "/short/big-response?mib=100000",
    ] {
        let mut raw = Raw::connect(server);
        raw.send(server, &format!("GET /f/local{path}"), "connection: close\r\n", "");
        let answer = raw.read_to_end();
        assert!(!is_good(&answer), "{path}: {} bytes", answer.len());
    }
}

/// Whether a client takes it for an answer that went well.
fn is_good(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let whole = match length {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with("\r\n0\r\n\r\n"),
    };
    head.starts_with("HTTP/1.1 200") && whole
}

/// Everything is granted, and still nothing but the public internet is reached.
pub(crate) fn reach_inside(server: &Server) {
    let metrics = format!("http://{}/metrics", server.admin);
    for url in [
        metrics.as_str(),
        "http://localhost:1",
        "http://127.1.2.3",
        "http://2130706433",
        "http://0.0.0.0",
        "http://[::1]",
        "http://[::ffff:127.0.0.1]",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1",
        "http://metadata.google.internal",
    ] {
        let told = server.get(&format!("/f/local/reach/fetch?url={url}")).good();
        let error = told[0]["error"].as_str().unwrap_or_default();
        let refused = ["DestinationIpProhibited", "DestinationNotFound"];
        assert!(refused.iter().any(|word| error.contains(word)), "{url}: {told}");
    }
}

/// Components that are too large, that take too much to compile, or that are none.
pub(crate) fn uploads(server: &Server) {
    server.deploy("giant", &vec![0; 3 << 20], "").refused(413, "request_too_large");
    server.deploy("bomb", &bomb(), "").refused(400, "invalid_request");
    for bytes in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\xff\xff\xff\xff\xff", &[0xff; 1 << 20]] {
        server.deploy("none", bytes, "").refused(400, "invalid_request");
    }
    for name in ["giant", "bomb", "none"] {
        server.get(&format!("/f/local/{name}/")).refused(404, "function_not_found");
    }
}
