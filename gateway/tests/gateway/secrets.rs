use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use emberbox::config::{Billing, SecretUrl, SecretsKey, Store};
use emberbox_postgres::shared;
use serde_json::{Value, json};

use crate::support::{Answer, Server, send};

const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");

/// A program that prints its environment, with a NUL after each variable.
fn printer() -> Vec<u8> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "environ_sizes_get"
            (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get"
            (func $get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (drop (call $get (i32.const 16) (i32.const 65536)))
            (i32.store (i32.const 8) (i32.const 65536))
            (i32.store (i32.const 12) (i32.load (i32.const 4)))
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#;
    wat::parse_str(text).unwrap()
}

fn manifest(name: &str, extra: &str) -> String {
    format!("[function]\nname = \"{name}\"\nmax_cost_per_call = \"0.001\"\n{extra}")
}

/// Deploys with a key; gives the warnings.
#[track_caller]
fn deploy(server: &Server, key: &str, wasm: &[u8], manifest: &str) -> Vec<String> {
    let (_, name) = manifest.split_once("name = \"").unwrap();
    let path = format!("/v1/functions/{}/versions", name.split_once('"').unwrap().0);
    let manifest = BASE64_STANDARD.encode(manifest);
    let answer = send(
        server.public,
        ("POST", &path),
        key,
        &[("x-emberbox-manifest", manifest.as_str())],
        Some(wasm),
    );
    let warnings = answer.good()["warnings"].as_array().unwrap().clone();
    warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

fn set(server: &Server, key: &str, name: &str, value: &str) -> Answer {
    let body = json!({ "value": value }).to_string();
    server.send("PUT", &format!("/v1/secrets/{name}"), key, Some(body.as_bytes()))
}

/// What a printer finds under a name, as a client with this header calls it.
#[track_caller]
fn found(server: &Server, path: &str, name: &str) -> Option<String> {
    let headers = [("x-token", "of the client")];
    let answer = send(server.public, ("GET", path), &server.key, &headers, None);
    assert_eq!(answer.status, 200, "{answer:?}");
    let start = format!("{name}=");
    let values: Vec<&str> =
        answer.text.split('\0').filter_map(|line| line.strip_prefix(&start)).collect();
    assert!(values.len() < 2, "{values:?}");
    values.first().map(|&value| value.to_owned())
}

const NAMED: &str = "secrets = [\"API_TOKEN\", \"HTTP_X_TOKEN\"]";
const PRINTER: &str = "/f/local/printer/";

#[test]
fn a_function_finds_the_secrets_that_its_organisation_set_and_it_names() {
    let server = Server::start();
    let (key, other) = (server.key.as_str(), server.other_org("other", "1"));
    let named = manifest("printer", NAMED);
    let warnings = deploy(&server, key, &printer(), &named);
    let unset = |name: &str| format!("the secret '{name}' is not set yet");
    assert_eq!(warnings, [unset("API_TOKEN"), unset("HTTP_X_TOKEN")]);
    assert_eq!(found(&server, PRINTER, "API_TOKEN"), None);
    // A name that is to be a secret is not the client's to choose.
    assert_eq!(found(&server, PRINTER, "HTTP_X_TOKEN"), None);

    let entry = set(&server, key, "API_TOKEN", "hunter2").good();
    assert_eq!(entry["name"], json!("API_TOKEN"));
    assert!(entry["created_at_ms"].is_u64() && entry["updated_at_ms"].is_u64(), "{entry}");
    assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some("hunter2"));
    assert_eq!(found(&server, PRINTER, "HTTP_X_TOKEN"), None);
    set(&server, key, "HTTP_X_TOKEN", "of the author").good();
    assert_eq!(found(&server, PRINTER, "HTTP_X_TOKEN").as_deref(), Some("of the author"));
    assert_eq!(deploy(&server, key, &printer(), &named), Vec::<String>::new());
    assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some("hunter2"));
    // A component finds it in the same way.
    deploy(&server, key, MISBEHAVE, &manifest("probe", "secrets = [\"API_TOKEN\"]"));
    let probed = server.get("/f/local/probe/probe-env").good();
    assert_eq!(probed["environment"], json!({ "API_TOKEN": "hunter2" }));

    // Not one that does not name it, and nobody else's.
    deploy(&server, key, &printer(), &manifest("plain", ""));
    assert_eq!(found(&server, "/f/local/plain/", "API_TOKEN"), None);
    let theirs = "/f/other/printer/";
    assert_eq!(deploy(&server, &other, &printer(), &named).len(), 2);
    assert_eq!(found(&server, theirs, "API_TOKEN"), None);
    set(&server, &other, "API_TOKEN", "theirs").good();
    assert_eq!(found(&server, theirs, "API_TOKEN").as_deref(), Some("theirs"));
    assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some("hunter2"));
}

