//! Vectors of the specification, and one row per way to get it wrong.

use std::net::IpAddr;

use serde_json::json;
use uuid::Uuid;

use super::*;

/// The example of the Standard Webhooks libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SIGNED_AT_S: u64 = 1_614_265_330;
const BODY: &str = r#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret(text: &str) -> WebhookSecret {
    text.parse().unwrap()
}

fn other() -> WebhookSecret {
    WebhookSecret::from_bytes(&[7; 32]).unwrap()
}

fn message() -> Message {
    Message {
        id: MessageId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00ff)),
        org: None,
        topic: "balance.low".to_owned(),
        body: json!({"available": "0.5"}),
        created_at_ms: 1_795_000_000_123,
        attempts: 0,
        due_at_ms: 0,
    }
}

#[test]
fn the_specifications_example_has_its_signature() {
    assert_eq!(sign(&[secret(SECRET)], ID, SIGNED_AT_S, BODY.as_bytes()).unwrap(), SIGNATURE);
}

#[test]
fn a_message_is_signed_as_it_is_sent() {
    let sent = SignedMessage::new(&[secret(SECRET), other()], &message(), 1_795_000_100).unwrap();
    assert_eq!(
        String::from_utf8(sent.body.clone()).unwrap(),
        r#"{"type":"balance.low","timestamp":"2026-11-18T11:06:40.123Z","data":{"available":"0.5"}}"#
    );
    let [id, time, signature] = sent.headers();
    assert_eq!(id, ("webhook-id", "msg_019000000000700080000000000000ff".to_owned()));
    assert_eq!(time, ("webhook-timestamp", "1795000100".to_owned()));
    assert_eq!((signature.0, signature.1.split(' ').count()), ("webhook-signature", 2));
    for secret in [secret(SECRET), other()] {
        sent.verify(&[secret], 1_795_000_100).unwrap();
    }
    assert!(SignedMessage::new(&[], &message(), 1_795_000_100).is_err());
}

#[test]
fn a_receiver_refuses_what_was_touched() {
    let good = SignedMessage {
        id: ID.to_owned(),
        timestamp_s: SIGNED_AT_S,
        signature: SIGNATURE.to_owned(),
        body: BODY.into(),
    };
    let v2 = SIGNATURE.replace("v1,", "v2,");
    let rows: [(&str, SignedMessage, u64, bool); 11] = [
        ("as sent", good.clone(), SIGNED_AT_S, true),
        ("300 s old", good.clone(), SIGNED_AT_S + 300, true),
        ("301 s old", good.clone(), SIGNED_AT_S + 301, false),
        ("301 s ahead", good.clone(), SIGNED_AT_S - 301, false),
        ("other id", SignedMessage { id: "msg_1".to_owned(), ..good.clone() }, SIGNED_AT_S, false),
        (
            "other time",
            SignedMessage { timestamp_s: SIGNED_AT_S + 1, ..good.clone() },
            SIGNED_AT_S,
            false,
        ),
        ("other body", SignedMessage { body: b"{}".to_vec(), ..good.clone() }, SIGNED_AT_S, false),
        (
            "no signature",
            SignedMessage { signature: String::new(), ..good.clone() },
            SIGNED_AT_S,
            false,
        ),
        (
            "other scheme",
            SignedMessage { signature: v2.clone(), ..good.clone() },
            SIGNED_AT_S,
            false,
        ),
        (
            "short",
            SignedMessage { signature: "v1,g0hM".to_owned(), ..good.clone() },
            SIGNED_AT_S,
            false,
        ),
        (
            "second",
            SignedMessage { signature: format!("{v2} {SIGNATURE}"), ..good.clone() },
            SIGNED_AT_S,
            true,
        ),
    ];
    for (row, message, now_s, expect) in rows {
        assert_eq!(message.verify(&[secret(SECRET)], now_s).is_ok(), expect, "{row}");
    }
    assert!(good.verify(&[other()], SIGNED_AT_S).is_err());
    good.verify(&[other(), secret(SECRET)], SIGNED_AT_S).unwrap();
}

#[test]
fn secrets_have_24_to_64_bytes_and_are_not_shown() {
    for (length, expect) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
        let made = WebhookSecret::from_bytes(&vec![1; length]);
        assert_eq!(made.is_ok(), expect, "{length}");
        if let Ok(made) = made {
            assert_eq!(secret(&made.expose()), made);
        }
    }
    assert_eq!(secret(SECRET).expose(), SECRET);
    for text in [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ",
        "whsec_?",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ] {
        let error = text.parse::<WebhookSecret>().unwrap_err().to_string();
        assert!(!error.contains("MfKQ"), "{error}");
    }
    assert_eq!(format!("{:?}", secret(SECRET)), "WebhookSecret(***)");
}

#[test]
fn retries_take_three_days_and_end() {
    let id = message().id;
    let expect = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
    assert_eq!(retry_after(0, id), None);
    for (failed, base_s) in (1..).zip(expect) {
        let base = Duration::from_secs(base_s);
        let after = retry_after(failed, id).unwrap();
        assert!(after >= base && after < base + base / 10, "{failed}: {after:?}");
        assert_eq!(retry_after(failed, id), Some(after));
    }
    assert_eq!(retry_after(10, id), None);
    assert_eq!(retry_after(u32::MAX, id), None);
    let another = MessageId::from_uuid(Uuid::from_u128(0x1234_5678));
    assert_ne!(retry_after(3, id), retry_after(3, another));
}

