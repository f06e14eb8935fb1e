//! Writes GGUF files. Source: the GGUF specification, version 3.

use std::io::Write;

use super::quant::Storage;

/// Where tensors begin: at multiples of this.
const ALIGNMENT: u64 = 32;

/// A metadata value.
pub(crate) enum Field {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

/// A tensor's description.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Rows; 1 for a vector, which is written with one dimension.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) storage: Storage,
}

impl Tensor {
    pub(crate) fn bytes(&self) -> u64 {
        (self.rows * self.storage.row_bytes(self.columns)) as u64
    }
}

/// Writes everything before the tensors' data.
pub(crate) fn write_header(
    out: &mut impl Write,
    fields: &[(String, Field)],
    tensors: &[Tensor],
) -> std::io::Result<()> {
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((fields.len() as u64).to_le_bytes());
    for (key, field) in fields {
        text(&mut header, key);
        write_field(&mut header, field);
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut header, &tensor.name);
        let dims: &[usize] = match tensor.rows {
            1 => &[tensor.columns],
            rows => &[tensor.columns, rows],
        };
        header.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| header.extend((*dim as u64).to_le_bytes()));
        header.extend(tensor.storage.id().to_le_bytes());
        header.extend(u64::to_le_bytes(offset));
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&header)
}

/// Fills up to where the next tensor begins.
pub(crate) fn write_padding(out: &mut impl Write, tensor: &Tensor) -> std::io::Result<()> {
    let bytes = tensor.bytes();
    let padding = bytes.next_multiple_of(ALIGNMENT) - bytes;
    out.write_all(&[0; ALIGNMENT as usize][..padding as usize])
}

fn write_field(out: &mut Vec<u8>, field: &Field) {
    let mut kind = |number: u32| out.extend(number.to_le_bytes());
    match field {
        Field::U32(_) => kind(4),
        Field::F32(_) => kind(6),
        Field::Bool(_) => kind(7),
        Field::Text(_) => kind(8),
        Field::Texts(_) => [9, 8].into_iter().for_each(kind),
        Field::I32s(_) => [9, 5].into_iter().for_each(kind),
    }
    match field {
        Field::U32(value) => out.extend(value.to_le_bytes()),
        Field::F32(value) => out.extend(value.to_le_bytes()),
        Field::Bool(value) => out.push(u8::from(*value)),
        Field::Text(value) => text(out, value),
        Field::Texts(values) => {
            out.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| text(out, value));
        }
        Field::I32s(values) => {
            out.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
