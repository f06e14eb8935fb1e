use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Raw, Server, nano, wait_for};

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
const STORYTELLER: &[u8] = include_bytes!("../../../examples/prebuilt/storyteller.wasm");

/// A process of this server's that does one part, by the folder that it was told of.
fn processes(server: &Server, part: &str) -> Vec<Pid> {
    let folder = server.folder.path().canonicalize().unwrap();
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        entry.unwrap().file_name().to_str().and_then(|name| name.parse::<i32>().ok())
    });
    let of_ours = numbers.filter(|number| {
        let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(part) && line.contains(folder.to_str().unwrap())
    });
    of_ours.map(|number| Pid::from_raw(number).unwrap()).collect()
}

/// Ends them as the system does when memory is short.
fn kill(server: &Server, part: &str, count: usize) {
    let found = processes(server, part);
    assert_eq!(found.len(), count, "{part}");
    for process in found {
        kill_process(process, Signal::KILL).unwrap();
    }
}

#[track_caller]
fn hello_answers(server: &Server) {
    let answer = server.get("/f/local/hello/");
    assert_eq!((answer.status, answer.text.as_str()), (200, "Hello, world!\n"), "{answer:?}");
}

fn nothing_is_held(server: &Server) {
    wait_for("no hold", || (server.balance().1 == 0).then_some(()));
    server.ledger_is_sound();
}

#[test]
fn a_worker_that_dies_takes_only_its_calls() {
    let server = Server::start();
    server.deploy("hello", HELLO, "").good();
    server.deploy("misbehave", MISBEHAVE, "").good();
    hello_answers(&server);
    let before = server.balance().0;

    // One has not answered, and one is in the middle of its answer.
    let mut waiting = Raw::connect(&server);
    waiting.send(&server, "GET /f/local/misbehave/slow?before_ms=60000", "", "");
    let mut reading = Raw::connect(&server);
    reading.send(&server, "GET /f/local/misbehave/slow?ms=50", "", "");
    reading.read_until("\n2\r\n");
    kill(&server, "run-worker", 2);
    let told = waiting.read_until("\r\n\r\n");
    assert!(told.starts_with("HTTP/1.1 500 "), "{told}");
    reading.send_and_be_cut_off(b"");

    // The next calls find a worker again, and the models were not concerned.
    hello_answers(&server);
    assert_eq!(server.chat(&json!({ "max_tokens": 3 })).status, 200);
    nothing_is_held(&server);
    let after = server.balance().0;
    assert!(before - after < 1_000_000, "{before} to {after}: a call that had no answer is free");
}

#[test]
fn models_that_die_come_back() {
    let server = Server::start();
    server.deploy("storyteller", STORYTELLER, "models = [\"tiny-storyteller\"]\n").good();
    assert_eq!(server.get("/f/local/storyteller/?about=a+fox").status, 200);
    let mut reading = Raw::connect(&server);
    let endless = json!({
        "model": "tiny-storyteller", "stream": true, "max_tokens": 200, "temperature": 1.9,
        "messages": [{ "role": "user", "content": "Tell a story." }],
    });
    reading.post(&server, "/v1/chat/completions", &endless);
    reading.read_until("data: ");
    kill(&server, "run-inference", 1);
    let rest = reading.read_until("\r\n0\r\n\r\n");
    assert!(rest.contains("\"error\""), "{rest}");

    assert_eq!(server.chat(&json!({ "max_tokens": 3 })).status, 200);
    assert_eq!(server.get("/f/local/storyteller/?about=a+fox").status, 200);
    let models = server.operate("GET", "/admin/v1/models", &json!(null)).good();
    assert_eq!(models["data"][0]["name"], "tiny-storyteller", "{models}");
    nothing_is_held(&server);
}

/// A process that ends again and again is no reason for the others to end.
#[test]
fn whatever_ends_is_started_again() {
    let server = Server::start();
    server.deploy("hello", HELLO, "").good();
    for _ in 0..3 {
        kill(&server, "run-worker", 2);
        hello_answers(&server);
        wait_for("both workers", || (processes(&server, "run-worker").len() == 2).then_some(()));
    }
    let running = ["run-worker", "run-inference"].map(|part| processes(&server, part));
    drop(server);
    for process in running.into_iter().flatten() {
        let path = format!("/proc/{}", process.as_raw_nonzero());
        wait_for("the process's end", || (!fs::exists(&path).unwrap()).then_some(()));
    }
}

#[test]
fn the_processes_have_given_everything_up() {
    let server = Server::start();
    for (part, count) in [("run-worker", 2), ("run-inference", 1)] {
        let found = processes(&server, part);
        assert_eq!(found.len(), count, "{part}");
        for process in found {
            let of = |what: &str| format!("/proc/{}/{what}", process.as_raw_nonzero());
            let status = fs::read_to_string(of("status")).unwrap();
            for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
                assert!(status.contains(line), "{part}: {status}");
            }
            assert_eq!(fs::read(of("environ")).unwrap(), b"", "{part} has no environment");
            let files =
                fs::read_dir(of("fd")).unwrap().map(|file| fs::read_link(file.unwrap().path()));
            for file in files.filter_map(Result::ok) {
                let file = file.display().to_string();
                assert!(!file.contains(".db") && !file.contains(".key"), "{part} has {file} open");
            }
        }
    }
}

#[test]
fn models_outside_the_folders_are_refused_by_name() {
    let server = Server::start();
    let model =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tiny-lm/model/tiny-storyteller.gguf");
    let outside = json!({ "name": "outside", "path": model });
    let error =
        server.operate("POST", "/admin/v1/models", &outside).refused(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("isolation.model_folders"), "{error}");

    let inside = server.folder.path().join("data/models/inside.gguf");
    fs::copy(model, &inside).unwrap();
    let inside = json!({ "name": "inside", "path": inside.to_str().unwrap() });
    server.operate("POST", "/admin/v1/models", &inside).good();
    assert_eq!(server.chat(&json!({ "model": "inside", "max_tokens": 3 })).status, 200);
    assert!(nano(&server.newest_receipt().unwrap()["amount"]) > 0);
}
