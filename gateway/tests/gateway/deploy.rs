use std::io::Write;
use std::net::{Shutdown, TcpStream};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Server, wait_for};

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
const STORYTELLER: &[u8] = include_bytes!("../../../examples/prebuilt/storyteller.wasm");

fn artifacts(server: &Server) -> Vec<String> {
    let folder = server.folder.path().join("data/artifacts");
    let names = std::fs::read_dir(folder).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A component that compiles, and does not fit: the host's `poll` has no such function.
fn misfit() -> Vec<u8> {
    let text = r#"(component
        (import "wasi:io/poll@0.2.0" (instance (export "fly" (func))))
        (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type (sub resource)))
            (export "response-outparam" (type (sub resource)))))
        (alias export $types "incoming-request" (type $request))
        (alias export $types "response-outparam" (type $outparam))
        (core module $m (func (export "handle") (param i32 i32)))
        (core instance $i (instantiate $m))
        (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
            (canon lift (core func $i "handle")))
        (instance $handler (export "handle" (func $handle)))
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;
    wat::parse_str(text).unwrap()
}

fn compiled(server: &Server) -> usize {
    let kinds = std::fs::read_dir(server.folder.path().join("data/compiled")).unwrap();
    kinds.map(|kind| std::fs::read_dir(kind.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let server = Server::start();
    let misfit = misfit();
    let wat_module = b"\0asm\x01\0\0\0";
    let half = &HELLO[..HELLO.len() / 2];
    for (name, wasm) in [
        ("text", &b"hello"[..]),
        ("empty", b""),
        ("module", wat_module),
        ("half", half),
        ("misfit", &misfit),
    ] {
        let error = server.deploy(name, wasm, "").refused(400, "invalid_request");
        assert_eq!(error["param"], json!("component"), "{name}: {error}");
        server.get(&format!("/v1/functions/{name}")).refused(404, "function_not_found");
    }
    let manifests = [
        ("not TOML", "nonsense", "manifest"),
        ("another name", "[function]\nname = \"b\"\nmax_cost_per_call = \"1\"", "function.name"),
        (
            "too much memory",
            "[function]\nname = \"a\"\nmax_cost_per_call = \"1\"\n[limits]\nmemory_mib = 1000",
            "limits.memory_mib",
        ),
    ];
    for (what, manifest, param) in manifests {
        let error = server.deploy_manifest("a", HELLO, manifest).refused(400, "invalid_request");
        assert_eq!(error["param"], json!(param), "{what}: {error}");
    }
    let answer = server.send("POST", "/v1/functions/a/versions", &server.key, Some(HELLO));
    assert_eq!(answer.refused(400, "invalid_request")["param"], json!("x-emberbox-manifest"));
    assert_eq!(artifacts(&server), Vec::<String>::new());
    assert_eq!(compiled(&server), 0);
    assert_eq!(server.get("/v1/functions").good()["data"], json!([]));
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing_behind() {
    let server = Server::start();
    let manifest = BASE64_STANDARD.encode("[function]\nname = \"a\"\nmax_cost_per_call = \"0.1\"");
    let mut stream = TcpStream::connect(server.public).unwrap();
    write!(
        stream,
        "POST /v1/functions/a/versions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         x-emberbox-manifest: {manifest}\r\ncontent-length: {}\r\n\r\n",
        server.key,
        HELLO.len()
    )
    .unwrap();
    stream.write_all(&HELLO[..1000]).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    // The server has dealt with it when no request but the one that asks is running.
    wait_for("the end of the upload", || {
        let text = crate::support::send(server.admin, ("GET", "/metrics"), "", &[], None).text;
        text.contains("emberbox_requests_running 0\n").then_some(())
    });
    assert_eq!(artifacts(&server), Vec::<String>::new());
    server.get("/v1/functions/a").refused(404, "function_not_found");
}

#[test]
fn versions_are_numbered_and_live_can_go_back() {
    let server = Server::start();
    let first = server.deploy("f", HELLO, "");
    assert_eq!(first.status, 201);
    let first = first.json();
    assert_eq!((&first["version"], &first["live"]), (&json!(1), &json!(true)));
    assert_eq!(first["url"], json!("/f/local/f/"));
    assert_eq!(server.get("/f/local/f/").text, "Hello, world!\n");

    let second = server.deploy("f", STORYTELLER, "models = [\"tiny-storyteller\", \"no-model\"]");
    assert_eq!(second.good()["version"], json!(2));
    assert_eq!(second.json()["warnings"].as_array().unwrap().len(), 1);
    assert_ne!(server.get("/f/local/f/").text, "Hello, world!\n");

    let live = |body: &Value| {
        let body = body.to_string();
        let path = "/v1/functions/f/aliases/live";
        server.send("PUT", path, &server.key, Some(body.as_bytes()))
    };
    assert_eq!(live(&json!({ "version": 1 })).good()["live"], json!(1));
    assert_eq!(server.get("/f/local/f/").text, "Hello, world!\n");
    live(&json!({ "version": 3 })).refused(404, "not_found");
    live(&json!({ "version": 0 })).refused(400, "invalid_request");
    let versions = server.get("/v1/functions/f/versions").good();
    let lives: Vec<(i64, bool)> = versions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["version"].as_i64().unwrap(), v["live"].as_bool().unwrap()))
        .collect();
    assert_eq!(lives, [(2, false), (1, true)]);

    assert_eq!(artifacts(&server).len(), 2);
    server.send("DELETE", "/v1/functions/f", &server.key, None).good();
    assert_eq!(artifacts(&server), Vec::<String>::new());
    server.get("/f/local/f/").refused(404, "function_not_found");
}
