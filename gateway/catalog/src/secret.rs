use sha2::{Digest, Sha256};

use crate::{CatalogError, KeyHash, Secret};

/// Every key starts with this, so that leaked ones can be found by a scanner.
const PREFIX: &str = "eb_";
/// 62^43 is the first power of 62 above 2^256.
const BASE62_CHARS: usize = 43;
/// What is kept in clear, so that a person recognises the key in a list.
const SHOWN_CHARS: usize = 10;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes a new key from 256 random bits.
pub(crate) fn generate() -> Result<Secret, CatalogError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(CatalogError::Random)?;
    Ok(Secret::new(format!("{PREFIX}{}", base62(bytes))))
}

/// The part of a key that lists may show.
pub(crate) fn shown_prefix(secret: &Secret) -> String {
    secret.reveal().chars().take(SHOWN_CHARS).collect()
}

impl KeyHash {
    /// The hash of a key as a client presents it; `None` when it cannot be a key at all.
    ///
    /// A plain hash is enough: the key holds 256 random bits, so there is nothing to guess, and
    /// looking a hash up tells a clock nothing about the key.
    pub fn of(presented: &str) -> Option<KeyHash> {
        let right_length = presented.len() == PREFIX.len() + BASE62_CHARS;
        if !right_length || !presented.starts_with(PREFIX) {
            return None;
        }
        Some(KeyHash(Sha256::digest(presented.as_bytes()).into()))
    }
}

/// Writes a 256-bit number in base 62 with a fixed width, most significant digit first.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = [b'0'; BASE62_CHARS];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_has_a_fixed_width_and_loses_nothing() {
        let mut one = [0; 32];
        one[31] = 1;
        let mut sixty_two = [0; 32];
        sixty_two[31] = 62;
        assert_eq!(base62([0; 32]), "0".repeat(43));
        assert_eq!(base62(one), format!("{}1", "0".repeat(42)));
        assert_eq!(base62(sixty_two), format!("{}10", "0".repeat(41)));
        // The largest number fits: its digits, read back, are all ones again.
        let text = base62([255; 32]);
        let mut back = [0_u8; 32];
        for c in text.bytes() {
            let mut carry = ALPHABET.iter().position(|&a| a == c).unwrap() as u32;
            for byte in back.iter_mut().rev() {
                let value = u32::from(*byte) * 62 + carry;
                *byte = value as u8;
                carry = value >> 8;
            }
            assert_eq!(carry, 0);
        }
        assert_eq!(back, [255; 32]);
    }

    #[test]
    fn two_keys_differ_and_only_keys_are_hashed() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(a.reveal().len(), 46);
        assert!(KeyHash::of(a.reveal()).is_some());
        assert_ne!(KeyHash::of(a.reveal()), KeyHash::of(b.reveal()));
        for wrong in ["", "eb_", "sk-123", &a.reveal()[1..], &"x".repeat(10_000)] {
            assert_eq!(KeyHash::of(wrong), None);
        }
        assert!(!format!("{a:?}").contains(a.reveal()));
    }
}
