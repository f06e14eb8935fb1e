//! GGUF files as they are written, or as nobody should write them.

use emberbox_kernels::quant::Format;
use half::{bf16, f16};

use crate::formats::weights::Storage;

/// A GGUF value.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

impl Field {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
        let list = |out: &mut Vec<u8>, kind: u32, len: usize| {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::U32(v) => {
                kind(out, 4);
                out.extend(v.to_le_bytes());
            }
            Self::F32(v) => {
                kind(out, 6);
                out.extend(v.to_le_bytes());
            }
            Self::Bool(v) => {
                kind(out, 7);
                out.push(u8::from(*v));
            }
            Self::Text(v) => {
                kind(out, 8);
                write_text(out, v);
            }
            Self::Texts(v) => {
                list(out, 8, v.len());
                v.iter().for_each(|v| write_text(out, v));
            }
            Self::I32s(v) => {
                list(out, 5, v.len());
                v.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
            Self::F32s(v) => {
                list(out, 6, v.len());
                v.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A GGUF tensor: name, dimensions innermost first, type number, offset, bytes.
#[derive(Clone, Debug)]
pub(crate) struct RawTensor {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A GGUF file under construction; every part may be changed to something wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct GgufFile {
    pub(crate) fields: Vec<(String, Field)>,
    pub(crate) tensors: Vec<RawTensor>,
}

impl GgufFile {
    pub(crate) fn set(&mut self, key: &str, field: Field) {
        self.fields.retain(|(k, _)| k != key);
        self.fields.push((key.to_owned(), field));
    }

    /// Adds a matrix, `shape` outermost first, as F32 or Q8_0.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32], quantise: bool) {
        let storage = if quantise { Storage::Blocks(Format::Q8_0) } else { Storage::F32 };
        self.tensor_as(name, shape, values, storage);
    }

    /// Adds a tensor in any type.
    pub(crate) fn tensor_as(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
        storage: Storage,
    ) {
        let bytes = match storage {
            Storage::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Storage::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Storage::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            Storage::Blocks(format) => format.quantise(values),
        };
        self.stored(name, shape, storage, bytes);
    }

    /// Adds a tensor's bytes as they are.
    pub(crate) fn stored(&mut self, name: &str, shape: &[usize], storage: Storage, bytes: Vec<u8>) {
        let kind = match storage {
            Storage::F32 => 0,
            Storage::F16 => 1,
            Storage::Bf16 => 30,
            Storage::Blocks(Format::Q4_0) => 2,
            Storage::Blocks(Format::Q4_1) => 3,
            Storage::Blocks(Format::Q5_0) => 6,
            Storage::Blocks(Format::Q5_1) => 7,
            Storage::Blocks(Format::Q8_0) => 8,
            Storage::Blocks(Format::Q2K) => 10,
            Storage::Blocks(Format::Q3K) => 11,
            Storage::Blocks(Format::Q4K) => 12,
            Storage::Blocks(Format::Q5K) => 13,
            Storage::Blocks(Format::Q6K) => 14,
        };
        let last = self.tensors.last();
        let offset = last.map_or(0, |t| (t.offset + t.bytes.len() as u64).next_multiple_of(32));
        let dims = shape.iter().rev().map(|d| *d as u64).collect();
        self.tensors.push(RawTensor { name: name.to_owned(), dims, kind, offset, bytes });
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.fields.len() as u64).to_le_bytes());
        for (key, field) in &self.fields {
            write_text(&mut out, key);
            field.write(&mut out);
        }
        for tensor in &self.tensors {
            write_text(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        let data = out.len();
        for tensor in &self.tensors {
            let end = data + tensor.offset as usize + tensor.bytes.len();
            if tensor.offset < 1 << 24 && out.len() < end {
                out.resize(end, 0);
                out[end - tensor.bytes.len()..].copy_from_slice(&tensor.bytes);
            }
        }
        out
    }
}
