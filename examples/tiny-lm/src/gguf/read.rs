//! Reads back the files that this program writes; it is no general reader.

use super::{ALIGNMENT, MAGIC, TENSOR_F32, TENSOR_Q8_0, VERSION, Value};
use crate::tokenizer::Tokenizer;
use crate::weights::{BLOCK, BLOCK_BYTES, Matrix, Weights, dequantize, layout};
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;

/// Bytes not yet read.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).context("the file ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize> {
        Ok(usize::try_from(u64::from_le_bytes(self.array()?))?)
    }

    fn text(&mut self) -> Result<String> {
        let size = self.size()?;
        Ok(String::from_utf8(self.take(size)?.to_vec())?)
    }

    fn value(&mut self) -> Result<Value> {
        Ok(match self.u32()? {
            4 => Value::U32(self.u32()?),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.take(1)?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => {
                let (kind, count) = (self.u32()?, self.size()?);
                match kind {
                    8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_>>()?),
                    5 => {
                        let number = |_| Ok(i32::from_le_bytes(self.array()?));
                        Value::I32s((0..count).map(number).collect::<Result<_>>()?)
                    }
                    other => bail!("arrays of type {other} are not written by this program"),
                }
            }
            other => bail!("values of type {other} are not written by this program"),
        })
    }
}

fn texts(metadata: &HashMap<String, Value>, key: &str) -> Result<Vec<String>> {
    match metadata.get(key) {
        Some(Value::Texts(texts)) => Ok(texts.clone()),
        _ => bail!("the file lacks {key}"),
    }
}

fn tokenizer(metadata: &HashMap<String, Value>) -> Result<Tokenizer> {
    let merges = texts(metadata, "tokenizer.ggml.merges")?;
    let merges = merges.iter().map(|merge| {
        let (a, b) = merge.split_once(' ').context("a merge is not a pair")?;
        Ok((a.to_owned(), b.to_owned()))
    });
    Tokenizer::from_parts(texts(metadata, "tokenizer.ggml.tokens")?, merges.collect::<Result<_>>()?)
}

/// One tensor's place in the file.
struct Entry {
    name: String,
    dims: Vec<usize>,
    kind: u32,
    offset: usize,
}

fn entry(cursor: &mut Cursor<'_>) -> Result<Entry> {
    let name = cursor.text()?;
    let dims = (0..cursor.u32()?).map(|_| cursor.size()).collect::<Result<_>>()?;
    Ok(Entry { name, dims, kind: cursor.u32()?, offset: cursor.size()? })
}

fn matrix(entry: &Entry, expected: (String, usize, usize), blob: &[u8]) -> Result<Matrix> {
    let (name, rows, columns) = expected;
    ensure!(entry.name == name, "expected {name}, found {}", entry.name);
    ensure!(entry.dims.iter().product::<usize>() == rows * columns, "{name} has another size");
    let start = blob.get(entry.offset..).context("the file ends early")?;
    let count = rows * columns;
    let take = |bytes: usize| start.get(..bytes).context("the file ends early");
    let values = match entry.kind {
        TENSOR_F32 => take(count * 4)?
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect(),
        TENSOR_Q8_0 => dequantize(take(count / BLOCK * BLOCK_BYTES)?),
        other => bail!("{name} has type {other}"),
    };
    Ok(Matrix { name, rows, columns, values })
}

/// Weights (dequantised) and tokenizer of a file that this program wrote.
///
/// # Errors
/// Fails when the bytes are anything else.
pub(crate) fn read(bytes: &[u8]) -> Result<(Weights, Tokenizer)> {
    let mut cursor = Cursor { rest: bytes };
    ensure!(cursor.take(4)? == MAGIC, "not a GGUF file");
    ensure!(cursor.u32()? == VERSION, "not version {VERSION}");
    let (tensors, keys) = (cursor.size()?, cursor.size()?);
    let mut metadata = HashMap::new();
    for _ in 0..keys {
        metadata.insert(cursor.text()?, cursor.value()?);
    }
    let layout = layout();
    ensure!(tensors == layout.len(), "{tensors} tensors instead of {}", layout.len());
    let entries = (0..tensors).map(|_| entry(&mut cursor)).collect::<Result<Vec<_>>>()?;
    let start = (bytes.len() - cursor.rest.len()).next_multiple_of(ALIGNMENT);
    let blob = bytes.get(start..).context("the file ends early")?;
    let matrices =
        entries.iter().zip(layout).map(|(entry, expected)| matrix(entry, expected, blob));
    Ok((Weights { matrices: matrices.collect::<Result<_>>()? }, tokenizer(&metadata)?))
}
