//! Outbound messages, signed and retried by the Standard Webhooks specification
//! (<https://github.com/standard-webhooks/standard-webhooks>), and where they may go.
//!
//! A message is sent at least once: the receiver knows a repetition by `webhook-id`, which is the
//! same in every attempt. The signature covers the id, the time of the attempt and the body.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use crate::BillingError;
use crate::ids::MessageId;
use crate::message::Message;

mod address; // Where messages may go.

pub use address::{ENDPOINT_URL_BYTES_MAX, check_url, is_public};

/// How far the time of an attempt may be from the receiver's, in seconds, either way.
pub const WEBHOOK_TOLERANCE_S: u64 = 300;
/// How long a secret is, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const SECRET_PREFIX: &str = "whsec_";
/// The most signatures that a receiver looks at.
const SIGNATURES_MAX: usize = 16;

/// How long to wait after each failed attempt. With the last the message has been tried ten
/// times in three days, and is given up. From the specification's "Deliverability and
/// reliability".
const RETRY_AFTER_S: [u64; 9] = [
    5,
    5 * 60,
    30 * 60,
    2 * 60 * 60,
    5 * 60 * 60,
    10 * 60 * 60,
    14 * 60 * 60,
    20 * 60 * 60,
    24 * 60 * 60,
];
/// Receivers that come back are not met by everything at once: up to a tenth is added.
const JITTER_PARTS: u64 = 10;

/// What signs messages: 24 to 64 bytes, written `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// The secret stays out of logs.
impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(***)")
    }
}

impl WebhookSecret {
    /// A secret of bytes that nobody can guess.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where there are fewer than 24 or more than 64.
    pub fn from_bytes(bytes: &[u8]) -> Result<WebhookSecret, BillingError> {
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(BillingError::Invalid("a webhook secret has 24 to 64 bytes".to_owned()));
        }
        Ok(WebhookSecret(bytes.to_vec()))
    }

    /// The secret of a label: the same each time, and unknown to whoever does not know `seed`,
    /// which has at least 24 bytes that nobody can guess.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] for a shorter seed.
    pub fn derived(seed: &[u8], label: &str) -> Result<WebhookSecret, BillingError> {
        let short = || BillingError::Invalid("the seed of secrets is too short".to_owned());
        if seed.len() < *SECRET_BYTES.start() {
            return Err(short());
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(seed).ok().ok_or_else(short)?;
        mac.update(label.as_bytes());
        WebhookSecret::from_bytes(&mac.finalize().into_bytes())
    }

    /// The secret as text, for the receiver and for nobody else.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn mac(&self, id: &str, timestamp_s: u64, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp_s}.").as_bytes());
        mac.update(body);
        Some(mac)
    }
}

impl FromStr for WebhookSecret {
    type Err = BillingError;

    fn from_str(text: &str) -> Result<WebhookSecret, BillingError> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|rest| STANDARD.decode(rest).ok());
        let bytes = bytes.ok_or_else(|| {
            let reason = "a webhook secret is written as `whsec_` and base64 (it is not shown)";
            BillingError::Invalid(reason.to_owned())
        })?;
        WebhookSecret::from_bytes(&bytes)
    }
}

/// A request to be sent with POST: `content-type: application/json`, the three headers, the
/// body as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`: when this attempt is made, in seconds since 1970.
    pub timestamp_s: u64,
    /// `webhook-signature`: one for each secret, apart by spaces.
    pub signature: String,
    /// The body, byte for byte what is signed.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    topic: &'a str,
    timestamp: String,
    data: &'a Value,
}

impl SignedMessage {
    /// Writes and signs a message for an attempt at `now_s`. Several secrets are for a receiver
    /// that rolls its secret over; it accepts any.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] without a secret, or with a message that JSON cannot say.
    pub fn new(
        secrets: &[WebhookSecret],
        message: &Message,
        now_s: u64,
    ) -> Result<SignedMessage, BillingError> {
        let at_ms = i64::try_from(message.created_at_ms).unwrap_or(i64::MAX);
        let at = DateTime::from_timestamp_millis(at_ms).unwrap_or(DateTime::UNIX_EPOCH);
        let timestamp = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = Body { topic: &message.topic, timestamp, data: &message.body };
        let body = serde_json::to_vec(&body)
            .map_err(|error| BillingError::Invalid(format!("message: {error}")))?;
        let id = format!("msg_{}", message.id.as_uuid().simple());
        let signature = sign(secrets, &id, now_s, &body)?;
        Ok(SignedMessage { id, timestamp_s: now_s, signature, body })
    }

    /// The headers, beside `content-type`.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, String); 3] {
        [
            ("webhook-id", self.id.clone()),
            ("webhook-timestamp", self.timestamp_s.to_string()),
            ("webhook-signature", self.signature.clone()),
        ]
    }

    /// What a receiver does: whether one of `secrets` signed this, and lately.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] with the reason.
    pub fn verify(&self, secrets: &[WebhookSecret], now_s: u64) -> Result<(), BillingError> {
        let refused = |reason: &str| Err(BillingError::Invalid(format!("webhook: {reason}")));
        let mut matches = false;
        for signature in self.signature.split(' ').take(SIGNATURES_MAX) {
            let Some(mac) = signature.strip_prefix("v1,").and_then(|mac| STANDARD.decode(mac).ok())
            else {
                continue;
            };
            for secret in secrets {
                let expected = secret.mac(&self.id, self.timestamp_s, &self.body);
                // `verify_slice` compares in constant time.
                matches |= expected.is_some_and(|expected| expected.verify_slice(&mac).is_ok());
            }
        }
        if !matches {
            return refused("no signature matches");
        }
        if self.timestamp_s.abs_diff(now_s) > WEBHOOK_TOLERANCE_S {
            return refused("it was signed too long ago, or in the future");
        }
        Ok(())
    }
}

fn sign(
    secrets: &[WebhookSecret],
    id: &str,
    timestamp_s: u64,
    body: &[u8],
) -> Result<String, BillingError> {
    let macs = secrets.iter().filter_map(|secret| secret.mac(id, timestamp_s, body));
    let signatures: Vec<String> =
        macs.map(|mac| format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))).collect();
    if signatures.is_empty() {
        return Err(BillingError::Invalid("webhook: there is no secret to sign with".to_owned()));
    }
    Ok(signatures.join(" "))
}

/// What a receiver's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// It has the message.
    Taken,
    /// Ask again later. Redirections are not followed: an endpoint that was checked must not
    /// send messages elsewhere.
    Retry,
    /// It wants no more messages: the endpoint should be switched off.
    Gone,
}

impl WebhookAnswer {
    /// By the status of the answer; `None` where none came.
    #[must_use]
    pub const fn of(status: Option<u16>) -> WebhookAnswer {
        match status {
            Some(200..=299) => WebhookAnswer::Taken,
            Some(410) => WebhookAnswer::Gone,
            _ => WebhookAnswer::Retry,
        }
    }
}

/// How long to wait after `failed` failed attempts (the first attempt is made at once); `None`
/// when the message is given up. A message's own id spreads its attempts by up to a tenth.
#[must_use]
pub fn retry_after(failed: u32, message: MessageId) -> Option<Duration> {
    let index = usize::try_from(failed).ok()?.checked_sub(1)?;
    let base_ms = RETRY_AFTER_S.get(index)?.checked_mul(1000)?;
    let spread_ms = base_ms.checked_div(JITTER_PARTS)?;
    let (_, random) = message.as_uuid().as_u64_pair();
    let jitter_ms = random.checked_rem(spread_ms.max(1))?;
    base_ms.checked_add(jitter_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
