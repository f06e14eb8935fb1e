use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::local_hub::LocalHub;
use crate::support::Server;

const TOKEN: &str = "hf_s3cret";
const MODEL: &[u8] = include_bytes!("../../../examples/tiny-lm/model/tiny-storyteller.gguf");

/// Runs `emberbox models pull` as an operator on the server's machine would.
fn pull(server: &Server, hub: &LocalHub, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberbox"));
    command.env_clear().env("HOME", server.folder.path());
    command.env("HF_ENDPOINT", &hub.url).env("HF_TOKEN", TOKEN);
    command.args(["models", "pull"]).args(arguments);
    command.args(["--admin-url", &format!("http://{}", server.admin), "--data"]);
    command.arg(server.folder.path().join("data")).output().unwrap()
}

/// The document on standard output, of a command that ended with this code.
#[track_caller]
fn said(output: &Output, code: i32) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(!format!("{output:?}").contains(TOKEN), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_pulled_model_answers() {
    let server = Server::start();
    let hub = LocalHub::start(&[("README.md", b"x"), ("tiny-Q8_0.gguf", MODEL)]);
    hub.state().gate = Some(TOKEN.to_owned());
    hub.state().faults.push_back("cut 100000".to_owned());
    let arguments = ["hf:acme/tiny:Q8_0", "--name", "mini", "--json"];
    let pulled = said(&pull(&server, &hub, &arguments), 0);
    assert_eq!(pulled["downloaded_bytes"], json!(MODEL.len()));
    assert_eq!(pulled["model"]["name"], json!("mini"));
    let path = pulled["path"].as_str().unwrap();
    assert!(path.starts_with(server.folder.path().join("data/models").to_str().unwrap()), "{path}");
    let asked = hub.take_asked().into_iter().filter(|asked| asked.of_storage);
    let ranges: Vec<_> = asked.filter_map(|asked| asked.range).collect();
    assert_eq!(ranges, ["bytes=100000-"]);
    server.chat(&json!({ "model": "mini" })).good();

    // Again is no mistake, and other files under the same name are.
    let again = said(&pull(&server, &hub, &arguments), 0);
    assert_eq!((&again["downloaded_bytes"], &again["path"]), (&json!(0), &pulled["path"]));
    hub.push(&[("tiny-Q8_0.gguf", b"another")]);
    hub.take_asked();
    let error = said(&pull(&server, &hub, &arguments), 2);
    assert!(error["error"]["message"].as_str().unwrap().contains("exists already"), "{error}");
    assert!(hub.take_asked().iter().all(|asked| !asked.of_storage), "nothing was downloaded");
}

#[test]
fn a_pull_without_a_server_tells_in_lines_how_it_goes() {
    let hub = LocalHub::start(&[("tiny.gguf", MODEL)]);
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberbox"));
    command.env_clear().env("HOME", home.path()).env("HF_ENDPOINT", &hub.url);
    let output = command.args(["models", "pull", "hf:acme/tiny", "--no-add"]).output().unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{lines}");
    assert!(lines.starts_with("pulling acme/tiny at 000000000000: 1 file, "), "{lines}");
    assert!(lines.lines().last().unwrap().starts_with("100 %  "), "{lines}");
    assert!(
        !lines.contains('\r') && !lines.contains('\x1b'),
        "no bar away from a terminal: {lines}"
    );
    let answer = String::from_utf8(output.stdout).unwrap();
    let path = home.path().join(".local/share/emberbox/models/acme/tiny");
    let expected = format!("acme/tiny is at {}", path.display());
    assert!(answer.starts_with(&expected), "{answer}");
    assert!(answer.contains("emberbox models add tiny "), "{answer}");
}
