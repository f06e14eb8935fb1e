use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use emberbox::config::Secrets;
use emberbox_billing::{SignedMessage, WebhookSecret};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Server, nano, send, wait_for};

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

/// What a receiver was sent: headers in lower case, and the body.
struct Received {
    head: String,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    fn signed(&self) -> SignedMessage {
        SignedMessage {
            id: self.header("webhook-id"),
            timestamp_s: self.header("webhook-timestamp").parse().unwrap(),
            signature: self.header("webhook-signature"),
            body: self.body.clone(),
        }
    }
}

/// Reads one request to the end of its body.
fn read_request(stream: &mut TcpStream) -> Received {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the request broke off");
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some(split) = text.find("\r\n\r\n") else { continue };
        let length = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        if bytes.len() == split + 4 + length.trim().parse::<usize>().unwrap() {
            let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
            return Received { head, body: bytes[split + 4..].to_vec() };
        }
    }
}

/// A receiver that answers with these statuses, one after the other.
fn receiver(statuses: &'static [u16]) -> (SocketAddr, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = sync_channel(statuses.len());
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let received = read_request(&mut stream);
            let location = "location: http://127.0.0.1:1/\r\n";
            let answer = format!("HTTP/1.1 {status} X\r\n{location}content-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            // The test may have seen enough.
            drop(sender.send(received));
        }
    });
    (address, receiver)
}

/// What became of messages, oldest first.
fn deliveries(server: &Server) -> Vec<Value> {
    let log = server.operate("GET", "/admin/v1/audit?limit=1000", &Value::Null).good();
    let entries = log["data"].as_array().unwrap().iter().rev();
    let acts = entries.filter_map(|entry| entry.pointer("/act/order"));
    acts.filter(|act| act["kind"] == json!("delivery")).cloned().collect()
}

#[test]
fn a_message_is_sent_until_it_is_taken() {
    let server = Server::start_with(|config| config.webhooks.allow_private = true);
    let (address, received) = receiver(&[500, 204]);
    let url = format!("http://{address}/hook?of=emberbox");
    let put = |path: &str, body: Value| {
        server.send("PUT", path, &server.key, Some(body.to_string().as_bytes())).good()
    };
    let secret: WebhookSecret =
        put("/v1/endpoint", json!({ "url": url }))["secret"].as_str().unwrap().parse().unwrap();
    put("/v1/notices", json!({ "low_balance": "10" }));
    server.chat(&json!({})).good();
    let first = received.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(first.head.starts_with("POST /hook?of=emberbox HTTP/1.1"), "{}", first.head);
    first.signed().verify(std::slice::from_ref(&secret), now_s()).unwrap();
    let told: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(told["type"], json!("balance.low"), "{told}");
    assert!(nano(&told["data"]["balance"]) < nano(&told["data"]["below"]), "{told}");
    let second = received.recv_timeout(Duration::from_secs(60)).unwrap();
    second.signed().verify(&[secret], now_s()).unwrap();
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    let noted = wait_for("the second delivery", || {
        Some(deliveries(&server)).filter(|deliveries| deliveries.len() == 2)
    });
    assert_eq!(noted[0]["note"], json!("answered 500"), "{noted:?}");
    assert!(noted[0]["retry_at_ms"].is_u64(), "{noted:?}");
    assert_eq!(
        (&noted[1]["note"], &noted[1]["retry_at_ms"]),
        (&json!("delivered (204)"), &Value::Null)
    );
    // Told once: the balance is below all the time.
    server.chat(&json!({})).good();
    assert_eq!(deliveries(&server).len(), 2);
    server.ledger_is_sound();
}

#[test]
fn redirections_are_not_followed_and_who_wants_no_more_gets_no_more() {
    const MOVED: &[u16] = &[302];
    const GONE: &[u16] = &[410];
    for (statuses, note, over) in
        [(MOVED, "answered 302", false), (GONE, "the receiver wants no more (410)", true)]
    {
        let server = Server::start_with(|config| config.webhooks.allow_private = true);
        let (address, received) = receiver(statuses);
        let endpoint = json!({ "url": format!("http://{address}/") });
        server.operate("PUT", "/admin/v1/endpoint", &endpoint).good();
        let rule = json!({ "below": "10", "amount": "5", "per_month_max": 1 }).to_string();
        server.send("PUT", "/v1/auto-top-up", &server.key, Some(rule.as_bytes())).good();
        server.chat(&json!({})).good();
        let told = received.recv_timeout(Duration::from_secs(60)).unwrap();
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(told["type"], json!("top_up.requested"), "{told}");
        let noted = wait_for("the delivery", || deliveries(&server).into_iter().next());
        assert_eq!((&noted["note"], noted["retry_at_ms"].is_null()), (&json!(note), over));
    }
}
