use emberbox::config::Secrets;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Answer, Server, send};

const SECRET: &str = "whsec_a_test_secret_of_the_provider";

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// HMAC-SHA256 (RFC 2104) in hex.
fn hmac(secret: &str, text: &[u8]) -> String {
    let mut key = [0_u8; 64];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    hex::encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

fn signature(secret: &str, at_s: u64, body: &str) -> String {
    let signed = format!("{at_s}.{body}");
    format!("t={at_s},v1={}", hmac(secret, signed.as_bytes()))
}

fn paid(org: &str, intent: &str, cents: u64) -> String {
    json!({
        "id": "evt_1",
        "type": "payment_intent.succeeded",
        "livemode": false,
        "data": { "object": {
            "id": intent, "currency": "usd", "amount_received": cents,
            "metadata": { "emberbox_org": org },
        } },
    })
    .to_string()
}

fn post_event(server: &Server, signature: Option<&str>, body: &str) -> Answer {
    let headers: Vec<(&str, &str)> =
        signature.map(|signature| ("stripe-signature", signature)).into_iter().collect();
    send(server.public, ("POST", "/webhooks/stripe"), "", &headers, Some(body.as_bytes()))
}

fn paying_server() -> Server {
    Server::start_with(|config| {
        config.payments.stripe_secrets = Secrets::read(SECRET);
        config.payments.credits_per_unit = "usd=10".parse().unwrap();
    })
}

#[test]
fn a_payment_is_credited_once() {
    let server = paying_server();
    let before = server.balance().0;
    let body = paid("local", "pi_1", 1250);
    for _ in 0..3 {
        // Signed anew each time, as the provider does when it sends an event again.
        let answer = post_event(&server, Some(&signature(SECRET, now_s(), &body)), &body).good();
        assert_eq!(answer["received"], json!(true));
    }
    assert_eq!(server.balance().0 - before, 125_000_000_000);
    // The same payment with another amount is not a second one, and the provider need not know.
    let other = paid("local", "pi_1", 9999);
    post_event(&server, Some(&signature(SECRET, now_s(), &other)), &other).good();
    assert_eq!(server.balance().0 - before, 125_000_000_000);
    let refund = json!({
        "id": "evt_2", "type": "charge.refunded",
        "data": {
            "object": { "id": "ch_1", "payment_intent": "pi_1", "currency": "usd",
                "amount": 1250, "amount_refunded": 250,
                "metadata": { "emberbox_org": "local" } },
            "previous_attributes": { "amount_refunded": 0 },
        },
    })
    .to_string();
    for _ in 0..2 {
        post_event(&server, Some(&signature(SECRET, now_s(), &refund)), &refund).good();
    }
    assert_eq!(server.balance().0 - before, 100_000_000_000);
    server.ledger_is_sound();
}

#[test]
fn what_the_provider_did_not_sign_moves_nothing() {
    let server = paying_server();
    let before = server.balance();
    let body = paid("local", "pi_1", 1250);
    let now_s = now_s();
    let good = signature(SECRET, now_s, &body);
    for (signature, body) in [
        (None, body.clone()),
        (Some(String::new()), body.clone()),
        (Some("t=now,v1=00".to_owned()), body.clone()),
        (Some(signature("whsec_another_secret_of_nobody", now_s, &body)), body.clone()),
        (Some(signature(SECRET, now_s - 3600, &body)), body.clone()),
        (Some(signature(SECRET, now_s + 3600, &body)), body.clone()),
        (Some(good.clone()), paid("local", "pi_1", 999_999)),
        (Some(good.replace("v1=", "v0=")), body.clone()),
    ] {
        let answer = post_event(&server, signature.as_deref(), &body);
        answer.refused(400, "invalid_request");
    }
    for body in [
        "[]".to_owned(),
        "{}".to_owned(),
        paid("local", "pi_2", u64::MAX),
        paid("local", "pi_2", 1).replace("\"usd\"", "\"eur\""),
        paid("local", "pi_2", 1).replace(":1,", ":1.5,"),
    ] {
        let answer = post_event(&server, Some(&signature(SECRET, now_s, &body)), &body);
        answer.refused(400, "invalid_request");
    }
    let nobody = paid("nobody", "pi_3", 100);
    let answer = post_event(&server, Some(&signature(SECRET, now_s, &nobody)), &nobody);
    answer.refused(404, "not_found");
    let ignored =
        paid("local", "pi_4", 100).replace("payment_intent.succeeded", "customer.created");
    let answer = post_event(&server, Some(&signature(SECRET, now_s, &ignored)), &ignored).good();
    assert!(answer["ignored"].is_string(), "{answer}");
    let large = "x".repeat(300 << 10);
    let answer = post_event(&server, Some(&signature(SECRET, now_s, &large)), &large);
    answer.refused(413, "request_too_large");
    server.get("/webhooks/stripe").refused(405, "method_not_allowed");
    assert_eq!(server.balance(), before);
    // Without a secret there is no such path.
    let closed = Server::start();
    post_event(&closed, Some(&good), &body).refused(404, "not_found");
}
