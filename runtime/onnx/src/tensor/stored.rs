//! Tensors as files have them.

use std::ops::Range;

use half::{bf16, f16};

use super::{Data, Kind, Tensor, Value, as_size, count};
use crate::error::Outcome;
use crate::proto;
use crate::source::{Later, Source};

/// `TensorProto.DataType`.
pub(crate) fn kind_of(data_type: i64) -> Outcome<Kind> {
    Ok(match data_type {
        1 => Kind::F32,
        2 => Kind::U8,
        3 => Kind::I8,
        4 => Kind::U16,
        5 => Kind::I16,
        6 => Kind::I32,
        7 => Kind::I64,
        8 => Kind::Text,
        9 => Kind::Bool,
        10 => Kind::F16,
        11 => Kind::F64,
        12 => Kind::U32,
        13 => Kind::U64,
        16 => Kind::Bf16,
        17 => Kind::F8E4M3Fn,
        18 => Kind::F8E4M3FnUz,
        19 => Kind::F8E5M2,
        20 => Kind::F8E5M2FnUz,
        21 => Kind::U4,
        22 => Kind::I4,
        23 => Kind::F4E2M1,
        24 => Kind::F8E8M0,
        25 => Kind::U2,
        26 => Kind::I2,
        other => return Err(format!("there is no type of elements {other}")),
    })
}

/// How many elements a byte holds.
fn packed(kind: Kind) -> usize {
    match kind {
        Kind::U4 | Kind::I4 | Kind::F4E2M1 => 2,
        Kind::U2 | Kind::I2 => 4,
        _ => 1,
    }
}

/// A tensor of a file.
pub(crate) enum Stored<'s> {
    Here(Tensor),
    Later(Later<'s>),
}

/// Reads a tensor whose bytes may have been left out of its message: large ones of f32 stay there.
pub(crate) fn read<'s>(
    stored: &proto::Tensor,
    source: &'s dyn Source,
    place: Option<&Range<u64>>,
) -> Outcome<Stored<'s>> {
    let Some(place) = place else { return here(stored).map(Stored::Here) };
    let (kind, shape) = described(stored)?;
    if kind == Kind::F32 {
        return Later::new(source, shape, place).map(Stored::Later);
    }
    let bytes = source.read(place.start, (place.end - place.start) as usize)?;
    here(&proto::Tensor { raw_data: bytes, ..stored.clone() }).map(Stored::Here)
}

fn described(stored: &proto::Tensor) -> Outcome<(Kind, Vec<usize>)> {
    let kind = kind_of(i64::from(stored.data_type))?;
    let shape = stored.dims.iter().copied().map(as_size).collect::<Outcome<Vec<usize>>>()?;
    match stored.data_location {
        1 => Err("its data is in another file".to_owned()),
        _ => Ok((kind, shape)),
    }
}

/// Reads a tensor; nothing is allocated that the file does not have.
pub(crate) fn here(stored: &proto::Tensor) -> Outcome<Tensor> {
    let (kind, shape) = described(stored)?;
    let elements = count(&shape)?;
    let data = match stored.raw_data.is_empty() {
        false => from_bytes(kind, &stored.raw_data, elements)?,
        true => from_fields(kind, stored, elements)?,
    };
    if data.len() != elements {
        return Err(format!("{} elements are there of the shape {shape:?}", data.len()));
    }
    Tensor::of_data(shape, data)
}

impl Tensor {
    /// From little-endian elements, as files and messages have them; booleans are bytes.
    ///
    /// # Errors
    /// Says where type, shape and bytes do not agree.
    pub fn from_bytes(kind: Kind, shape: Vec<usize>, bytes: &[u8]) -> Result<Self, String> {
        let elements = count(&shape)?;
        let expected = elements as u64 * kind.bytes();
        if kind == Kind::Text || packed(kind) > 1 || bytes.len() as u64 != expected {
            let there = bytes.len();
            return Err(format!("{there} bytes do not fill {shape:?} of {kind:?}"));
        }
        Self::of_data(shape, from_bytes(kind, bytes, elements)?)
    }

    /// Its elements, little-endian; nothing for texts.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        macro_rules! numbers {
            ($elements:expr) => {
                $elements.iter().flat_map(|x| x.to_le_bytes()).collect()
            };
        }
        Some(match self.data() {
            Data::F32(all) => numbers!(all),
            Data::F64(all) => numbers!(all),
            Data::F16(all) => numbers!(all),
            Data::Bf16(all) => numbers!(all),
            Data::I8(all) => numbers!(all),
            Data::I16(all) => numbers!(all),
            Data::I32(all) => numbers!(all),
            Data::I64(all) => numbers!(all),
            Data::U8(all) => all.to_vec(),
            Data::U16(all) => numbers!(all),
            Data::U32(all) => numbers!(all),
            Data::U64(all) => numbers!(all),
            Data::Bool(all) => all.iter().map(|x| u8::from(*x)).collect(),
            Data::Small(_, codes) => codes.to_vec(),
            Data::Text(_) => return None,
        })
    }
}

