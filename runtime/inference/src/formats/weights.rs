use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use emberbox_kernels::quant::Format;
use half::{bf16, f16};

use super::blob::Blob;
use crate::InferenceError;

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    F16,
    Bf16,
    /// One of GGUF's block formats.
    Blocks(Format),
}

impl Storage {
    /// Bytes of `values` values; `None` when they do not fill whole blocks, or overflow.
    pub(crate) fn bytes(self, values: u64) -> Option<u64> {
        let (block, bytes) = match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Blocks(format) => (format.block() as u64, format.block_bytes() as u64),
        };
        values.is_multiple_of(block).then_some(values / block)?.checked_mul(bytes)
    }

    /// Values as f32. `bytes` are whole blocks.
    pub(crate) fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => convert(bytes, f32::from_le_bytes),
            Self::F16 => convert(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => convert(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::Blocks(format) => {
                let mut values = vec![0.0; bytes.len() / format.block_bytes() * format.block()];
                format.dequantise(bytes, &mut values);
                values
            }
        }
    }

    /// Whether all values are numbers. In blocks only the scales can be anything else.
    fn finite(self, bytes: &[u8]) -> bool {
        // An f16 or bf16 that is no number has all bits of its exponent set.
        let f16 = |at: usize, bytes: &[u8]| bytes[at + 1] & 0x7C != 0x7C;
        match self {
            Self::F32 => bytes.as_chunks().0.iter().all(|b| f32::from_le_bytes(*b).is_finite()),
            Self::F16 => bytes.as_chunks::<2>().0.iter().all(|b| f16(0, b)),
            Self::Bf16 => {
                bytes.as_chunks().0.iter().all(|b| u16::from_le_bytes(*b) & 0x7F80 != 0x7F80)
            }
            Self::Blocks(format) => {
                let scales = scales_at(format);
                let mut blocks = bytes.chunks_exact(format.block_bytes());
                blocks.all(|block| scales.iter().all(|at| f16(*at, block)))
            }
        }
    }
}

/// Where a block's f16 scale and offset are.
fn scales_at(format: Format) -> &'static [usize] {
    match format {
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Q6K => &[208],
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Blocks(format) => format.name(),
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

/// All tensors of a model.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) blobs: Vec<Blob>,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// Some rows of a tensor, read a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Rows<'a> {
    name: String,
    blob: &'a Blob,
    storage: Storage,
    /// Of the first row, in the file.
    offset: u64,
    row_bytes: u64,
    rows: usize,
    columns: usize,
    /// Values of a head whose rotary pairs are neighbours in the file and half a head apart here.
    pairs: Option<usize>,
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
        let mut sums: Vec<(Storage, u64)> = Vec::new();
        for entry in self.entries.values() {
            match sums.iter_mut().find(|(storage, _)| *storage == entry.storage) {
                Some((_, sum)) => *sum += entry.bytes,
                None => sums.push((entry.storage, entry.bytes)),
            }
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

    /// Reads a tensor as f32, row-major; refuses values that are not numbers.
    pub(crate) fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        let all = self.rows(name, shape)?;
        all.values(0..all.rows)
    }

    /// A tensor as rows of its last dimension.
    pub(crate) fn rows(&self, name: &str, shape: &[usize]) -> Result<Rows<'_>, InferenceError> {
        let entry = self.check(name, shape)?;
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product();
        Ok(Rows {
            name: name.to_owned(),
            blob: &self.blobs[entry.blob],
            storage: entry.storage,
            offset: entry.offset,
            row_bytes: entry.bytes / (rows as u64).max(1),
            rows,
            columns,
            pairs: None,
        })
    }

    /// An error about the model as a whole.
    pub(crate) fn bad(&self, reason: impl Into<String>) -> InferenceError {
        InferenceError::bad_model(self.blobs.first().map_or("", Blob::name), reason)
    }
}

impl Rows<'_> {
    /// Some of the rows. They are inside.
    pub(crate) fn part(&self, rows: Range<usize>) -> Self {
        let offset = self.offset + rows.start as u64 * self.row_bytes;
        Self { offset, rows: rows.len(), ..self.clone() }
    }

    /// A vector as rows of one value. It is stored as plain numbers.
    pub(crate) fn upright(self) -> Result<Self, InferenceError> {
        if matches!(self.storage, Storage::Blocks(_)) {
            let reason = format!("tensor `{}` is a quantised vector", self.name);
            return Err(self.blob.bad(reason));
        }
        let row_bytes = self.row_bytes / (self.columns as u64).max(1);
        Ok(Self { rows: self.rows * self.columns, columns: 1, row_bytes, ..self })
    }

    /// Heads of `head_dims` rows leave the order of neighbouring rotary pairs when they are read.
    pub(crate) fn with_pairs(self, head_dims: usize) -> Self {
        Self { pairs: Some(head_dims), ..self }
    }

    pub(crate) fn storage(&self) -> Storage {
        self.storage
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes as usize
    }

    /// How many rows must be read together.
    pub(crate) fn unit(&self) -> usize {
        self.pairs.unwrap_or(1)
    }

    /// Reads rows as they are stored; refuses values that are not numbers.
    pub(crate) fn bytes(&self, rows: Range<usize>) -> Result<Vec<u8>, InferenceError> {
        let at = self.offset + rows.start as u64 * self.row_bytes;
        let bytes = self.blob.read(at, rows.len() as u64 * self.row_bytes)?;
        if !self.storage.finite(&bytes) {
            let reason = format!("tensor `{}` holds values that are not numbers", self.name);
            return Err(self.blob.bad(reason));
        }
        let Some(head) = self.pairs else { return Ok(bytes) };
        debug_assert!(rows.len().is_multiple_of(head), "whole heads");
        let width = self.row_bytes();
        let source = |row: usize| {
            let (first, i) = (row - row % head, row % head);
            first + if i < head / 2 { 2 * i } else { 2 * i + 1 - head }
        };
        Ok((0..rows.len())
            .flat_map(|row| &bytes[source(row) * width..][..width])
            .copied()
            .collect())
    }

    /// Reads rows as f32.
    pub(crate) fn values(&self, rows: Range<usize>) -> Result<Vec<f32>, InferenceError> {
        Ok(self.storage.values(&self.bytes(rows)?))
    }
}

fn convert<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}