#[test]
fn a_change_takes_effect_with_the_next_call() {
    let server = Server::start();
    let key = server.key.as_str();
    deploy(&server, key, &printer(), &manifest("printer", NAMED));
    for value in ["one", "two", &"x".repeat(8 << 10), "lines\nand é\n"] {
        set(&server, key, "API_TOKEN", value).good();
        assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some(value));
    }
    let listed = server.get("/v1/secrets").good()["data"][0].clone();
    assert!(listed["updated_at_ms"].as_u64() >= listed["created_at_ms"].as_u64(), "{listed}");
    server.send("DELETE", "/v1/secrets/API_TOKEN", key, None).good();
    assert_eq!(found(&server, PRINTER, "API_TOKEN"), None);
    set(&server, key, "API_TOKEN", "again").good();
    // Also for a version that was made before, and for a server that starts again.
    deploy(&server, key, &printer(), &manifest("printer", ""));
    assert_eq!(found(&server, PRINTER, "API_TOKEN"), None);
    let body = br#"{"version":1}"#;
    server.send("PUT", "/v1/functions/printer/aliases/live", key, Some(body)).good();
    assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some("again"));
    let key = key.to_owned();
    let mut server = Server::start_in(server.stop(), |_| {});
    server.key = key;
    assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some("again"));
}

/// A version that is made while a secret is set must not stay with what it read before.
#[test]
fn a_change_beside_a_deploy_is_not_lost() {
    let server = Server::start();
    let (key, wasm, named) = (server.key.as_str(), printer(), manifest("printer", NAMED));
    deploy(&server, key, &wasm, &named);
    for round in 0..40 {
        let value = format!("value {round}");
        std::thread::scope(|scope| {
            scope.spawn(|| deploy(&server, key, &wasm, &named));
            set(&server, key, "API_TOKEN", &value).good();
        });
        assert_eq!(found(&server, PRINTER, "API_TOKEN"), Some(value));
    }
}

#[test]
fn secrets_are_set_by_those_who_manage_functions_within_bounds() {
    let server = Server::start();
    let key = server.key.as_str();
    let other = server.other_org("other", "0");
    let made = |role: &str| {
        let made = server.post("/v1/keys", &json!({ "name": role, "role": role })).good();
        made["key"].as_str().unwrap().to_owned()
    };
    let (developer, consumer) = (made("developer"), made("consumer"));
    set(&server, &developer, "API_TOKEN", "hunter2").good();
    set(&server, &consumer, "API_TOKEN", "mine").refused(403, "permission_denied");
    for (method, path) in [("GET", "/v1/secrets"), ("DELETE", "/v1/secrets/API_TOKEN")] {
        server.send(method, path, &consumer, None).refused(403, "permission_denied");
    }
    let path = "/v1/secrets/API_TOKEN";
    server.send("DELETE", path, &other, None).refused(404, "not_found");
    assert_eq!(server.send("GET", "/v1/secrets", &other, None).good()["data"], json!([]));
    server.send("GET", path, key, None).refused(405, "method_not_allowed");
    server.send("POST", "/v1/secrets", key, Some(b"{}")).refused(405, "method_not_allowed");

    for name in ["token", "1A", "A-B", "A%00", &"A".repeat(129)] {
        let error = set(&server, key, name, "hunter2").refused(400, "invalid_request");
        assert_eq!(error["param"], json!("name"), "{name}");
    }
    let long = "hunter2".repeat(2_000);
    for body in [
        json!({}),
        json!({ "value": 7 }),
        json!({ "value": "" }),
        json!({ "value": "hunter2\0" }),
        json!({ "value": long }),
    ] {
        let answer = server.send("PUT", path, key, Some(body.to_string().as_bytes()));
        assert_eq!(answer.refused(400, "invalid_request")["param"], json!("value"));
        assert!(!answer.text.contains("hunter2"), "{answer:?}");
    }
    let broken = server.send("PUT", path, key, Some(b"{\"value\": \"hunter2\" oops"));
    broken.refused(400, "invalid_request");
    assert!(!broken.text.contains("hunter2"), "{broken:?}");
    for number in 1..100 {
        set(&server, key, &format!("S{number}"), "x").good();
    }
    set(&server, key, "ONE_TOO_MANY", "x").refused(409, "conflict");
    set(&server, key, "API_TOKEN", "new").good();
    let listed = server.get("/v1/secrets").good()["data"].as_array().unwrap().clone();
    assert_eq!((listed.len(), &listed[0]["name"]), (100, &json!("API_TOKEN")));
}

