use super::Format;
use crate::linear::panel::PANEL;
use crate::testing::{assert_close, noise};

/// Blocks of a fixture, and the values that the `gguf` package gives them
/// (`scripts/dequantised.py`).
fn fixture(format: Format) -> (Vec<u8>, Vec<f32>) {
    let path = format!("{}/fixtures/{}.bin", env!("CARGO_MANIFEST_DIR"), format.name());
    let data = std::fs::read(path).unwrap();
    let (count, rest) = data.split_at(4);
    let count = u32::from_le_bytes(count.try_into().unwrap()) as usize;
    let (blocks, values) = rest.split_at(count * format.block_bytes());
    let values = values.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v));
    (blocks.to_vec(), values.collect())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn dequantised_blocks_equal_the_reference_bit_for_bit() {
    for format in Format::ALL {
        let (blocks, expect) = fixture(format);
        let mut values = vec![f32::NAN; expect.len()];
        format.dequantise(&blocks, &mut values);
        assert_eq!(bits(&values), bits(&expect), "{format:?}");
    }
}

#[test]
fn taking_apart_and_writing_keep_every_bit() {
    for format in Format::ALL {
        let scheme = format.scheme();
        let (blocks, _) = fixture(format);
        let mut parts = super::Parts::default();
        for block in blocks.chunks_exact(scheme.bytes) {
            parts.read(&scheme, block);
            let mut written = vec![0; scheme.bytes];
            parts.write(&scheme, &mut written);
            assert_eq!(written, block, "{format:?}");
        }
    }
}

#[test]
fn a_packed_row_has_the_values_of_its_blocks() {
    for format in Format::ALL {
        for (rows, blocks) in [(1, 1), (16, 2), (17, 1), (35, 3)] {
            let columns = blocks * format.block();
            let file = format.quantise(&noise(rows * columns, 11));
            let mut expect = vec![0.0; rows * columns];
            format.dequantise(&file, &mut expect);
            let mut packed = vec![0xAA; format.packed_bytes(rows, columns)];
            format.pack(&file, rows, columns, &mut packed);
            let mut row = vec![f32::NAN; columns];
            for r in 0..rows {
                format.unpack_row(&packed, columns, r, &mut row);
                assert_eq!(bits(&row), bits(&expect[r * columns..][..columns]), "{format:?} {r}");
            }
        }
    }
}

#[test]
fn a_matrix_may_be_packed_in_pieces() {
    for format in Format::ALL {
        let (rows, columns) = (40, 2 * format.block());
        let file = format.quantise(&noise(rows * columns, 12));
        let mut whole = vec![0; format.packed_bytes(rows, columns)];
        format.pack(&file, rows, columns, &mut whole);
        let mut pieces = vec![0xAA; whole.len()];
        let (file_piece, piece) = (file.len() / rows * PANEL, whole.len() / rows.div_ceil(PANEL));
        for (file, packed) in file.chunks(file_piece).zip(pieces.chunks_mut(piece)) {
            let rows = file.len() / (file_piece / PANEL);
            format.pack(file, rows, columns, packed);
        }
        assert!(pieces == whole, "{format:?}");
    }
}

#[test]
fn quantising_is_near() {
    // Of the largest value: half a step, and what the scales' own rounding adds.
    let table = [
        (Format::Q4_0, 0.13),
        (Format::Q4_1, 0.07),
        (Format::Q5_0, 0.07),
        (Format::Q5_1, 0.04),
        (Format::Q8_0, 0.005),
        (Format::Q2K, 0.4),
        (Format::Q3K, 0.27),
        (Format::Q4K, 0.09),
        (Format::Q5K, 0.06),
        (Format::Q6K, 0.04),
    ];
    for (format, tolerance) in table {
        let values = noise(1024, 13);
        let blocks = format.quantise(&values);
        assert_eq!(blocks.len(), 1024 / format.block() * format.block_bytes());
        let mut back = vec![f32::NAN; values.len()];
        format.dequantise(&blocks, &mut back);
        assert_close(&back, &values, tolerance, &format!("{format:?}"));
    }
}

#[test]
fn zeros_and_constants_quantise() {
    for format in Format::ALL {
        for value in [0.0f32, 1.0, -3.0] {
            let values = vec![value; 512];
            let mut back = vec![f32::NAN; values.len()];
            format.dequantise(&format.quantise(&values), &mut back);
            assert_close(&back, &values, 0.04, &format!("{format:?} {value}"));
        }
    }
}
