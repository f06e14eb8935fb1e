//! Sixteen rows of weights, interleaved so that one vector holds the same columns of all rows.
//!
//! A panel is a sequence of spans, each the columns of one block of the format: 16 scales (f16),
//! 16 offsets if the format has any, then for every 32 columns the groups' scales and offsets
//! (signed bytes, 16 of each group), and the codes. Codes are split into planes as in the file; a
//! plane of `b` bits has `b` vectors of 64 bytes. Four columns are a quad: a vector has the
//! four bytes of a quad of row 0, then of row 1 and so on, and in each byte the bits of `8 / b`
//! consecutive quads, the first lowest. A format takes no more bytes than in its file, but that
//! 6-bit scales are whole bytes, so that they need no arithmetic.

use crate::quant::{Parts, Plane, Scheme, Steps, half_at};

/// Rows of weights that are computed together.
pub(crate) const PANEL: usize = 16;
/// Columns that share one scale of the activations.
pub(crate) const COLUMNS: usize = 32;
/// Bytes of a vector of codes.
pub(crate) const VECTOR: usize = 4 * PANEL;
/// Quads of columns in a block of 32.
pub(crate) const QUADS: usize = COLUMNS / 4;

const HALVES: usize = 2 * PANEL;

pub(crate) const fn header_bytes(scheme: &Scheme) -> usize {
    if scheme.offset_at.is_some() { 2 * HALVES } else { HALVES }
}

pub(crate) const fn steps_bytes(scheme: &Scheme) -> usize {
    let groups = COLUMNS / scheme.group * PANEL;
    match (scheme.steps, scheme.offset_at) {
        (Steps::One, _) => 0,
        (_, None) => groups,
        (_, Some(_)) => 2 * groups,
    }
}

const fn plane_bytes(plane: Option<Plane>) -> usize {
    match plane {
        Some(plane) => plane.bits as usize * VECTOR,
        None => 0,
    }
}

pub(crate) const fn block_bytes(scheme: &Scheme) -> usize {
    steps_bytes(scheme) + plane_bytes(Some(scheme.low)) + plane_bytes(scheme.high)
}

pub(crate) const fn span_bytes(scheme: &Scheme) -> usize {
    header_bytes(scheme) + scheme.block / COLUMNS * block_bytes(scheme)
}

/// Bytes of a panel.
pub(crate) const fn bytes(scheme: &Scheme, columns: usize) -> usize {
    columns / scheme.block * span_bytes(scheme)
}

/// Packs up to 16 rows of a file's blocks, each of `row_bytes`.
#[inline(always)]
pub(crate) fn pack(scheme: &Scheme, rows: &[u8], row_bytes: usize, packed: &mut [u8]) {
    packed.fill(0);
    let mut parts = Parts::default();
    for (s, span) in packed.chunks_exact_mut(span_bytes(scheme)).enumerate() {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            parts.read(scheme, &row[s * scheme.bytes..][..scheme.bytes]);
            pack_lane(scheme, &parts, lane, span);
        }
    }
}

#[inline(always)]
fn pack_lane(scheme: &Scheme, parts: &Parts, lane: usize, span: &mut [u8]) {
    let (header, blocks) = span.split_at_mut(header_bytes(scheme));
    header[2 * lane..][..2].copy_from_slice(&parts.scale.to_le_bytes());
    if scheme.offset_at.is_some() {
        header[HALVES + 2 * lane..][..2].copy_from_slice(&parts.offset.to_le_bytes());
    }
    let groups = COLUMNS / scheme.group;
    for (b, block) in blocks.chunks_exact_mut(block_bytes(scheme)).enumerate() {
        let (steps, codes) = block.split_at_mut(steps_bytes(scheme));
        for (i, steps) in steps.chunks_exact_mut(PANEL).enumerate() {
            let from = if i < groups { &parts.scales } else { &parts.offsets };
            steps[lane] = from[b * groups + i % groups].cast_unsigned();
        }
        let (low, high) = codes.split_at_mut(plane_bytes(Some(scheme.low)));
        for (quad, codes) in
            parts.codes[b * COLUMNS..][..COLUMNS].as_chunks::<4>().0.iter().enumerate()
        {
            let codes = u32::from_le_bytes(*codes);
            put(scheme.low.bits, codes, (quad, lane), low);
            if let Some(plane) = scheme.high {
                put(plane.bits, codes >> scheme.low.bits, (quad, lane), high);
            }
        }
    }
}

/// A mask of the `bits` lowest of four bytes.
#[inline(always)]
fn lowest(bits: u32) -> u32 {
    u32::MAX / 255 * ((1 << bits) - 1)
}

/// Where a quad is in a plane: its vector, and how far up its bits are.
#[inline(always)]
fn place(bits: u32, quad: usize) -> (usize, u32) {
    let per_byte = 8 / bits as usize;
    (quad / per_byte, (quad % per_byte) as u32 * bits)
}

#[inline(always)]
fn put(bits: u32, codes: u32, (quad, lane): (usize, usize), plane: &mut [u8]) {
    let (vector, up) = place(bits, quad);
    let slot = &mut plane.as_chunks_mut::<4>().0[vector * PANEL + lane];
    *slot = (u32::from_le_bytes(*slot) | (codes & lowest(bits)) << up).to_le_bytes();
}

fn get(bits: u32, (quad, lane): (usize, usize), plane: &[u8]) -> u32 {
    let (vector, up) = place(bits, quad);
    u32::from_le_bytes(plane.as_chunks::<4>().0[vector * PANEL + lane]) >> up & lowest(bits)
}

/// The block that row `lane` of a panel has as its `span`th.
pub(crate) fn unpack(
    scheme: &Scheme,
    panel: &[u8],
    (span, lane): (usize, usize),
    parts: &mut Parts,
) {
    let span = &panel[span * span_bytes(scheme)..][..span_bytes(scheme)];
    let (header, blocks) = span.split_at(header_bytes(scheme));
    parts.scale = half_at(header, 2 * lane);
    if scheme.offset_at.is_some() {
        parts.offset = half_at(header, HALVES + 2 * lane);
    }
    let groups = COLUMNS / scheme.group;
    for (b, block) in blocks.chunks_exact(block_bytes(scheme)).enumerate() {
        let (steps, codes) = block.split_at(steps_bytes(scheme));
        for (i, steps) in steps.chunks_exact(PANEL).enumerate() {
            let to = if i < groups { &mut parts.scales } else { &mut parts.offsets };
            to[b * groups + i % groups] = steps[lane].cast_signed();
        }
        unpack_codes(scheme, codes, lane, &mut parts.codes[b * COLUMNS..][..COLUMNS]);
    }
}

/// 32 codes of row `lane`.
pub(crate) fn unpack_codes(scheme: &Scheme, planes: &[u8], lane: usize, codes: &mut [u8]) {
    let (low, high) = planes.split_at(plane_bytes(Some(scheme.low)));
    for (quad, codes) in codes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let above = scheme.high.map_or(0, |plane| get(plane.bits, (quad, lane), high));
        let code = get(scheme.low.bits, (quad, lane), low) | above << scheme.low.bits;
        *codes = code.to_le_bytes();
    }
}
