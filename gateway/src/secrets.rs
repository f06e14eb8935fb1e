//! Secrets of functions: sealed at rest, opened for the functions that name them.

use std::time::{Duration, Instant};

use emberbox_catalog::Sealed;
use emberbox_runtime::Secrets;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::app::App;
use crate::errors::ApiError;
use crate::manifest::Manifest;

/// The longest value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 8 << 10;
/// What a sealed value begins with: the format of what follows, a nonce and a ciphertext with its
/// tag.
const FORMAT: u8 = 1;
/// The format once more, for the associated data.
const PURPOSE: &str = "emberbox-secret-v1";
/// How long secrets of a catalog that gateways share are believed without asking again. A secret
/// that is set on this gateway is seen by the next call; this bounds how long one that was set on
/// another is not.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// What opens and seals secrets.
pub(crate) struct Vault {
    key: [u8; 32],
}

/// Which secret a value is of. It is authenticated with the value, so that a row that was moved to
/// another organisation or another name does not open there.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) org_id: &'a str,
    pub(crate) name: &'a str,
}

/// Why a value was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("no random bytes for a nonce")]
    Random(#[source] getrandom::Error),
    #[error("the value cannot be sealed")]
    Seal,
    #[error("it was sealed under another key or for another secret, or it was altered")]
    Open,
}

impl Vault {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Vault { key }
    }

    /// Seals a value under a fresh random nonce. A key would have to seal billions of values before
    /// two nonces are likely to be the same.
    pub(crate) fn seal(&self, of: Of<'_>, value: &str) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let mut text = value.as_bytes().to_vec();
        let key = self.key().ok_or(SealError::Seal)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), of.aad(), &mut text)
            .or(Err(SealError::Seal))?;
        Ok(Sealed([&[FORMAT], &nonce[..], &text].concat()))
    }

    /// Opens what was sealed for the same secret.
    pub(crate) fn open(&self, of: Of<'_>, sealed: &Sealed) -> Result<String, SealError> {
        self.opened(of, &sealed.0).ok_or(SealError::Open)
    }

    fn opened(&self, of: Of<'_>, sealed: &[u8]) -> Option<String> {
        let (format, sealed) = sealed.split_first()?;
        let (nonce, sealed) = sealed.split_first_chunk()?;
        if *format != FORMAT {
            return None;
        }
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.key()?.open_in_place(nonce, of.aad(), &mut text).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    fn key(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.key).ok().map(LessSafeKey::new)
    }
}

impl Of<'_> {
    /// Every part with its length before it, so that no two secrets have the same.
    fn aad(self) -> Aad<Vec<u8>> {
        let parts = [PURPOSE, self.org_id, self.name].map(|part| {
            let length = (part.len() as u64).to_le_bytes();
            [&length[..], part.as_bytes()].concat()
        });
        Aad::from(parts.concat())
    }
}

/// Checks a value that is to be set.
pub(crate) fn check_value(value: &str) -> Result<(), &'static str> {
    match value.len() {
        0 => Err("must not be empty; to have no value, delete the secret"),
        1..=VALUE_BYTES_MAX if value.contains('\0') => Err("must not hold a zero byte"),
        1..=VALUE_BYTES_MAX => Ok(()),
        _ => Err("must have at most 8192 bytes"),
    }
}

/// The secrets that a function's manifest names, as it is to find them.
pub(crate) struct Granted {
    pub(crate) secrets: Secrets,
    /// Until when they need not be read again; `None` where every change is heard of.
    pub(crate) believed_until: Option<Instant>,
    /// Those that cannot be had. They may be set after the function, so this is no refusal.
    pub(crate) unset: Vec<String>,
}

/// Reads and opens what a manifest names.
pub(crate) async fn granted(
    app: &App,
    org_id: &str,
    manifest: &Manifest,
) -> Result<Granted, ApiError> {
    let is_shared = app.sqlite_catalog.is_none();
    let believed_until =
        (is_shared && !manifest.secrets.is_empty()).then(|| Instant::now() + BELIEVED_FOR);
    let opened = opened(app, org_id, manifest).await?;
    let unset = opened.iter().filter(|(_, value)| value.is_none());
    let unset = unset.map(|(name, _)| name.clone()).collect();
    Ok(Granted { secrets: opened.into_iter().collect(), believed_until, unset })
}

async fn opened(
    app: &App,
    org_id: &str,
    manifest: &Manifest,
) -> Result<Vec<(String, Option<String>)>, ApiError> {
    if manifest.secrets.is_empty() {
        return Ok(Vec::new());
    }
    let kept = app.catalog.secrets(org_id).await?;
    let open = |name: &String| {
        let secret = kept.iter().find(|secret| secret.name == *name)?;
        let opened = app.vault.open(Of { org_id, name }, &secret.sealed);
        // One that does not open must not keep its function, and all the others, from being called.
        opened
            .inspect_err(|error| tracing::error!(org_id, name, %error, "a secret does not open"))
            .ok()
    };
    Ok(manifest.secrets.iter().map(|name| (name.clone(), open(name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Of<'static> = Of { org_id: "org_1", name: "API_TOKEN" };

    #[test]
    fn a_value_opens_for_its_own_secret_only() {
        let vault = Vault::new([7; 32]);
        let sealed = vault.seal(OF, "hunter2 é").unwrap();
        assert_eq!(vault.open(OF, &sealed).unwrap(), "hunter2 é");
        for of in [
            Of { org_id: "org_2", ..OF },
            Of { name: "OTHER_TOKEN", ..OF },
            // The same letters, cut elsewhere.
            Of { org_id: "org_1A", name: "PI_TOKEN" },
            Of { org_id: "org_", name: "1API_TOKEN" },
            Of { org_id: "API_TOKEN", name: "org_1" },
        ] {
            assert!(vault.open(of, &sealed).is_err(), "{} {}", of.org_id, of.name);
        }
        assert!(Vault::new([8; 32]).open(OF, &sealed).is_err());
    }

    #[test]
    fn an_altered_value_does_not_open() {
        let vault = Vault::new([7; 32]);
        let Sealed(sealed) = vault.seal(OF, "hunter2").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(vault.open(OF, &Sealed(altered)).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(vault.open(OF, &Sealed(sealed[..length].to_vec())).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn no_two_sealed_values_are_alike() {
        let vault = Vault::new([7; 32]);
        let sealed = [vault.seal(OF, "hunter2").unwrap(), vault.seal(OF, "hunter2").unwrap()];
        let [one, other] = sealed.map(|sealed| sealed.0);
        let nonce = 1..1 + NONCE_LEN;
        assert_ne!(one[nonce.clone()], other[nonce]);
        // What a ciphertext of the same nonce would show.
        assert_ne!(one[1 + NONCE_LEN..], other[1 + NONCE_LEN..]);
        assert!(!one.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn values_are_bounded() {
        for (value, good) in [
            ("x", true),
            (&"x".repeat(VALUE_BYTES_MAX), true),
            ("two\nlines\n", true),
            ("", false),
            ("a\0", false),
            (&"x".repeat(VALUE_BYTES_MAX + 1), false),
            (&"é".repeat(VALUE_BYTES_MAX / 2 + 1), false),
        ] {
            assert_eq!(check_value(value).is_ok(), good, "{} bytes", value.len());
        }
    }
}
