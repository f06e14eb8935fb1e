use emberbox::config::{Billing, SecretUrl, SecretsKey, Store};
use emberbox_postgres::shared;
use serde_json::json;

use crate::support::{Answer, Server, manifest, send};

pub(crate) const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");

/// A program that prints its environment, with a NUL after each variable.
pub(crate) fn printer() -> Vec<u8> {
    let text = include_str!("../../../runtime/tests/sandbox/print-environment.wat");
    wat::parse_str(text).unwrap()
}

/// Deploys with a key; gives the warnings.
#[track_caller]
fn deploy(server: &Server, key: &str, wasm: &[u8], manifest: &str) -> Vec<String> {
    let (_, name) = manifest.split_once("name = \"").unwrap();
    let answer = server.deploy_as(key, name.split_once('"').unwrap().0, (wasm, manifest));
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

pub(crate) const NAMED: &str = "secrets = [\"API_TOKEN\", \"HTTP_X_TOKEN\"]";
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
