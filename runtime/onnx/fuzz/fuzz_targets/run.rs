//! Any bytes as a model's file with values for its inputs behind it: refused, or run within bounds.
#![no_main]

use std::collections::HashMap;

use emberbox_onnx::{Bounds, Kind, Model, Spec, Value, read_value};

/// What a run may take.
const BOUNDS: Bounds<'static> =
    Bounds { nodes: 2000, operations: 1 << 20, bytes: 1 << 18, stop: None };
/// Largest size of a dimension that the graph leaves open.
const SIZE_MAX: usize = 8;
/// Most elements of an input.
const ELEMENTS_MAX: usize = 1 << 12;

/// The next piece, of which two bytes say how long it is; the last one is all that is left.
fn piece<'d>(rest: &mut &'d [u8]) -> &'d [u8] {
    let Some((length, behind)) = rest.split_first_chunk() else { return std::mem::take(rest) };
    let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
    let (piece, behind) = behind.split_at(length);
    *rest = behind;
    piece
}

/// The number of a type in files, and the bytes of an element.
fn stored(kind: Kind) -> Option<(u8, usize)> {
    Some(match kind {
        Kind::F32 => (1, 4),
        Kind::U8 => (2, 1),
        Kind::I8 => (3, 1),
        Kind::I32 => (6, 4),
        Kind::I64 => (7, 8),
        Kind::Bool => (9, 1),
        Kind::F16 => (10, 2),
        Kind::F64 => (11, 8),
        _ => return None,
    })
}

/// A value as its own bytes say, or a tensor as the graph wants it, with these bytes again and again.
fn value(spec: &Spec, piece: &[u8]) -> Option<Value> {
    if let Ok(value) = read_value(piece, spec.form) {
        return Some(value);
    }
    let mut bytes = piece.iter().copied().cycle();
    let mut open = || usize::from(bytes.next().unwrap_or(1)) % (SIZE_MAX + 1);
    let sizes = spec.shape.iter().flatten().map(|size| size.unwrap_or_else(&mut open));
    let shape: Vec<usize> = sizes.collect();
    let elements = shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size))?;
    let (code, each) = stored(spec.kind?)?;
    if elements > ELEMENTS_MAX {
        return None;
    }
    // A `TensorProto`: sizes, type, bytes.
    let mut file = Vec::new();
    for size in shape {
        file.push(0x08);
        varint(size, &mut file);
    }
    file.extend([0x10, code, 0x4a]);
    varint(elements * each, &mut file);
    file.extend(bytes.chain(std::iter::repeat(0)).take(elements * each));
    read_value(&file, spec.form).ok()
}

/// A number of seven bits in each byte.
fn varint(number: usize, file: &mut Vec<u8>) {
    let mut left = number;
    while left >= 0x80 {
        file.push((left % 0x80) as u8 | 0x80);
        left /= 0x80;
    }
    file.push(left as u8);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let Ok(model) = Model::read(piece(&mut rest)) else { return };
    let mut given = HashMap::new();
    for spec in model.inputs() {
        if let Some(value) = value(spec, piece(&mut rest)) {
            given.insert(spec.name.clone(), value);
        }
    }
    let cost = model.cost(&given);
    if let Ok((_, operations)) = model.run(given, &BOUNDS) {
        assert!(!cost.exact || operations <= cost.operations, "{operations} of {cost:?}");
    }
});
