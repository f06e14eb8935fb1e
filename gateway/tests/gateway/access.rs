use serde_json::{Value, json};

use crate::support::Server;

#[test]
fn only_a_valid_key_opens_anything() {
    let server = Server::start();
    let unknown = format!("eb_{}", "0".repeat(43));
    for path in ["/v1/models", "/v1/me", "/v1/keys", "/f/local/hello/"] {
        for key in ["", "nonsense", unknown.as_str(), server.token.as_str()] {
            let answer = server.send("GET", path, key, None);
            answer.refused(401, "invalid_api_key");
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
    }
    assert_eq!(server.get("/v1/me").good()["org"]["name"], json!("local"));
    for path in ["/healthz", "/readyz", "/version"] {
        assert_eq!(server.send("GET", path, "", None).status, 200, "{path}");
    }
    server.get("/v1/nothing").refused(404, "not_found");
    server.send("DELETE", "/v1/models", &server.key, None).refused(405, "method_not_allowed");
}

#[test]
fn keys_are_shown_once_have_roles_and_can_be_revoked() {
    let server = Server::start();
    let make = |role: &str| {
        let made = server.post("/v1/keys", &json!({ "name": role, "role": role })).good();
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    };
    let (_, developer) = make("developer");
    let (consumer_id, consumer) = make("consumer");

    let listed = server.get("/v1/keys");
    assert_eq!(listed.good()["data"].as_array().unwrap().len(), 3);
    for secret in [&server.key, &developer, &consumer] {
        assert!(!listed.text.contains(secret.as_str()));
    }
    let status = |key: &str, path: &str| server.send("GET", path, key, None).status;
    assert_eq!((status(&developer, "/v1/functions"), status(&developer, "/v1/keys")), (200, 403));
    assert_eq!((status(&consumer, "/v1/models"), status(&consumer, "/v1/functions")), (200, 403));

    let path = format!("/v1/keys/{consumer_id}");
    assert!(server.send("DELETE", &path, &server.key, None).good()["revoked_at_ms"].is_u64());
    server.send("GET", "/v1/models", &consumer, None).refused(401, "invalid_api_key");

    // The last key that can make others stays.
    let owner = server.get("/v1/me").good()["key"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/keys/{owner}");
    server.send("DELETE", &path, &server.key, None).refused(409, "conflict");
    make("owner");
    server.send("DELETE", &path, &server.key, None).good();
    server.get("/v1/me").refused(401, "invalid_api_key");
}

#[test]
fn a_key_needs_a_name_and_a_role_that_exists() {
    let server = Server::start();
    let wrong = json!({ "name": "x", "role": "king" });
    server.post("/v1/keys", &wrong).refused(400, "invalid_request");
    let error =
        server.post("/v1/keys", &json!({ "role": "owner" })).refused(400, "invalid_request");
    assert_eq!(error["param"], json!("name"));
}

#[test]
fn organisations_do_not_see_each_other() {
    let server = Server::start();
    let hello = include_bytes!("../../../examples/prebuilt/hello.wasm");
    assert_eq!(server.deploy("hello", hello, "").status, 201);
    let other = server.other_org("other", "1");
    for path in ["/v1/functions/hello", "/v1/functions/hello/versions", "/v1/functions/hello/logs"]
    {
        server.send("GET", path, &other, None).refused(404, "function_not_found");
    }
    let body = br#"{"version":1}"#;
    let path = "/v1/functions/hello/aliases/live";
    server.send("PUT", path, &other, Some(body)).refused(404, "function_not_found");
    let path = "/v1/functions/hello";
    server.send("DELETE", path, &other, None).refused(404, "function_not_found");

    // A receipt is its payer's alone. The caller pays, whoever owns the function.
    let before = server.balance();
    assert_eq!(server.send("GET", "/f/local/hello/", &other, None).status, 200);
    assert_eq!(server.balance(), before);
    let receipts = server.send("GET", "/v1/receipts", &other, None).good();
    let id = receipts["data"][0]["id"].as_str().unwrap();
    let path = format!("/v1/receipts/{id}");
    assert_eq!(server.send("GET", &path, &other, None).status, 200);
    server.get(&path).refused(404, "not_found");
    assert_eq!(server.get("/v1/receipts").good()["data"], Value::from(Vec::<Value>::new()));
    server.ledger_is_sound();
}
