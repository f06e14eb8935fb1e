//! Source: the GGUF specification of the ggml project, versions 2 and 3, little-endian.

use std::collections::{BTreeMap, BTreeSet};

use emberbox_kernels::quant::Format;

use super::blob::Blob;
use super::weights::{Entry, Storage, Weights};
use crate::InferenceError;

const MAGIC: &[u8; 4] = b"GGUF";
/// Version 3 brought files of the other byte order, which nobody writes, and changed nothing else.
const VERSIONS: [u32; 2] = [2, 3];
/// Everything before the tensors' data. A vocabulary of 256 k tokens takes about 16 MiB.
const HEADER_BYTES_MAX: u64 = 64 << 20;
const KEYS_MAX: u64 = 1 << 16;
const TENSORS_MAX: u64 = 1 << 16;
const NAME_BYTES_MAX: u64 = 256;
const DIMS_MAX: u32 = 4;
const ALIGNMENT_MAX: u64 = 1 << 16;
/// Elements of all lists together; each takes 32 bytes here.
const ELEMENTS_MAX: u64 = 1 << 22;
const READ_BYTES: u64 = 1 << 20;

/// A metadata value. Numbers of every width are widened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Value>),
}

/// A parsed file: its metadata and where its tensors are.
#[derive(Debug)]
pub(crate) struct Gguf {
    pub(crate) metadata: Metadata,
    pub(crate) weights: Weights,
}

/// Key-value pairs with typed look-ups; an error names the file and the key.
#[derive(Debug)]
pub(crate) struct Metadata {
    file: String,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    pub(crate) fn bad(&self, key: &str, reason: impl std::fmt::Display) -> InferenceError {
        InferenceError::bad_model(&self.file, format!("`{key}`: {reason}"))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, InferenceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(key, "is not a string")),
        }
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<u64>, InferenceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => Ok(Some(*value)),
            Some(Value::Signed(value)) => {
                let value = u64::try_from(*value);
                value.map(Some).map_err(|error| self.bad(key, error))
            }
            Some(_) => Err(self.bad(key, "is not a whole number")),
        }
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, InferenceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(_) => Err(self.bad(key, "is not a finite number")),
        }
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, InferenceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.bad(key, "is not true or false")),
        }
    }

    pub(crate) fn array(&self, key: &str) -> Result<Option<&[Value]>, InferenceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.bad(key, "is not a list")),
        }
    }
}

/// Parses the header; no tensor is read.
pub(crate) fn parse(blob: Blob) -> Result<Gguf, InferenceError> {
    let mut reader = Reader { blob: &blob, buffer: Vec::new(), at: 0, elements: 0 };
    if reader.take(4)? != MAGIC {
        return Err(blob.bad("not a GGUF file: the first four bytes are not `GGUF`"));
    }
    let version = reader.u32()?;
    if !VERSIONS.contains(&version) {
        return Err(blob.bad(format!("GGUF version {version}; 2 and 3 are supported")));
    }
    let tensors = reader.bounded("tensor count", TENSORS_MAX)?;
    let keys = reader.bounded("key count", KEYS_MAX)?;
    let values = read_metadata(&mut reader, keys)?;
    let metadata = Metadata { file: blob.name().to_owned(), values };
    let alignment = metadata.count("general.alignment")?.unwrap_or(32);
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        return Err(metadata.bad("general.alignment", "is not a power of two up to 65536"));
    }
    let mut entries = BTreeMap::new();
    for _ in 0..tensors {
        let (name, entry) = read_entry(&mut reader, alignment)?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(blob.bad(format!("tensor `{name}` appears twice")));
        }
    }
    let data = (reader.at as u64).next_multiple_of(alignment);
    place(&blob, &mut entries, data)?;
    Ok(Gguf { metadata, weights: Weights { blobs: vec![blob], entries } })
}

fn read_metadata(
    reader: &mut Reader<'_>,
    keys: u64,
) -> Result<BTreeMap<String, Value>, InferenceError> {
    let mut values = BTreeMap::new();
    for _ in 0..keys {
        let key = reader.name("a key")?;
        let kind = reader.u32()?;
        let value = match kind {
            ARRAY => reader.array(&key)?,
            kind => reader.scalar(kind, &key)?,
        };
        if values.insert(key.clone(), value).is_some() {
            return Err(reader.blob.bad(format!("key `{key}` appears twice")));
        }
    }
    Ok(values)
}

/// One tensor's description, its offset still relative to the data.
fn read_entry(reader: &mut Reader<'_>, alignment: u64) -> Result<(String, Entry), InferenceError> {
    let blob = reader.blob;
    let name = reader.name("a tensor's name")?;
    let bad = |reason: String| blob.bad(format!("tensor `{name}`: {reason}"));
    let dims = reader.u32()?;
    if dims == 0 || dims > DIMS_MAX {
        return Err(bad(format!("has {dims} dimensions, not 1 to {DIMS_MAX}")));
    }
    let mut shape = Vec::with_capacity(dims as usize);
    for _ in 0..dims {
        shape.push(reader.u64()?);
    }
    let storage = storage(reader.u32()?).map_err(|kind| {
        bad(format!("is of type {kind}, which is not supported (F32, F16, BF16, Q4_0 to Q6_K are)"))
    })?;
    let offset = reader.u64()?;
    if !offset.is_multiple_of(alignment) {
        return Err(bad(format!("offset {offset} is not a multiple of {alignment}")));
    }
    let values = shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
    let Some(values) = values.filter(|values| *values > 0) else {
        return Err(bad(format!("dimensions {shape:?} are empty or overflow")));
    };
    // A row must be whole blocks, not only the tensor.
    let row = storage.bytes(shape[0]);
    let (Some(_), Some(bytes)) = (row, storage.bytes(values)) else {
        return Err(bad(format!("dimensions {shape:?} do not fit {storage}")));
    };
    shape.reverse();
    Ok((name, Entry { shape, storage, blob: 0, offset, bytes }))
}

