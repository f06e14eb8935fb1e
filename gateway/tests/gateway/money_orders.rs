use emberbox_billing::{CallId, OpId};
use serde_json::{Value, json};

use crate::support::{Answer, Server, nano, send};

fn put(server: &Server, path: &str, body: &Value) -> Answer {
    server.send("PUT", path, &server.key, Some(body.to_string().as_bytes()))
}

fn delete(server: &Server, path: &str) -> Answer {
    server.send("DELETE", path, &server.key, None)
}

/// A refusal of a request as it stands: never a failure of the server.
#[track_caller]
fn is_refused(answer: &Answer, what: &Value) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert!(answer.json()["error"]["message"].is_string(), "{what}: {answer:?}");
}

#[test]
fn what_makes_no_sense_moves_nothing() {
    let server = Server::start();
    let before = server.get("/v1/credits").good();
    for path in ["credits", "grants", "adjustments", "chargebacks", "payouts"] {
        let path = format!("/admin/v1/{path}");
        for amount in [
            json!("0"),
            json!("1e3"),
            json!("0.0000000001"),
            json!("99999999999999999999"),
            json!("NaN"),
            json!("1,5"),
            json!(""),
            json!(1),
            json!(0.1),
            json!(null),
            json!(["1"]),
        ] {
            let body = json!({ "org": "local", "amount": amount, "note": "x" });
            is_refused(&server.operate("POST", &path, &body), &body);
        }
        let nobody = json!({ "org": "nobody", "amount": "1", "note": "x" });
        server.operate("POST", &path, &nobody).refused(404, "not_found");
        let no_org = json!({ "amount": "1", "note": "x" });
        is_refused(&server.operate("POST", &path, &no_org), &no_org);
        for id in ["", "a\nb", "ä", &"x".repeat(65)] {
            let body = json!({ "org": "local", "amount": "1", "note": "x", "id": id });
            is_refused(&server.operate("POST", &path, &body), &body);
        }
        server.operate("DELETE", &path, &Value::Null).refused(405, "method_not_allowed");
    }
    for (path, body) in [
        ("credits", json!({ "org": "local", "amount": "-1" })),
        ("credits", json!({ "org": "local", "amount": "1", "rail": "UPPER" })),
        ("credits", json!({ "org": "local", "amount": "9223372036" })),
        ("grants", json!({ "org": "local", "amount": "1", "expires_on": "2026-02-30" })),
        ("grants", json!({ "org": "local", "amount": "1", "expires_on": "2020-01-01" })),
        ("grants", json!({ "org": "local", "amount": "1", "surprise": 1 })),
        ("grants", json!({ "org": "local", "amount": "1", "funding": "magic" })),
        ("grants", json!({ "org": "local", "amount": "1", "priority": 256 })),
        ("grants", json!({ "org": "local", "amount": "1", "scope": { "functions": ["f"] } })),
        ("adjustments", json!({ "org": "local", "amount": "-11", "note": "more than there is" })),
        ("adjustments", json!({ "org": "local", "amount": "1" })),
        ("payouts", json!({ "org": "local", "amount": "1" })),
        ("refunds", json!({ "org": "local", "call": "x", "note": "x" })),
        ("refunds", json!({ "org": "local", "call": CallId::generate(), "note": "x" })),
        ("refunds", json!({ "org": "local", "call": CallId::generate() })),
    ] {
        is_refused(&server.operate("POST", &format!("/admin/v1/{path}"), &body), &body);
    }
    for body in [
        json!({ "free_tier_per_month": "-1" }),
        json!({ "free_tier_per_month": 1.5 }),
        json!({ "maturity_days": 366 }),
        json!({ "maturity_days": -1 }),
        json!({ "maturity_days": "7" }),
    ] {
        is_refused(&server.operate("PUT", "/admin/v1/platform", &body), &body);
        is_refused(&server.operate("PATCH", "/admin/v1/platform", &body), &body);
    }
    assert_eq!(server.get("/v1/credits").good(), before);
    server.ledger_is_sound();
}

