use std::collections::BTreeMap;
use std::fmt;

use emberbox_kernels::q8_0;
use half::{bf16, f16};

use super::blob::Blob;
use crate::InferenceError;

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Storage {
    F32,
    F16,
    Bf16,
    /// GGUF blocks of 32 values.
    Q8_0,
}

impl Storage {
    /// Bytes of `values` values; `None` when they do not fill whole blocks, or overflow.
    pub(crate) fn bytes(self, values: u64) -> Option<u64> {
        match self {
            Self::F32 => values.checked_mul(4),
            Self::F16 | Self::Bf16 => values.checked_mul(2),
            Self::Q8_0 if values.is_multiple_of(q8_0::BLOCK as u64) => {
                (values / q8_0::BLOCK as u64).checked_mul(q8_0::BLOCK_BYTES as u64)
            }
            Self::Q8_0 => None,
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
        })
    }
}

/// A tensor in a file. The parser has checked that it lies inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Outermost dimension first.
    pub(crate) shape: Vec<u64>,
    pub(crate) storage: Storage,
    /// Which of the blobs.
    pub(crate) blob: usize,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A matrix as it is loaded.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// Row-major values.
    F32(Vec<f32>),
    /// GGUF blocks, row-major.
    Q8_0(Vec<u8>),
}

impl Matrix {
    /// The values, dequantised if need be.
    pub(crate) fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::Q8_0(blocks) => {
                let mut values = vec![0.0; blocks.len() / q8_0::BLOCK_BYTES * q8_0::BLOCK];
                q8_0::dequantise(&blocks, &mut values);
                values
            }
        }
    }
}

/// All tensors of a model.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) blobs: Vec<Blob>,
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Weights {
    /// Total number of values.
    pub(crate) fn parameters(&self) -> u64 {
        self.entries.values().map(|e| e.shape.iter().product::<u64>()).sum()
    }

    /// Total size.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.values().map(|e| e.bytes).sum()
    }

    /// The storage that most bytes are in.
    pub(crate) fn main_storage(&self) -> Storage {
        let mut sums = BTreeMap::new();
        for entry in self.entries.values() {
            *sums.entry(entry.storage).or_insert(0) += entry.bytes;
        }
        sums.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(Storage::F32, |(s, _)| s)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Checks that a tensor is there in this shape.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Result<&Entry, InferenceError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(self.bad(format!("tensor `{name}` is missing")));
        };
        if !entry.shape.iter().copied().eq(shape.iter().map(|d| *d as u64)) {
            let reason = format!(
                "tensor `{name}` has shape {:?}, but the configuration asks for {shape:?}",
                entry.shape
            );
            return Err(self.blobs[entry.blob].bad(reason));
        }
        Ok(entry)
    }

    /// Reads a tensor as f32, row-major.
    pub(crate) fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        Ok(self.matrix(name, shape)?.into_f32())
    }

    /// Reads a tensor; quantised values stay quantised.
    pub(crate) fn matrix(&self, name: &str, shape: &[usize]) -> Result<Matrix, InferenceError> {
        let entry = self.check(name, shape)?;
        let bytes = self.blobs[entry.blob].read(entry.offset, entry.bytes)?;
        Ok(match entry.storage {
            Storage::Q8_0 => Matrix::Q8_0(bytes),
            Storage::F32 => Matrix::F32(convert(&bytes, f32::from_le_bytes)),
            Storage::F16 => Matrix::F32(convert(&bytes, |b| f16::from_le_bytes(b).to_f32())),
            Storage::Bf16 => Matrix::F32(convert(&bytes, |b| bf16::from_le_bytes(b).to_f32())),
        })
    }

    /// An error about the model as a whole.
    pub(crate) fn bad(&self, reason: impl Into<String>) -> InferenceError {
        InferenceError::bad_model(self.blobs.first().map_or("", Blob::name), reason)
    }
}

fn convert<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}
