use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use emberbox_billing::service::{CertificateNames, make_certificates};
use emberbox_billing::{SignedMessage, WebhookSecret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::support::{Server, nano, wait_for};

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
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
fn read_request(stream: &mut impl Read) -> Received {
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
    let put = |path: &str, body: Value| put(&server, &server.key, path, &body);
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
    let gone_note = "the receiver wants no more (410): it is switched off";
    for (statuses, note, over) in [(MOVED, "answered 302", false), (GONE, gone_note, true)] {
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
        let shown = || server.operate("GET", "/admin/v1/endpoint", &Value::Null).good();
        let (url, gone) = if over { ("switched_off", "url") } else { ("url", "switched_off") };
        let url = if over { shown()[url]["url"].clone() } else { shown()[url].clone() };
        assert_eq!((&url, shown()[gone].is_null()), (&endpoint["url"], true), "{}", shown());
        // Set again, it is in use again.
        server.operate("PUT", "/admin/v1/endpoint", &endpoint).good();
        assert_eq!(shown(), json!({ "url": endpoint["url"], "switched_off": null }));
    }
}

#[test]
fn an_organisations_endpoint_that_is_gone_is_shown_as_switched_off() {
    let server = Server::start_with(|config| config.webhooks.allow_private = true);
    let (address, _received) = receiver(&[410]);
    let url = format!("http://{address}/");
    put(&server, &server.key, "/v1/endpoint", &json!({ "url": url }));
    put(&server, &server.key, "/v1/notices", &json!({ "low_balance": "10" }));
    server.chat(&json!({})).good();
    let endpoint = wait_for("the endpoint's end", || {
        Some(server.get("/v1/endpoint").good()).filter(|endpoint| endpoint["url"].is_null())
    });
    assert_eq!(endpoint["switched_off"]["url"], json!(url), "{endpoint}");
    let account = server.get("/v1/credits").good();
    assert_eq!(account["endpoint_switched_off"], endpoint["switched_off"], "{account}");
    server.send("DELETE", "/v1/endpoint", &server.key, None).good();
    let endpoint = server.get("/v1/endpoint").good();
    assert_eq!(endpoint, json!({ "url": null, "switched_off": null }));
}

fn put(server: &Server, key: &str, path: &str, body: &Value) -> Value {
    server.send("PUT", path, key, Some(body.to_string().as_bytes())).good()
}

#[test]
fn a_receiver_that_never_answers_delays_nobody() {
    // Longer than the test is patient: what waits for such an attempt does not come.
    let server = Server::start_with(|config| {
        config.webhooks.allow_private = true;
        config.webhooks.attempt_ms = 600_000;
    });
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let (sender, connections) = sync_channel(64);
    std::thread::spawn(move || {
        // The connections stay open as long as the test keeps them.
        while let Ok((stream, _)) = hanging.accept() {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    put(&server, &server.key, "/v1/endpoint", &json!({ "url": url }));
    for below in ["11", "12", "13", "14", "15"] {
        // Another bound is told anew: five messages for the one that takes none.
        put(&server, &server.key, "/v1/notices", &json!({ "low_balance": below }));
        server.chat(&json!({})).good();
    }
    let take = || connections.recv_timeout(Duration::from_secs(60)).unwrap();
    let held = [take(), take()];

    let (other, to_org) = receiver(&[204]);
    let (operators, to_operator) = receiver(&[204]);
    let key = server.other_org("quick", "5");
    let url = json!({ "url": format!("http://{other}/") });
    put(&server, &key, "/v1/endpoint", &url);
    let url = json!({ "url": format!("http://{operators}/") });
    server.operate("PUT", "/admin/v1/endpoint", &url).good();
    put(&server, &key, "/v1/notices", &json!({ "low_balance": "5" }));
    let rule = json!({ "below": "5", "amount": "5", "per_month_max": 1 });
    put(&server, &key, "/v1/auto-top-up", &rule);
    let body = crate::support::chat_body(&json!({})).to_string();
    server.send("POST", "/v1/chat/completions", &key, Some(body.as_bytes())).good();
    for (received, topic) in [(to_org, "balance.low"), (to_operator, "top_up.requested")] {
        let told = received.recv_timeout(Duration::from_secs(60)).unwrap();
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(told["type"], json!(topic), "{told}");
    }
    let noted = wait_for("both deliveries", || {
        Some(deliveries(&server)).filter(|deliveries| deliveries.len() == 2)
    });
    assert!(noted.iter().all(|noted| noted["note"] == json!("delivered (204)")), "{noted:?}");
    assert!(connections.try_recv().is_err(), "two places are what one receiver has");
    drop(held);
    // Who was cut off is tried again later, and the next messages have their places.
    drop([take(), take()]);
}

/// A receiver of `https://127.0.0.1`, with a certificate of an authority that is in `folder`.
fn encrypted_receiver(folder: &Path) -> (SocketAddr, Receiver<Received>) {
    let names = CertificateNames {
        server: vec!["127.0.0.1".to_owned()],
        gateways: Vec::new(),
        valid_days: 7,
    };
    make_certificates(folder, &names).unwrap();
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = sync_channel(8);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            // Who does not trust the certificate says so in the handshake, and leaves.
            if stream.flush().is_err() || stream.conn.complete_io(&mut stream.sock).is_err() {
                continue;
            }
            let received = read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 204 X\r\ncontent-length: 0\r\n\r\n").unwrap();
            if sender.send(received).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

#[test]
fn messages_go_by_https_to_receivers_whose_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (address, received) = encrypted_receiver(folder.path());
    for trusted in [false, true] {
        let server = Server::start_with(|config| {
            config.webhooks.allow_private = true;
            let ca = folder.path().join("ca.pem").to_str().unwrap().to_owned();
            config.webhooks.ca_file = trusted.then_some(ca);
        });
        let url = json!({ "url": format!("https://{address}/hook") });
        let secret = put(&server, &server.key, "/v1/endpoint", &url)["secret"].clone();
        put(&server, &server.key, "/v1/notices", &json!({ "low_balance": "10" }));
        server.chat(&json!({})).good();
        let noted = wait_for("the delivery", || deliveries(&server).into_iter().next());
        let note = noted["note"].as_str().unwrap();
        if !trusted {
            assert!(note.starts_with("TLS: ") && noted["retry_at_ms"].is_u64(), "{noted}");
            assert!(received.try_recv().is_err(), "nothing is said to a stranger");
            continue;
        }
        assert_eq!((note, noted["retry_at_ms"].is_null()), ("delivered (204)", true));
        let got = received.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(got.head.starts_with("POST /hook HTTP/1.1"), "{}", got.head);
        let secret: WebhookSecret = secret.as_str().unwrap().parse().unwrap();
        got.signed().verify(&[secret], now_s()).unwrap();
    }
}
