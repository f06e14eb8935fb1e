use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Server, send, serve_ledger, wait_for};

impl Answer {
    /// The listener of the service has no request ids: only the status and the shape are checked.
    #[track_caller]
    fn is(&self, status: u16) {
        assert!(self.status == status && self.json()["error"]["code"].is_string(), "{self:?}");
    }
}

#[test]
fn the_operator_copies_and_checks_the_ledger_where_it_is() {
    let server = Server::start();
    server.chat(&json!({})).good();
    let service = server.service.as_ref().unwrap();
    let (admin, token) = (service.admin, service.operator_token.clone());
    let operate = |method: &str, path: &str, token: &str, body: &Value| {
        let body = (!body.is_null()).then(|| body.to_string());
        send(admin, (method, path), token, &[], body.as_ref().map(String::as_bytes))
    };
    for (method, path) in [("POST", "/admin/v1/backup"), ("GET", "/admin/v1/ledger/check")] {
        for wrong in ["", "op_wrong", server.token.as_str(), server.key.as_str()] {
            operate(method, path, wrong, &json!({})).is(401);
        }
        operate("DELETE", path, &token, &Value::Null).is(405);
    }
    operate("GET", "/admin/v1/orgs", &token, &Value::Null).is(404);
    let check = operate("GET", "/admin/v1/ledger/check", &token, &Value::Null).good();
    assert_eq!((&check["ok"], &check["receipts"]), (&json!(true), &json!(1)), "{check}");

    let home = server.folder.path();
    let (to, inside) = (home.join("backup"), home.join("billing/backup"));
    for wrong in [json!({}), json!({ "to": "relative" }), json!({ "to": inside })] {
        operate("POST", "/admin/v1/backup", &token, &wrong).is(400);
    }
    let body = json!({ "to": to });
    let made = operate("POST", "/admin/v1/backup", &token, &body).good();
    operate("POST", "/admin/v1/backup", &token, &body).is(409);
    let paths: Vec<&Value> =
        made["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert!(paths.contains(&&json!("ledger.db")), "{made}");
    assert!(made["not_included"][0].as_str().unwrap().starts_with("the catalog"), "{made}");
    let audited = emberbox_billing::audit_file(&to.join("ledger.db")).unwrap();
    assert_eq!((audited.ok, audited.receipts), (true, 1), "{audited:?}");

    // A gateway's own copy says what is not in it.
    let body = json!({ "to": home.join("gateway-backup") });
    let made = server.operate("POST", "/admin/v1/backup", &body).good();
    let paths: Vec<&Value> =
        made["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert!(!paths.contains(&&json!("ledger.db")) && paths.contains(&&json!("catalog.db")));
    assert!(made["not_included"][0].as_str().unwrap().starts_with("the ledger: the billing"));
}

#[test]
fn a_gateway_is_ready_as_long_as_its_ledger_is_there() {
    let mut server = Server::start();
    let ready = |server: &Server| send(server.public, ("GET", "/readyz"), "", &[], None);
    assert_eq!(ready(&server).status, 200);
    let service = server.service.take().unwrap();
    let address = service.public;
    server.runtime.block_on(service.shutdown(Duration::from_secs(1)));
    let answer = ready(&server);
    assert_eq!((answer.status, answer.text.as_str()), (503, "the ledger does not answer\n"));
    assert_eq!(send(server.public, ("GET", "/healthz"), "", &[], None).status, 200, "it lives");
    let again = serve_ledger(server.folder.path(), address);
    server.service = Some(server.runtime.block_on(Box::pin(again)));
    wait_for("the gateway to be ready", || (ready(&server).status == 200).then_some(()));
    server.chat(&json!({})).good();
}