#[test]
fn grants_adjustments_and_chargebacks_move_credits_once() {
    let server = Server::start();
    let operate = |path: &str, body: Value| {
        // Twice: the id makes it once.
        server.operate("POST", path, &body).good();
        server.operate("POST", path, &body).good()
    };
    let grant = operate(
        "/admin/v1/grants",
        json!({ "org": "local", "amount": "5", "id": "g1", "expires_on": "2099-12-31",
                "scope": { "models": ["tiny-storyteller"] }, "note": "welcome" }),
    );
    assert_eq!(nano(&grant["posted"]), 15_000_000_000);
    let account = server.get("/v1/credits").good();
    let lots = account["lots"].as_array().unwrap();
    assert_eq!((lots.len(), &lots[0]["note"]), (1, &json!("welcome")), "{account}");
    assert_eq!(lots[0]["lot"], grant["lot"]);
    operate(
        "/admin/v1/adjustments",
        json!({ "org": "local", "amount": "-1.5", "id": "g1",
        "note": "counted wrong" }),
    );
    assert_eq!(server.balance().0, 13_500_000_000, "ids are apart by kind");
    operate("/admin/v1/chargebacks", json!({ "org": "local", "amount": "20", "id": "c1" }));
    let owing = server.operate("GET", "/admin/v1/credits?org=local", &Value::Null).good();
    assert!(nano(&owing["owed"]) > 0, "{owing}");
    assert!((400..500).contains(&server.chat(&json!({})).status), "who owes does not call");
    operate("/admin/v1/credits", json!({ "org": "local", "amount": "20", "id": "t1" }));
    assert_eq!(server.chat(&json!({})).status, 200);
    // The promotional grant pays before what was bought.
    let lots = server.get("/v1/credits").good()["lots"].clone();
    assert!(nano(&lots[0]["available"]) < 5_000_000_000, "{lots}");
    server.ledger_is_sound();
}

#[test]
fn an_id_is_the_callers_own() {
    let server = Server::start();
    let other = server.other_org("other", "1");
    let headers = [("idempotency-key", "same"), ("content-type", "application/json")];
    let set = |key: &str, limit: &str| {
        let body = json!({ "window": "day", "limit": limit }).to_string();
        send(server.public, ("PUT", "/v1/budgets"), key, &headers, Some(body.as_bytes()))
    };
    set(&server.key, "5").good();
    set(&other, "6").good();
    set(&server.key, "5").good();
    set(&server.key, "7").refused(409, "conflict");
    let limits =
        |key: &str| server.send("GET", "/v1/budgets", key, None).good()["data"][0]["limit"].clone();
    assert_eq!((limits(&server.key), limits(&other)), (json!("5"), json!("6")));
    // Who asked stands in the audit log.
    let audit = server.operate("GET", "/admin/v1/audit?org=local", &Value::Null).good();
    let by_key = |row: &&Value| row["by"].as_str().unwrap().starts_with("key_");
    assert_eq!(audit["data"].as_array().unwrap().iter().filter(by_key).count(), 1, "{audit}");
}

#[test]
fn a_budget_stops_the_calls_that_it_counts() {
    let server = Server::start();
    let consumer = server.post("/v1/keys", &json!({ "name": "c", "role": "consumer" })).good();
    let (id, key) = (consumer["id"].as_str().unwrap(), consumer["key"].as_str().unwrap());
    put(&server, "/v1/budgets", &json!({ "window": "total", "limit": "0", "key": id })).good();
    let body = crate::support::chat_body(&json!({})).to_string();
    let call =
        |key: &str| server.send("POST", "/v1/chat/completions", key, Some(body.as_bytes())).status;
    assert_eq!((call(key), call(&server.key)), (402, 200));
    // A consumer's key looks, and changes nothing.
    assert_eq!(server.send("GET", "/v1/budgets", key, None).status, 200);
    for (method, path) in [
        ("PUT", "/v1/budgets"),
        ("DELETE", "/v1/budgets?window=total"),
        ("PUT", "/v1/notices"),
        ("PUT", "/v1/auto-top-up"),
        ("DELETE", "/v1/endpoint"),
    ] {
        let asked = server.send(method, path, key, Some(b"{}"));
        asked.refused(403, "permission_denied");
    }
    let budgets = delete(&server, &format!("/v1/budgets?window=total&key={id}")).good();
    assert_eq!((budgets["data"].clone(), call(key)), (json!([]), 200));
    for body in [
        json!({ "window": "year", "limit": "1" }),
        json!({ "window": "day", "limit": "-1" }),
        json!({ "window": "day", "limit": 1.5 }),
        json!({ "window": "day" }),
        json!({ "window": "day", "limit": "1", "key": "key_nobody" }),
        json!({ "limit": "1" }),
    ] {
        is_refused(&put(&server, "/v1/budgets", &body), &body);
    }
    is_refused(&delete(&server, "/v1/budgets"), &json!("no window"));
    server.ledger_is_sound();
}

