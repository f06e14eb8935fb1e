//! Random weights in GGUF's block formats, and which format each matrix has.
//!
//! Source: ggml's block layouts, and the choices of llama.cpp's `llama-quantize`.

use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use super::Role;

/// A kind of file, as `llama-quantize` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum Quant {
    /// Every matrix in Q8_0.
    #[value(name = "Q8_0", alias = "q8_0")]
    Q8,
    /// Q4_0, and the output in Q6_K.
    #[value(name = "Q4_0", alias = "q4_0")]
    Q4,
    /// Q4_K, and in Q6_K what matters more.
    #[value(name = "Q4_K_M", alias = "q4_k_m")]
    Q4KM,
}

impl Quant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q8 => "Q8_0",
            Self::Q4 => "Q4_0",
            Self::Q4KM => "Q4_K_M",
        }
    }

    /// The number in `general.file_type`.
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::Q8 => 7,
            Self::Q4 => 2,
            Self::Q4KM => 15,
        }
    }

    /// What a matrix is stored in: with blocks of 256 values only where rows are so long.
    pub(crate) fn storage(self, role: Role, columns: usize) -> Storage {
        let more_bits = match role {
            Role::Embedding => true,
            Role::ValueOrDown { layer, layers } => {
                let eighth = layers / 8;
                self == Self::Q4KM
                    && (layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2)
            }
            Role::Other => false,
        };
        let whole = columns.is_multiple_of(256);
        match (self, more_bits) {
            (Self::Q8, _) => Storage::Q8_0,
            (_, true) if whole => Storage::Q6K,
            (_, true) => Storage::Q8_0,
            (Self::Q4, false) => Storage::Q4_0,
            (Self::Q4KM, false) if whole => Storage::Q4K,
            (Self::Q4KM, false) => Storage::Q5_0,
        }
    }
}

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    Q4_0,
    Q5_0,
    Q8_0,
    Q4K,
    Q6K,
}

impl Storage {
    /// The number of ggml's type.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Q4_0 => 2,
            Self::Q5_0 => 6,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q6K => 14,
        }
    }

    /// Values and bytes of a block.
    const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::Q4_0 => (32, 18),
            Self::Q5_0 => (32, 22),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a row.
    pub(crate) fn row_bytes(self, columns: usize) -> usize {
        let (values, bytes) = self.block();
        columns / values * bytes
    }

    /// Fills a row with random blocks, whose values have a mean of zero and about this standard
    /// deviation.
    pub(crate) fn fill(self, random: &mut ChaCha8Rng, deviation: f32, row: &mut [u8]) {
        random.fill_bytes(row);
        let (_, bytes) = self.block();
        for block in row.chunks_exact_mut(bytes) {
            // Scales are not all the same, or a kernel that mixes them up would not show.
            let scale = deviation * (0.75 + f32::from(block[0]) / 512.0);
            let signed = if block[1] & 1 == 0 { scale } else { -scale };
            match self {
                Self::F32 => block.copy_from_slice(&1f32.to_le_bytes()),
                Self::Q4_0 => put(block, 0, signed / 4.6),
                Self::Q5_0 => put(block, 0, signed / 9.2),
                Self::Q8_0 => {
                    put(block, 0, scale / 73.3);
                    // The quantiser never writes -128, and kernels rely on it.
                    block[2..].iter_mut().filter(|q| **q == 0x80).for_each(|q| *q = 0x81);
                }
                Self::Q4K => q4_k(block, scale / (4.6 * 48.0)),
                Self::Q6K => q6_k(block, signed / (18.5 * 96.0)),
            }
        }
    }
}

fn put(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Gives every sub-block a scale of 32 to 63 and the same number as its minimum, which
/// `dmin = 7.5 d` turns into the middle of its values.
fn q4_k(block: &mut [u8], d: f32) {
    put(block, 0, d);
    put(block, 2, 7.5 * d);
    for i in 4..8 {
        block[i] |= 0b1010_0000;
        block[i + 4] = block[i];
        block[i + 8] = (block[i + 8] & 15) * 17;
    }
}

/// Gives every sub-block a scale of 64 to 127, or as much below zero.
fn q6_k(block: &mut [u8], d: f32) {
    put(block, 208, d);
    for scale in &mut block[192..208] {
        let size = (*scale & 0x3F | 0x40) as i8;
        *scale = if *scale & 0x80 == 0 { size } else { -size } as u8;
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn check(quant: Quant, columns: usize, expect: [Storage; 3]) {
        let middle = Role::ValueOrDown { layer: 3, layers: 16 };
        let roles = [Role::Embedding, middle, Role::Other];
        assert_eq!(roles.map(|role| quant.storage(role, columns)), expect, "{quant:?} {columns}");
    }

    #[test]
    fn formats_are_those_that_llama_quantize_chooses() {
        use Storage::{Q4_0, Q4K, Q5_0, Q6K, Q8_0};
        check(Quant::Q8, 2_048, [Q8_0, Q8_0, Q8_0]);
        check(Quant::Q4, 2_048, [Q6K, Q4_0, Q4_0]);
        check(Quant::Q4, 576, [Q8_0, Q4_0, Q4_0]);
        check(Quant::Q4KM, 2_048, [Q6K, Q4K, Q4K]);
        check(Quant::Q4KM, 576, [Q8_0, Q5_0, Q5_0]);
        let more = (0..16).filter(|layer| {
            let role = Role::ValueOrDown { layer: *layer, layers: 16 };
            Quant::Q4KM.storage(role, 2_048) == Q6K
        });
        assert_eq!(more.collect::<Vec<_>>(), [0, 1, 4, 7, 10, 13, 14, 15]);
    }

    #[test]
    fn scales_of_k_blocks_are_what_their_comment_says() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut row = vec![0; Storage::Q4K.row_bytes(256)];
        Storage::Q4K.fill(&mut random, 1.0, &mut row);
        let q = &row[4..16];
        for j in 0..8 {
            let (scale, minimum) = if j < 4 {
                (q[j] & 63, q[j + 4] & 63)
            } else {
                ((q[j + 4] & 15) | (q[j - 4] >> 6 << 4), (q[j + 4] >> 4) | (q[j] >> 6 << 4))
            };
            assert!((32..64).contains(&scale) && scale == minimum, "{j}: {scale} {minimum}");
        }
        let mut row = vec![0; Storage::Q6K.row_bytes(256)];
        Storage::Q6K.fill(&mut random, 1.0, &mut row);
        let scales: Vec<i8> = row[192..208].iter().map(|scale| *scale as i8).collect();
        assert!(scales.iter().all(|s| s.unsigned_abs() >= 64), "{scales:?}");
        assert!(scales.iter().any(|s| *s < 0) && scales.iter().any(|s| *s > 0), "{scales:?}");
    }
}