/// Reads a list.
pub(crate) fn sequence(stored: &proto::Sequence) -> Outcome<Value> {
    let tensors = stored.tensor_values.iter().map(|tensor| here(tensor).map(Value::Tensor));
    let values = tensors.chain(stored.sequence_values.iter().map(sequence));
    values.collect::<Outcome<Vec<Value>>>().map(Value::Sequence)
}

/// Reads what may not be there.
pub(crate) fn optional(stored: &proto::Optional) -> Outcome<Value> {
    let value = match (&stored.tensor_value, &stored.sequence_value) {
        (Some(tensor), _) => Some(Value::Tensor(here(tensor)?)),
        (None, Some(values)) => Some(sequence(values)?),
        (None, None) => None,
    };
    Ok(Value::Optional(value.map(Box::new)))
}

fn from_bytes(kind: Kind, bytes: &[u8], elements: usize) -> Outcome<Data> {
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            let (whole, rest) = bytes.as_chunks::<{ size_of::<$type>() }>();
            if !rest.is_empty() {
                return Err(format!("{} bytes are no whole elements", bytes.len()));
            }
            Data::$variant(
                whole.iter().map(|x| <$type>::from_le_bytes(*x)).collect::<Vec<_>>().into(),
            )
        }};
    }
    Ok(match kind {
        Kind::F32 => numbers!(F32, f32),
        Kind::F64 => numbers!(F64, f64),
        Kind::F16 => numbers!(F16, f16),
        Kind::Bf16 => numbers!(Bf16, bf16),
        Kind::I8 => numbers!(I8, i8),
        Kind::I16 => numbers!(I16, i16),
        Kind::I32 => numbers!(I32, i32),
        Kind::I64 => numbers!(I64, i64),
        Kind::U8 => numbers!(U8, u8),
        Kind::U16 => numbers!(U16, u16),
        Kind::U32 => numbers!(U32, u32),
        Kind::U64 => numbers!(U64, u64),
        Kind::Bool => Data::Bool(bytes.iter().map(|x| *x != 0).collect::<Vec<_>>().into()),
        Kind::Text => return Err("texts cannot be raw bytes".to_owned()),
        small => Data::Small(small, unpacked(small, bytes.iter().copied(), elements).into()),
    })
}

/// The first element stands in the lowest bits.
fn unpacked(kind: Kind, bytes: impl Iterator<Item = u8>, elements: usize) -> Vec<u8> {
    let each = packed(kind);
    let bits = 8 / each;
    let mask = u8::MAX >> (8 - bits);
    let codes = bytes.flat_map(|byte| (0..each).map(move |at| (byte >> (at * bits)) & mask));
    codes.take(elements).collect()
}

fn from_fields(kind: Kind, stored: &proto::Tensor, elements: usize) -> Outcome<Data> {
    let words = &stored.int32_data;
    macro_rules! words {
        ($variant:ident, $word:ident => $element:expr) => {
            Data::$variant(words.iter().map(|$word| $element).collect::<Vec<_>>().into())
        };
    }
    Ok(match kind {
        Kind::F32 => Data::F32(stored.float_data.clone().into()),
        Kind::F64 => Data::F64(stored.double_data.clone().into()),
        Kind::I64 => Data::I64(stored.int64_data.clone().into()),
        Kind::U64 => Data::U64(stored.uint64_data.clone().into()),
        Kind::U32 => {
            Data::U32(stored.uint64_data.iter().map(|x| *x as u32).collect::<Vec<_>>().into())
        }
        Kind::I32 => Data::I32(words.clone().into()),
        Kind::I16 => words!(I16, x => *x as i16),
        Kind::I8 => words!(I8, x => *x as i8),
        Kind::U16 => words!(U16, x => *x as u16),
        Kind::U8 => words!(U8, x => *x as u8),
        Kind::Bool => words!(Bool, x => *x != 0),
        Kind::F16 => words!(F16, x => f16::from_bits(*x as u16)),
        Kind::Bf16 => words!(Bf16, x => bf16::from_bits(*x as u16)),
        Kind::Text => {
            let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
            Data::Text(stored.string_data.iter().map(text).collect::<Vec<_>>().into())
        }
        small => {
            let bytes = words.iter().map(|word| *word as u8);
            Data::Small(small, unpacked(small, bytes, elements).into())
        }
    })
}
