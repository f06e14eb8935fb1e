use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bomb::bomb;
use crate::support::Server;

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");

/// The only file below `folder` that ends so.
fn file(folder: &Path, end: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn hello_answers(server: &Server) {
    let answer = server.get("/f/local/hello/");
    assert_eq!((answer.status, answer.text.as_str()), (200, "Hello, world!\n"));
}

fn restarted(server: Server) -> Server {
    let key = server.key.clone();
    let mut server = Server::start_in(server.stop(), |_| {});
    server.key = key;
    server
}

#[test]
fn compiled_code_is_kept_and_believed_only_when_it_is_ours() {
    let server = Server::start();
    server.deploy("hello", HELLO, "").good();
    let data = server.folder.path().join("data");
    let (component, code) = (file(&data, ".wasm"), file(&data, ".cwasm"));

    // With what it was compiled from out of the way, only compiled code can answer.
    replace(&component, b"not what it was");
    let server = restarted(server);
    hello_answers(&server);

    let mut altered = fs::read(&code).unwrap();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    replace(&code, &altered);
    let server = restarted(server);
    server.get("/f/local/hello/").refused(500, "internal_error");
    replace(&component, HELLO);
    hello_answers(&server);
    assert_ne!(fs::read(&code).unwrap(), altered, "it was compiled again");

    server.send("DELETE", "/v1/functions/hello", &server.key, None);
    assert!(!code.exists() && !component.exists());
    server.ledger_is_sound();
}

#[test]
fn a_compilation_that_takes_too_much_is_ended() {
    let server = Server::start_with(|config| config.compiler.memory_mib_max = 256);
    server.deploy("hello", HELLO, "").good();
    let error = server.deploy("bomb", &bomb(), "").refused(400, "invalid_request");
    assert_eq!(error["param"], json!("component"));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("256 MiB of memory or 60 s of CPU time"), "{message}");
    server.get("/v1/functions/bomb").refused(404, "function_not_found");
    hello_answers(&server);
}
