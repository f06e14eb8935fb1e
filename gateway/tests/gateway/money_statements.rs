use emberbox_billing::{Day, Period};
use serde_json::{Value, json};

use crate::support::{Server, nano, send};

/// Today and this month, as the server's clock has them at this moment.
fn now() -> (Day, Period) {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ms = u64::try_from(since.as_millis()).unwrap();
    (Day::of(now_ms), Period::of(now_ms))
}

#[test]
fn usage_is_added_up_by_what_is_asked() {
    let server = Server::start();
    let made = server.post("/v1/keys", &json!({ "name": "second" })).good();
    let second = made["key"].as_str().unwrap();
    let body = crate::support::chat_body(&json!({})).to_string();
    for key in [second, &server.key, &server.key] {
        let answer = server.send("POST", "/v1/chat/completions", key, Some(body.as_bytes()));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let all = server.get("/v1/usage").good();
    for (by, rows, field) in [
        ("subject", 1, "subject"),
        ("key", 2, "key"),
        ("key,subject", 2, "subject"),
        ("day", 1, "day"),
        ("model,day", 1, "model"),
        ("day,key,subject,model", 2, "model"),
    ] {
        let usage = server.get(&format!("/v1/usage?by={by}")).good();
        let found = usage["rows"].as_array().unwrap();
        assert_eq!(found.len(), rows, "{by}: {usage}");
        assert!(found.iter().all(|row| !row[field].is_null()), "{by}: {usage}");
        let cost: i64 = found.iter().map(|row| nano(&row["cost"])).sum();
        assert_eq!((cost, &usage["calls"]), (nano(&all["total"]), &json!(3)), "{by}");
    }
    let csv = server.get("/v1/usage?format=csv");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.text.lines().count(), 1 + 2, "{csv:?}");
    let accepts = [("accept", "text/csv")];
    let accepted = send(server.public, ("GET", "/v1/usage"), &server.key, &accepts, None);
    assert_eq!(accepted.text, csv.text);
    for wrong in [
        "/v1/usage?by=colour",
        "/v1/usage?by=role",
        "/v1/earnings?by=key",
        "/v1/usage?from=2026-02-30",
        "/v1/usage?from=2026-11-30&to=2026-11-01",
        "/v1/usage?from=2001-01-01",
        "/v1/usage?format=xml",
        "/v1/usage?since_ms=-1",
        "/v1/earnings?from=tomorrow",
        "/v1/receipts?format=csv&period=2026-13",
    ] {
        server.get(wrong).refused(400, "invalid_request");
    }
    let earlier = server.get("/v1/usage?from=2020-01-01&to=2020-12-31").good();
    assert_eq!((earlier["calls"].clone(), earlier["rows"].clone()), (json!(0), json!([])));
}