#[test]
fn rules_of_an_organisation_are_set_and_removed() {
    let server = Server::start_with(|config| config.webhooks.allow_private = false);
    put(&server, "/v1/notices", &json!({ "low_balance": "1.5" })).good();
    let rule = json!({ "below": "1", "amount": "5", "per_month_max": 3 });
    put(&server, "/v1/auto-top-up", &rule).good();
    let url = "https://hooks.example.com/emberbox";
    let endpoint = put(&server, "/v1/endpoint", &json!({ "url": url })).good();
    assert!(endpoint["secret"].as_str().unwrap().starts_with("whsec_"));
    let account = server.get("/v1/credits").good();
    assert_eq!(account["low_balance"], json!("1.5"));
    assert_eq!(account["auto_top_up"], rule);
    assert_eq!(account["endpoint_url"], json!(url));
    let told = server.get("/v1/endpoint").text + &server.get("/v1/credits").text;
    assert!(!told.contains("whsec_"), "the secret is shown once: {told}");
    let log = server.operate("GET", "/admin/v1/audit?limit=1000", &Value::Null).text;
    assert!(!log.contains("whsec_"), "{log}");
    for (path, body) in [
        ("/v1/notices", json!({ "low_balance": "-1" })),
        ("/v1/notices", json!({ "low_balance": 1 })),
        ("/v1/notices", json!({ "low_balnce": "1" })),
        ("/v1/auto-top-up", json!({ "below": "1", "amount": "0", "per_month_max": 3 })),
        ("/v1/auto-top-up", json!({ "below": "1", "amount": "1", "per_month_max": 0 })),
        ("/v1/auto-top-up", json!({ "below": "1", "amount": "1" })),
        ("/v1/endpoint", json!({ "url": "http://hooks.example.com" })),
        ("/v1/endpoint", json!({ "url": "https://127.0.0.1/hook" })),
        ("/v1/endpoint", json!({ "url": "https://169.254.169.254/latest" })),
        ("/v1/endpoint", json!({ "url": "https://localhost/hook" })),
        ("/v1/endpoint", json!({ "url": "https://a:b@hooks.example.com" })),
        ("/v1/endpoint", json!({ "url": url, "secret": "whsec_short" })),
        ("/v1/endpoint", json!({})),
    ] {
        is_refused(&put(&server, path, &body), &body);
    }
    put(&server, "/v1/notices", &json!({ "low_balance": null })).good();
    delete(&server, "/v1/auto-top-up").good();
    delete(&server, "/v1/endpoint").good();
    let account = server.get("/v1/credits").good();
    for name in ["low_balance", "auto_top_up", "endpoint_url"] {
        assert_eq!(account[name], Value::Null, "{account}");
    }
}

#[test]
fn an_endpoint_that_is_set_again_has_the_same_secret() {
    let server = Server::start();
    let other = server.other_org("other", "0");
    let url = "https://hooks.example.com/emberbox";
    let set = |key: &str, url: &str, id: Option<&str>| {
        let body = json!({ "url": url, "id": id }).to_string();
        server.send("PUT", "/v1/endpoint", key, Some(body.as_bytes()))
    };
    let first = set(&server.key, url, Some("one")).good();
    let new = set(&server.key, url, None).good();
    assert_eq!(set(&server.key, url, Some("one")).good(), first, "the first answer was lost");
    set(&server.key, "https://hooks.example.com/", Some("one")).refused(409, "conflict");
    let secrets = [
        first["secret"].clone(),
        new["secret"].clone(),
        set(&server.key, url, None).good()["secret"].clone(),
        set(&other, url, Some("one")).good()["secret"].clone(),
    ];
    for (at, secret) in secrets.iter().enumerate() {
        assert!(!secrets[..at].contains(secret), "{secrets:?}");
    }
    let body = json!({ "url": url, "id": "one" });
    let operators = server.operate("PUT", "/admin/v1/endpoint", &body).good();
    assert_eq!(server.operate("PUT", "/admin/v1/endpoint", &body).good(), operators);
    assert!(!secrets.contains(&operators["secret"]), "{operators}");
}