/// Makes offsets absolute, and checks that tensors lie in the file and apart.
fn place(
    blob: &Blob,
    entries: &mut BTreeMap<String, Entry>,
    data: u64,
) -> Result<(), InferenceError> {
    let mut spans = BTreeSet::new();
    for (name, entry) in entries.iter_mut() {
        let offset = data.checked_add(entry.offset);
        let end = offset.and_then(|offset| offset.checked_add(entry.bytes));
        let (Some(offset), Some(end)) = (offset, end.filter(|end| *end <= blob.len())) else {
            let reason = format!("tensor `{name}`: its data is outside the file (cut short?)");
            return Err(blob.bad(reason));
        };
        entry.offset = offset;
        spans.insert((offset, end, name.as_str()));
    }
    let mut previous = (0, "");
    for (start, end, name) in spans {
        if start < previous.0 {
            return Err(blob.bad(format!("tensors `{}` and `{name}` overlap", previous.1)));
        }
        previous = (end, name);
    }
    Ok(())
}

/// The type of a tensor, or the name of one that is not supported.
fn storage(id: u32) -> Result<Storage, String> {
    let name = match id {
        0 => return Ok(Storage::F32),
        1 => return Ok(Storage::F16),
        30 => return Ok(Storage::Bf16),
        2 => return Ok(Storage::Blocks(Format::Q4_0)),
        3 => return Ok(Storage::Blocks(Format::Q4_1)),
        6 => return Ok(Storage::Blocks(Format::Q5_0)),
        7 => return Ok(Storage::Blocks(Format::Q5_1)),
        8 => return Ok(Storage::Blocks(Format::Q8_0)),
        10 => return Ok(Storage::Blocks(Format::Q2K)),
        11 => return Ok(Storage::Blocks(Format::Q3K)),
        12 => return Ok(Storage::Blocks(Format::Q4K)),
        13 => return Ok(Storage::Blocks(Format::Q5K)),
        14 => return Ok(Storage::Blocks(Format::Q6K)),
        9 => "Q8_1",
        15 => "Q8_K",
        16..=23 | 29 => "IQ (importance quantised)",
        24..=28 => "an integer or F64",
        34 | 35 => "TQ (ternary)",
        39 => "MXFP4",
        other => return Err(format!("number {other}")),
    };
    Err(name.to_owned())
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Reads the header from the front, a piece at a time.
struct Reader<'a> {
    blob: &'a Blob,
    buffer: Vec<u8>,
    at: usize,
    elements: u64,
}

impl Reader<'_> {
    fn take(&mut self, len: u64) -> Result<&[u8], InferenceError> {
        let end = self.at as u64 + len.min(HEADER_BYTES_MAX + 1);
        if end > HEADER_BYTES_MAX {
            return Err(self
                .blob
                .bad(format!("the header is larger than {HEADER_BYTES_MAX} bytes")));
        }
        let have = self.buffer.len() as u64;
        if end > have {
            let rest = self.blob.len().saturating_sub(have);
            let more = (end - have).max(READ_BYTES.min(rest));
            self.buffer.extend(self.blob.read(have, more)?);
        }
        let start = self.at;
        self.at = end as usize;
        Ok(&self.buffer[start..self.at])
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], InferenceError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, InferenceError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, InferenceError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bounded(&mut self, what: &str, max: u64) -> Result<u64, InferenceError> {
        let value = self.u64()?;
        if value > max {
            return Err(self.blob.bad(format!("{what} is {value}, more than {max}")));
        }
        Ok(value)
    }

    fn name(&mut self, what: &str) -> Result<String, InferenceError> {
        let len = self.bounded(what, NAME_BYTES_MAX)?;
        self.utf8(len, what)
    }

    fn utf8(&mut self, len: u64, what: &str) -> Result<String, InferenceError> {
        let bytes = self.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|error| self.blob.bad(format!("{what}: {error}")))
    }

    fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, InferenceError> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.bytes::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => match self.bytes::<1>()?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(self.blob.bad(format!("`{key}`: {other} is not a bool"))),
            },
            STRING => {
                let len = self.u64()?;
                Value::Text(self.utf8(len, key)?)
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(self.blob.bad(format!("`{key}`: no value type {other}"))),
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, InferenceError> {
        let kind = self.u32()?;
        let count = self.u64()?;
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return Err(self.blob.bad(format!("`{key}`: {count} elements are too many")));
        }
        // A list grows only with what was read.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.scalar(kind, key)?);
        }
        Ok(Value::Array(values))
    }
}

#[cfg(test)]
pub(crate) mod tests;