#[test]
fn answers_end_or_repeat_an_attempt() {
    for (status, expect) in [
        (Some(200), WebhookAnswer::Taken),
        (Some(204), WebhookAnswer::Taken),
        (Some(301), WebhookAnswer::Retry),
        (Some(404), WebhookAnswer::Retry),
        (Some(410), WebhookAnswer::Gone),
        (Some(429), WebhookAnswer::Retry),
        (Some(503), WebhookAnswer::Retry),
        (None, WebhookAnswer::Retry),
    ] {
        assert_eq!(WebhookAnswer::of(status), expect, "{status:?}");
    }
}

#[test]
fn only_the_public_internet_is_public() {
    for (address, expect) in [
        ("1.1.1.1", true),
        ("9.255.255.255", true),
        ("11.0.0.0", true),
        ("100.63.255.255", true),
        ("100.128.0.0", true),
        ("172.15.255.255", true),
        ("172.32.0.0", true),
        ("192.167.255.255", true),
        ("223.255.255.255", true),
        ("0.0.0.0", false),
        ("0.1.2.3", false),
        ("10.0.0.1", false),
        ("100.64.0.1", false),
        ("100.127.255.255", false),
        ("127.0.0.1", false),
        ("127.255.255.254", false),
        ("169.254.169.254", false),
        ("172.16.0.1", false),
        ("172.31.255.255", false),
        ("192.0.0.192", false),
        ("192.168.1.1", false),
        ("198.19.0.1", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("2606:4700:4700::1111", true),
        ("2a00:1450:4001::5", true),
        ("2001:4860:4860::8888", true),
        ("::", false),
        ("::1", false),
        ("::ffff:127.0.0.1", false),
        ("::ffff:1.1.1.1", false),
        ("::7f00:1", false),
        ("64:ff9b::7f00:1", false),
        ("2002:7f00:1::", false),
        ("2001::1", false),
        ("2001:db8::1", false),
        ("3fff::1", false),
        ("fc00::1", false),
        ("fd00:ec2::254", false),
        ("fe80::1", false),
        ("fec0::1", false),
        ("ff02::1", false),
    ] {
        assert_eq!(is_public(address.parse::<IpAddr>().unwrap()), expect, "{address}");
    }
}

#[test]
fn endpoints_are_on_the_public_internet() {
    let host = "the host is not on the public internet";
    let no_address = "it is not an address like https://example.com/hook";
    let spaces = "the address has spaces, control characters or backslashes";
    let long = format!("https://example.com/{}", "a".repeat(2029));
    for (url, public, private) in [
        ("https://example.com/hook?a=1", None, None),
        ("https://hooks.example.co.uk:8443/", None, None),
        ("https://1.1.1.1/", None, None),
        ("https://[2606:4700:4700::1111]/", None, None),
        ("https://xn--bcher-kva.example/", None, None),
        ("http://example.com/", Some("the address must begin with https://"), None),
        ("https://127.0.0.1/", Some(host), None),
        ("https://127.1/", Some(host), None),
        ("https://2130706433/", Some(host), None),
        ("https://0x7f000001/", Some(host), None),
        ("https://0177.0.0.1/", Some(host), None),
        ("https://127.0.0.1./", Some(host), None),
        ("https://①②⑦.0.0.1/", Some(host), None),
        ("https://%31%32%37.0.0.1/", Some(host), None),
        ("https://169.254.169.254/latest/meta-data/", Some(host), None),
        ("https://[::1]/", Some(host), None),
        ("https://[::ffff:10.0.0.1]/", Some(host), None),
        ("https://[fd00::1]/", Some(host), None),
        ("https://localhost/", Some(host), None),
        ("https://LOCALHOST./", Some(host), None),
        ("https://a.localhost:8080/", Some(host), None),
        ("https://db/", Some(host), None),
        ("https://printer.local/", Some(host), None),
        ("https://metadata.google.internal/", Some(host), None),
        ("https://notlocal.example/", None, None),
        (
            "https://u:p@example.com/",
            Some("the address must not carry a user name or password"),
            Some(""),
        ),
        (
            "https://u@example.com/",
            Some("the address must not carry a user name or password"),
            Some(""),
        ),
        ("https://example.com/#part", Some("the address must not have a fragment (#…)"), Some("")),
        ("https://example.com:0/", Some("port 0 is no port"), Some("")),
        ("ftp://example.com/", Some(no_address), Some("")),
        ("file:///etc/passwd", Some(no_address), Some("")),
        ("javascript:alert(1)", Some(no_address), Some("")),
        ("example.com", Some(no_address), Some("")),
        ("https://", Some(no_address), Some("")),
        ("", Some(no_address), Some("")),
        (" https://example.com/", Some(spaces), Some("")),
        ("https://exa\tmple.com/", Some(spaces), Some("")),
        ("https://example.com\\@127.0.0.1/", Some(spaces), Some("")),
        (&long, Some("the address is longer than 2048 bytes"), Some("")),
    ] {
        let refused = check_url(url, false).err().map(|error| error.to_string());
        assert_eq!(refused, public.map(|reason| format!("endpoint: {reason}")), "{url}");
        assert_eq!(check_url(url, true).is_err(), private.is_some(), "{url}");
    }
}