#[test]
fn the_operator_sets_what_holds_for_everybody() {
    let server = Server::start();
    let other = server.other_org("other", "0");
    let set = json!({ "free_tier_per_month": "2", "maturity_days": 7 });
    let platform = server.operate("PUT", "/admin/v1/platform", &set).good();
    assert_eq!(platform, set);
    let part = json!({ "maturity_days": 9, "id": "nine" });
    let refused =
        server.operate("PUT", "/admin/v1/platform", &part).refused(400, "invalid_request");
    assert_eq!(refused["param"], json!("free_tier_per_month"), "{refused}");
    let platform = server.operate("PATCH", "/admin/v1/platform", &part).good();
    assert_eq!(platform, json!({ "free_tier_per_month": "2", "maturity_days": 9 }));
    is_refused(&server.operate("PATCH", "/admin/v1/platform", &json!({})), &json!("nothing"));
    // An organisation without credits calls on the free ones.
    let body = crate::support::chat_body(&json!({})).to_string();
    let answer = server.send("POST", "/v1/chat/completions", &other, Some(body.as_bytes()));
    assert_eq!(answer.status, 200, "{answer:?}");
    // What free credits pay for earns nobody anything, so that the next call must be paid.
    let none = json!({ "free_tier_per_month": "0" });
    server.operate("PATCH", "/admin/v1/platform", &none).good();
    // A part that is sent again is what it was: it takes nothing back that was set since.
    let platform = server.operate("PATCH", "/admin/v1/platform", &part).good();
    assert_eq!(platform, json!({ "free_tier_per_month": "0", "maturity_days": 9 }));
    let other_part = json!({ "maturity_days": 8, "id": "nine" });
    server.operate("PATCH", "/admin/v1/platform", &other_part).refused(409, "conflict");

    let mut book = server.operate("GET", "/admin/v1/prices", &Value::Null).good();
    let dear = json!({ "input_token": "0.001", "cached_input_token": "0.001",
        "output_token": "0.001", "call": "0" });
    book["overrides"] = json!({ "other": { "models": { "tiny-storyteller": dear } } });
    book["royalties"] = json!({ "tiny-storyteller": { "org": "other", "share_bps": 1000 } });
    let published = server.operate("PUT", "/admin/v1/prices", &book).good();
    let named: Vec<&String> = published["overrides"].as_object().unwrap().keys().collect();
    assert!(named[0].starts_with("org_"), "names become ids: {published}");
    server.chat(&json!({})).good();
    let earned = server.send("GET", "/v1/earnings", &other, None).good();
    assert!(nano(&earned["total"]) > 0, "{earned}");
    assert_eq!(
        (earned["payable"].clone(), earned["matured"].clone()),
        (earned["total"].clone(), json!("0"))
    );
    let by_role = server.send("GET", "/v1/earnings?by=role", &other, None).good();
    let rows = json!([{ "role": "model_owner", "calls": 1, "amount": earned["total"] }]);
    assert_eq!((&by_role["rows"], &by_role["total"]), (&rows, &earned["total"]));
    let csv = server.send("GET", "/v1/earnings?format=csv", &other, None);
    assert!(csv.text.contains("model_owner,\"tiny-storyteller\","), "{csv:?}");
    for wrong in [json!({ "nobody": {} }), json!({ "other": { "modls": {} } })] {
        let mut book = published.clone();
        book["overrides"] = wrong;
        is_refused(&server.operate("PUT", "/admin/v1/prices", &book), &book);
    }
    let versions = server.operate("GET", "/admin/v1/prices/versions", &Value::Null).good();
    assert_eq!(versions["data"].as_array().unwrap().len(), 2);
    let key = server
        .operate("POST", "/admin/v1/orgs/other/keys", &json!({ "name": "lost and found" }))
        .good();
    let found = server.send("GET", "/v1/me", key["key"].as_str().unwrap(), None).good();
    assert_eq!(found["org"]["name"], json!("other"));
    server
        .operate("POST", "/admin/v1/orgs/nobody/keys", &json!({ "name": "x" }))
        .refused(404, "not_found");
    server.ledger_is_sound();
}

#[test]
fn a_refund_is_a_credit_note_and_never_more_than_the_charge() {
    let server = Server::start();
    let before = server.balance().0;
    server.chat(&json!({})).good();
    let receipt = server.newest_receipt().unwrap();
    let charge = nano(&receipt["amount"]);
    let refund = |amount: Option<i64>, id: &str| {
        let amount = amount.map(|nano| emberbox_billing::Nano::from_nano(nano).to_string());
        let body = json!({ "org": "local", "call": receipt["id"], "amount": amount, "id": id,
            "note": "it was slow" });
        server.operate("POST", "/admin/v1/refunds", &body)
    };
    is_refused(&refund(Some(charge + 1), "too-much"), &json!("over the charge"));
    let first = refund(Some(1), "one").good();
    assert_eq!(
        first["credit_note"]["number"],
        refund(Some(1), "one").good()["credit_note"]["number"]
    );
    refund(None, "rest").good();
    assert_eq!(server.balance().0, before);
    is_refused(&refund(Some(1), "twice"), &json!("all was given back"));
    let month = receipt["created_at_ms"].as_u64().map(emberbox_billing::Period::of).unwrap();
    let invoice = server.get(&format!("/v1/invoices/{month}")).good();
    assert_eq!(invoice["net"], json!("0"), "{invoice}");
    let notes = invoice["credit_notes"].as_array().unwrap();
    assert_eq!((notes.len(), &notes[0]["number"]), (2, &first["credit_note"]["number"]));
    assert!(OpId::new(first["op"].as_str().unwrap()).is_ok());
    server.ledger_is_sound();
}
