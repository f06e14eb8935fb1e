//! The header `Stripe-Signature`: `t={seconds},v1={hex}[,v1={hex}]`, where each `v1` is the
//! HMAC-SHA256 of `{t}.{body}` under one secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{PAYMENT_BODY_BYTES_MAX, PAYMENT_HEADER_BYTES_MAX, PAYMENT_TOLERANCE_S, PaymentError};

/// The most signatures in one header: secrets that are being rolled over, with room to spare.
const SIGNATURES_MAX: usize = 16;
/// A time of more digits is no time.
const TIME_DIGITS_MAX: usize = 12;
const SIGNATURE_BYTES: usize = 32;

struct Header<'a> {
    /// As written: it is part of what is signed.
    time: &'a str,
    time_s: u64,
    signatures: Vec<[u8; SIGNATURE_BYTES]>,
}

/// Whether one of `secrets` has signed `body`, lately.
pub(super) fn verify(
    secrets: &[String],
    header: Option<&str>,
    body: &[u8],
    now_s: u64,
) -> Result<(), PaymentError> {
    let header = header.ok_or(PaymentError::SignatureMissing)?;
    if body.len() > PAYMENT_BODY_BYTES_MAX {
        return Err(PaymentError::TooLarge);
    }
    let header = parse(header)?;
    // All are compared, and each in constant time: how long it takes tells nothing.
    let mut matches = false;
    for secret in secrets {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
            continue;
        };
        mac.update(header.time.as_bytes());
        mac.update(b".");
        mac.update(body);
        for signature in &header.signatures {
            matches |= mac.clone().verify_slice(signature).is_ok();
        }
    }
    if !matches {
        return Err(PaymentError::SignatureMismatch);
    }
    // Only now, so that a stranger's time is not even looked at.
    let (age_s, ahead_s) =
        (now_s.saturating_sub(header.time_s), header.time_s.saturating_sub(now_s));
    match (age_s > PAYMENT_TOLERANCE_S, ahead_s > PAYMENT_TOLERANCE_S) {
        (true, _) => Err(PaymentError::TooOld { age_s }),
        (_, true) => Err(PaymentError::FromTheFuture { ahead_s }),
        (false, false) => Ok(()),
    }
}

fn parse(header: &str) -> Result<Header<'_>, PaymentError> {
    if header.len() > PAYMENT_HEADER_BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let mut time = None;
    let mut signatures = Vec::new();
    for pair in header.split(',') {
        let (name, value) =
            pair.trim().split_once('=').ok_or_else(|| malformed("it is written as t=…,v1=…"))?;
        match name {
            "t" if time.is_some() => return Err(malformed("it has two times")),
            "t" => time = Some((value, seconds(value)?)),
            "v1" if signatures.len() == SIGNATURES_MAX => {
                return Err(malformed("it has too many signatures"));
            }
            "v1" => signatures.push(signature(value)?),
            // Other schemes may come beside v1, and are not trusted.
            _ => {}
        }
    }
    let (time, time_s) = time.ok_or_else(|| malformed("it has no time (t=…)"))?;
    if signatures.is_empty() {
        return Err(malformed("it has no signature of scheme v1"));
    }
    Ok(Header { time, time_s, signatures })
}

fn seconds(text: &str) -> Result<u64, PaymentError> {
    let digits = text.len() <= TIME_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| malformed("its time is not in seconds since 1970"))
}

fn signature(text: &str) -> Result<[u8; SIGNATURE_BYTES], PaymentError> {
    let mut bytes = [0; SIGNATURE_BYTES];
    let decoded = hex::decode_to_slice(text, &mut bytes);
    decoded.ok().map(|()| bytes).ok_or_else(|| malformed("a v1 signature is not 64 hex digits"))
}

fn malformed(reason: &str) -> PaymentError {
    PaymentError::SignatureMalformed(reason.to_owned())
}
