use super::activations::{Tile, Values};
use super::panel::{self, COLUMNS, PANEL};
use crate::quant::{Parts, Scheme};

/// The definition of a panel's product, value by value.
pub(super) fn tile<const M: usize>(
    scheme: &Scheme,
    panel: &[u8],
    x: &Tile<'_>,
    sums: &mut [[f32; PANEL]; M],
) {
    let mut parts = Parts::default();
    let blocks = scheme.block / COLUMNS;
    let spans = panel.len() / panel::span_bytes(scheme);
    for (span, lane) in (0..spans).flat_map(|s| (0..PANEL).map(move |lane| (s, lane))) {
        panel::unpack(scheme, panel, (span, lane), &mut parts);
        for b in 0..blocks {
            let (blocks, values) = x.at::<M>(span * blocks + b);
            for (m, sums) in sums.iter_mut().enumerate() {
                let values = bytes(&values[m]);
                add_block(scheme, &parts, b, (&values, blocks[m].scale), &mut sums[lane]);
            }
        }
    }
}

fn bytes(values: &Values) -> [i8; COLUMNS] {
    let mut bytes = [0; COLUMNS];
    for (bytes, quad) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *bytes = quad.to_le_bytes().map(u8::cast_signed);
    }
    bytes
}

/// Adds the product of 32 columns, group by group.
fn add_block(scheme: &Scheme, parts: &Parts, block: usize, x: (&[i8], f32), sum: &mut f32) {
    let codes = parts.codes[block * COLUMNS..][..COLUMNS].chunks_exact(scheme.group);
    let groups = codes.zip(x.0.chunks_exact(scheme.group)).enumerate();
    for (group, (codes, values)) in groups {
        let (scale, offset) = parts.factors(scheme, block * (COLUMNS / scheme.group) + group);
        let pairs = codes
            .iter()
            .zip(values)
            .map(|(code, value)| (i32::from(*code) - scheme.bias) * i32::from(*value));
        *sum += pairs.sum::<i32>() as f32 * (scale * x.1);
        if scheme.offset_at.is_some() {
            let total: i32 = values.iter().map(|value| i32::from(*value)).sum();
            *sum -= offset * (total as f32 * x.1);
        }
    }
}