#[test]
fn what_another_key_sealed_is_not_set_and_stops_nobody() {
    let server = Server::start();
    let key = server.key.clone();
    deploy(&server, &key, &printer(), &manifest("printer", NAMED));
    set(&server, &key, "API_TOKEN", "hunter2").good();
    let folder = server.stop();
    let file = folder.path().join("data/secrets.key");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();

    let mut server = Server::start_in(folder, |_| {});
    server.key = key;
    assert_ne!(std::fs::read_to_string(&file).unwrap(), right);
    assert_eq!(found(&server, PRINTER, "API_TOKEN"), None);
    let warnings = deploy(&server, &server.key, &printer(), &manifest("printer", NAMED));
    assert_eq!(warnings.len(), 2);
    set(&server, &server.key, "HTTP_X_TOKEN", "new").good();
    assert_eq!(found(&server, PRINTER, "HTTP_X_TOKEN").as_deref(), Some("new"));

    // A key of the configuration goes before that of the folder.
    let (key, folder) = (server.key.clone(), server.stop());
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(right.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    let mut server =
        Server::start_in(folder, |config| config.secrets_key = Some(SecretsKey(bytes)));
    server.key = key;
    assert_eq!(found(&server, PRINTER, "API_TOKEN").as_deref(), Some("hunter2"));
    assert_eq!(found(&server, PRINTER, "HTTP_X_TOKEN"), None);
}

/// A server of its own, ended with the test.
struct Process {
    child: Child,
    url: String,
    key: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Process {
    /// Serves from a home folder, and writes every line that there is to its log.
    fn start(home: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_emberbox"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", home)
            .env("EMBERBOX_DATA", home.join("data"))
            .env("EMBERBOX_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(File::create(home.join("server.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Process { child, url: text("url"), key: text("first_key") }
    }

    /// Runs a command with something on its standard input.
    fn run(&self, home: &Path, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_emberbox"))
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("EMBERBOX_URL", &self.url)
            .env("EMBERBOX_API_KEY", &self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that was refused may have ended before it read anything.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn good(&self, home: &Path, arguments: &[&str], input: &str) -> String {
        let output = self.run(home, arguments, input);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Deploys a function that names secrets, with the command line.
    #[track_caller]
    fn deploy(&self, home: &Path, name: &str, wasm: &[u8]) -> String {
        let folder = home.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("emberbox.toml"), manifest(name, NAMED)).unwrap();
        let component = folder.join("built.wasm");
        std::fs::write(&component, wasm).unwrap();
        let (folder, component) = (folder.to_str().unwrap(), component.to_str().unwrap());
        self.good(home, &["deploy", folder, "--component", component], "")
    }
}

/// Every file below a folder that holds the text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_value_is_in_no_file_no_log_and_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let server = Process::start(home);
    server.good(home, &["secrets", "set", "API_TOKEN"], "hunter2");
    server.deploy(home, "printer", &printer());
    server.deploy(home, "probe", MISBEHAVE);
    for call in [&["invoke", "printer"][..], &["invoke", "probe", "--path", "probe-env"]] {
        let printed = server.good(home, call, "");
        assert!(printed.contains("hunter2"), "{printed}");
    }
    let mut said = String::new();
    for arguments in [
        &["secrets", "list", "--json"][..],
        &["secrets"],
        &["versions", "printer", "--json"],
        &["functions", "--json"],
        &["logs", "printer", "--json"],
        &["receipts", "--json"],
        &["usage", "--receipts", "--json"],
        &["quote", "--function", "local/printer", "--json"],
    ] {
        let answer = server.good(home, arguments, "");
        let shows_names = ["secrets", "versions"].contains(&arguments[0]);
        assert_eq!(answer.contains("API_TOKEN"), shows_names, "{arguments:?}: {answer}");
        said.push_str(&answer);
    }
    assert!(!said.contains("hunter2"), "{said}");
    let data = home.join("data");
    let key = std::fs::read_to_string(data.join("secrets.key")).unwrap();
    assert_eq!(holding(home, "hunter2"), Vec::<String>::new());
    assert_eq!(holding(home, &key), [data.join("secrets.key").display().to_string()]);
    // What looks for them does find what is there.
    assert!(!holding(&data, "API_TOKEN").is_empty());
    let log = home.join("server.log").display().to_string();
    assert!(holding(home, "TRACE").contains(&log));
}

#[test]
fn the_command_line_takes_values_from_files_and_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let server = Process::start(home);
    assert!(server.good(home, &["secrets"], "").contains("no secrets"));
    let deployed = server.deploy(home, "printer", &printer());
    assert!(deployed.contains("the secret 'API_TOKEN' is not set yet"), "{deployed}");
    let prints = |value: &str| {
        let printed = server.good(home, &["invoke", "printer"], "");
        assert!(printed.contains(&format!("API_TOKEN={value}\0")), "{value:?}: {printed}");
    };
    for (input, value) in
        [("a\n", "a"), ("b\r\n", "b"), ("c", "c"), ("d\n\n", "d\n"), ("e\r", "e\r")]
    {
        server.good(home, &["secrets", "set", "API_TOKEN"], input);
        prints(value);
    }
    // A file may be a key whose format wants its last line's end.
    let file = home.join("key.pem");
    std::fs::write(&file, "of a file\r\n").unwrap();
    let from_file = ["secrets", "set", "API_TOKEN", "--from-file", file.to_str().unwrap()];
    server.good(home, &from_file, "ignored");
    prints("of a file\r\n");
    for input in ["", "\n", &"hunter2".repeat(2_000), "hunter2\0"] {
        let refused = server.run(home, &["secrets", "set", "API_TOKEN"], input);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(!String::from_utf8_lossy(&refused.stderr).contains("hunter2"), "{refused:?}");
    }
    assert!(server.good(home, &["secrets", "delete", "API_TOKEN"], "").contains("is deleted"));
    let again = server.run(home, &["secrets", "delete", "API_TOKEN"], "");
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    assert!(!server.good(home, &["invoke", "printer"], "").contains("API_TOKEN"));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn gateways_that_share_a_catalog_in_postgres_open_each_others_secrets() {
    let url = shared().unwrap().database("secrets").unwrap();
    let start = |key: Option<[u8; 32]>| {
        Server::start_with(|config| {
            // One key opens all of them, and only one would have the first credits.
            config.billing = Billing::Unmetered;
            config.catalog = Store::Postgres(SecretUrl::new(&url));
            config.secrets_key = key.map(SecretsKey);
        })
    };
    let (one, mut other, mut stranger) = (start(Some([7; 32])), start(Some([7; 32])), start(None));
    for server in [&mut other, &mut stranger] {
        server.key.clone_from(&one.key);
    }
    set(&one, &one.key, "API_TOKEN", "hunter2").good();
    for (server, name, value) in
        [(&other, "printer", Some("hunter2")), (&stranger, "elsewhere", None)]
    {
        // What is uploaded stays with the gateway that took it.
        deploy(server, &one.key, &printer(), &manifest(name, NAMED));
        let found = found(server, &format!("/f/local/{name}/"), "API_TOKEN");
        assert_eq!(found.as_deref(), value, "{name}");
    }
}