#[test]
fn an_invoice_is_the_sum_of_its_receipts() {
    let server = Server::start_with(|config| {
        config.payments.seller = "Ember & Sons | 1 <Road>".to_owned();
    });
    let (_, month) = now();
    for _ in 0..3 {
        server.chat(&json!({})).good();
    }
    let receipts = server.get("/v1/receipts").good();
    let sum: i64 =
        receipts["data"].as_array().unwrap().iter().map(|receipt| nano(&receipt["amount"])).sum();
    let listed = server.get("/v1/invoices").good();
    assert_eq!(listed["data"][0]["status"], json!("running"), "{listed}");
    let path = format!("/v1/invoices/{month}");
    let invoice = server.get(&path).good();
    assert_eq!((nano(&invoice["total"]), &invoice["receipts"]), (sum, &json!(3)));
    assert_eq!(invoice["number"], listed["data"][0]["number"]);
    assert_eq!(invoice["seller"], json!(["Ember & Sons", "1 <Road>"]));
    let page = server.get(&format!("{path}.html"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.text.contains("Ember &amp; Sons") && !page.text.contains("<Road>"), "{page:?}");
    let csv = server.get(&format!("{path}.csv"));
    assert_eq!(csv.text.lines().count(), 1 + 3, "{csv:?}");
    assert_eq!(csv.text, server.get(&format!("/v1/receipts?format=csv&period={month}")).text);
    for (path, status) in [
        ("/v1/invoices/2026-13".to_owned(), 400),
        ("/v1/invoices/2999-01".to_owned(), 400),
        ("/v1/invoices/x".to_owned(), 400),
        (format!("{path}.pdf"), 404),
    ] {
        assert_eq!(server.get(&path).status, status, "{path}");
    }
    let reconciled = server.operate("GET", "/admin/v1/reconcile?org=local", &Value::Null).good();
    assert_eq!(reconciled["ok"], json!(true), "{reconciled}");
    let amount = emberbox_billing::Nano::from_nano(sum - 1);
    let path = format!("/admin/v1/reconcile?org=local&gateway_calls=3&gateway_amount={amount}");
    let broken = server.operate("GET", &path, &Value::Null).good();
    assert_eq!((&broken["ok"], broken["breaks"].as_array().unwrap().len()), (&json!(false), 1));
    server.operate("GET", "/admin/v1/reconcile?org=nobody", &Value::Null).refused(404, "not_found");
    server.operate("GET", "/admin/v1/periods", &Value::Null).good();
}

#[test]
fn a_past_call_is_priced_again_to_the_nano() {
    let server = Server::start();
    server.chat(&json!({})).good();
    let receipt = server.newest_receipt().unwrap();
    let mut book = server.operate("GET", "/admin/v1/prices", &Value::Null).good();
    book["default_model"]["output_token"] = json!("0.5");
    server.operate("PUT", "/admin/v1/prices", &book).good();
    let path = format!("/v1/receipts/{}/explain", receipt["id"].as_str().unwrap());
    let told = server.get(&path).good();
    assert_eq!((&told["agrees"], &told["charged"]), (&json!(true), &receipt["amount"]), "{told}");
    assert_eq!((&told["price_version"], &told["expected"]), (&json!(1), &receipt["amount"]));
    assert!(!told["lines"].as_array().unwrap().is_empty());
    let other = server.other_org("other", "1");
    server.send("GET", &path, &other, None).refused(404, "not_found");
    server.get("/v1/receipts/x/explain").refused(404, "not_found");
}

#[test]
fn the_audit_log_is_read_page_by_page() {
    let server = Server::start();
    for id in ["a", "b", "c"] {
        let top_up = json!({ "org": "local", "amount": "1", "id": id });
        server.operate("POST", "/admin/v1/credits", &top_up).good();
    }
    let mut numbers = Vec::new();
    let mut path = "/admin/v1/audit?limit=2".to_owned();
    loop {
        let page = server.operate("GET", &path, &Value::Null).good();
        let rows = page["data"].as_array().unwrap();
        numbers.extend(rows.iter().map(|row| row["number"].as_u64().unwrap()));
        let Some(next) = page["next"].as_u64() else { break };
        path = format!("/admin/v1/audit?limit=2&before={next}");
    }
    let expected: Vec<u64> = (1..=numbers.len() as u64).rev().collect();
    assert!(numbers.len() >= 4 && numbers == expected, "{numbers:?}");
    let (today, _) = now();
    for (query, some) in [
        (format!("from={today}"), true),
        ("to=2020-01-01".to_owned(), false),
        ("org=local".to_owned(), true),
    ] {
        let page = server.operate("GET", &format!("/admin/v1/audit?{query}"), &Value::Null).good();
        assert_eq!(!page["data"].as_array().unwrap().is_empty(), some, "{query}");
    }
    for wrong in ["limit=0", "limit=1001", "from=2026-02-30", "before=x"] {
        let path = format!("/admin/v1/audit?{wrong}");
        server.operate("GET", &path, &Value::Null).refused(400, "invalid_request");
    }
}
