//! Keys of the prefix cache.
//!
//! A key is a keyed hash over the model, the payer and every token up to the block's end, so a
//! block can only be found by a prompt that starts with exactly those tokens, for the payer who
//! computed it: what a call costs and how long it takes tells nobody what others have asked.

use emberbox_kernels::attention::BLOCK_TOKENS;
use sha2::{Digest, Sha256};

use crate::models::kv::Key;

/// Makes keys that nobody outside this process can make.
pub(crate) struct Secret {
    /// Has taken the secret and the model's digest in.
    seed: Sha256,
}

impl Secret {
    /// A new secret for the model of this digest.
    pub(crate) fn new(digest: &str) -> Self {
        let secret: [u8; 32] = rand::random();
        Self { seed: Sha256::new().chain_update(secret).chain_update(digest) }
    }

    /// What a payer's chains begin with.
    pub(crate) fn root(&self, payer: &str) -> Key {
        let hash = self.seed.clone().chain_update([0]).chain_update(payer);
        key(hash)
    }

    /// Adds the keys of all full blocks of `tokens` that `chain` lacks, up to `blocks` of them.
    /// The chain begins with a root, so it is one longer than the keys of blocks.
    pub(crate) fn extend(&self, chain: &mut Vec<Key>, tokens: &[u32], blocks: usize) {
        let known = chain.len().saturating_sub(1);
        let more = tokens.chunks_exact(BLOCK_TOKENS).take(blocks).skip(known);
        for tokens in more {
            let Some(parent) = chain.last() else { return };
            let mut hash = self.seed.clone().chain_update([1]);
            hash.update(parent.0.to_le_bytes());
            tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
            chain.push(key(hash));
        }
    }
}

/// Half of the hash: of 2^64 blocks two would be confused.
fn key(hash: Sha256) -> Key {
    let hash = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    Key(u128::from_le_bytes(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(secret: &Secret, payer: &str, tokens: &[u32]) -> Vec<Key> {
        let mut chain = vec![secret.root(payer)];
        secret.extend(&mut chain, tokens, usize::MAX);
        chain
    }

    #[test]
    fn a_key_stands_for_all_before_it() {
        let secret = Secret::new("digest");
        let tokens: Vec<u32> = (0..100).collect();
        let whole = chain(&secret, "a", &tokens);
        assert_eq!(whole.len(), 4, "a root and three full blocks");
        // Extended in pieces it is the same.
        let mut pieces = vec![secret.root("a")];
        secret.extend(&mut pieces, &tokens[..40], 9);
        secret.extend(&mut pieces, &tokens, 2);
        assert_eq!(pieces, whole[..3]);
        let mut other = tokens.clone();
        other[31] += 1;
        let other = chain(&secret, "a", &other);
        assert!(other[1..].iter().all(|key| !whole.contains(key)));
        for (secret, payer) in [(&secret, "b"), (&Secret::new("digest"), "a")] {
            assert!(chain(secret, payer, &tokens).iter().all(|key| !whole.contains(key)));
        }
    }
}
