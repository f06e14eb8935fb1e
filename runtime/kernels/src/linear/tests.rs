use super::{Activations, Matrix, linear};
use crate::Level;
use crate::pool::Pool;
use crate::quant::Format;
use crate::testing::{assert_close, noise};

/// Weights as in a file, random in all their bits but that scales are finite and small.
fn random_blocks(format: Format, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let scheme = format.scheme();
    let bytes = rows * columns / scheme.block * scheme.bytes;
    let mut blocks: Vec<u8> =
        noise(bytes, seed).iter().map(|v| (v * 4096.0) as i32 as u8).collect();
    for block in blocks.chunks_exact_mut(scheme.bytes) {
        for at in [Some(scheme.scale_at), scheme.offset_at].into_iter().flatten() {
            block[at + 1] = block[at + 1] & 0x83 | 0x1C;
        }
    }
    blocks
}

fn pack(format: Format, blocks: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let mut packed = vec![0; format.packed_bytes(rows, columns)];
    format.pack(blocks, rows, columns, &mut packed);
    packed
}

fn quantised(x: &[f32], columns: usize) -> Activations {
    let mut activations = Activations::default();
    activations.quantise(Level::detect(), &Pool::new(1), x, columns);
    activations
}

fn product(level: Level, pool: &Pool, x: &Activations, matrices: &[Matrix<'_>]) -> Vec<f32> {
    linear(level, pool, x, matrices)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn every_level_equals_the_scalar() {
    let pool = Pool::new(1);
    for format in Format::ALL {
        for shape in 0..3 * 2 * 17 {
            let (rows, blocks, m) = ([1, 16, 33][shape % 3], [1, 3][shape / 3 % 2], shape / 6 + 1);
            let columns = blocks * format.block();
            let seed = shape as u64;
            let packed = pack(format, &random_blocks(format, rows, columns, seed), rows, columns);
            let x = quantised(&noise(m * columns, seed + 1), columns);
            let w = Matrix { format, packed: &packed, rows, columns };
            let expect = product(Level::SCALAR, &pool, &x, &[w]);
            for level in Level::available() {
                let y = product(level, &pool, &x, &[w]);
                let what = format!("{level:?} {format:?} {m}x{rows}x{columns}");
                assert_close(&y, &expect, 2e-5, &what);
            }
        }
    }
}

#[test]
fn the_scalar_is_near_the_exact_product() {
    for format in Format::ALL {
        let (m, rows, columns) = (3, 19, 512);
        let blocks = format.quantise(&noise(rows * columns, 9));
        let mut w = vec![0.0; rows * columns];
        format.dequantise(&blocks, &mut w);
        let x = noise(m * columns, 10);
        let mut expect = Vec::new();
        for x in x.chunks_exact(columns) {
            expect.extend(w.chunks_exact(columns).map(|w| {
                x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
            }));
        }
        let packed = pack(format, &blocks, rows, columns);
        let w = Matrix { format, packed: &packed, rows, columns };
        let y = product(Level::SCALAR, &Pool::new(1), &quantised(&x, columns), &[w]);
        // What remains is the rounding of the activations.
        assert_close(&y, &expect, 0.01, &format!("{format:?}"));
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_in_any_batch() {
    let (rows, columns, most) = (20, 512, 70);
    let x = noise(most * columns, 3);
    for format in Format::ALL {
        let packed = pack(format, &random_blocks(format, rows, columns, 4), rows, columns);
        let w = Matrix { format, packed: &packed, rows, columns };
        for level in Level::available() {
            let single = |row: usize| {
                let x = quantised(&x[row * columns..(row + 1) * columns], columns);
                bits(&product(level, &Pool::new(1), &x, &[w]))
            };
            let expect: Vec<u32> = (0..most).flat_map(single).collect();
            for m in [2, 7, 16, 31, most] {
                let x = quantised(&x[..m * columns], columns);
                let y = product(level, &Pool::new(1), &x, &[w]);
                assert_eq!(bits(&y), expect[..m * rows], "{level:?} {format:?} {m}");
            }
        }
    }
}

#[test]
fn threads_and_neighbours_change_no_bit() {
    // Enough work for several pieces and passes, and matrices of several formats.
    let (m, columns) = (150, 4096);
    let x = noise(m * columns, 5);
    let shapes = [(Format::Q4K, 100), (Format::Q6K, 16), (Format::Q8_0, 37)];
    let packed: Vec<_> = shapes
        .map(|(format, rows)| pack(format, &random_blocks(format, rows, columns, 6), rows, columns))
        .into();
    let matrices: Vec<_> = shapes
        .iter()
        .zip(&packed)
        .map(|((format, rows), packed)| Matrix { format: *format, packed, rows: *rows, columns })
        .collect();
    let level = Level::detect();
    for m in [1, 5, m] {
        let x = quantised(&x[..m * columns], columns);
        let together = product(level, &Pool::new(1), &x, &matrices);
        for threads in [2, 5] {
            let y = product(level, &Pool::new(threads), &x, &matrices);
            assert_eq!(bits(&y), bits(&together), "{threads} threads, {m} rows");
        }
        let alone: Vec<_> = matrices
            .iter()
            .map(|w| product(level, &Pool::new(1), &x, std::slice::from_ref(w)))
            .collect();
        for (row, y) in together.chunks_exact(153).enumerate() {
            let rows = shapes.iter().zip(&alone);
            let expect: Vec<f32> =
                rows.flat_map(|((_, n), y)| y[row * n..(row + 1) * n].to_vec()).collect();
            assert_eq!(bits(y), bits(&expect), "row {row} of {m}");
        }
    }
}

#[test]
fn activations_are_the_same_at_all_levels_and_whatever_the_threads() {
    let (m, columns) = (201, 1024);
    let mut x = noise(m * columns, 7);
    // Zeros, values of one size, and ties between two steps.
    x[..32].fill(0.0);
    x[32..64].fill(-3.0);
    x[64] = 127.0;
    (65..96).for_each(|i| x[i] = i as f32 - 80.5);
    let (mut one, mut many) = (Activations::default(), Activations::default());
    one.quantise(Level::SCALAR, &Pool::new(1), &x, columns);
    for level in Level::available() {
        many.quantise(level, &Pool::new(3), &x, columns);
        assert!(format!("{one:?}") == format!("{many:?}"), "{level:?}");
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    // All codes at an end, scale 1 (and offset 0), all activations at an end.
    for format in [Format::Q4_0, Format::Q5_0, Format::Q8_0, Format::Q6K, Format::Q3K] {
        let scheme = format.scheme();
        for byte in [0x00u8, 0xFF, 0x7F, 0x80] {
            let mut block = vec![byte; scheme.bytes];
            block[scheme.scale_at..][..2].copy_from_slice(&half::f16::ONE.to_le_bytes());
            let mut w = vec![0.0; scheme.block];
            format.dequantise(&block, &mut w);
            let packed = pack(format, &block, 1, scheme.block);
            let w_sum: f32 = w.iter().sum();
            let w = Matrix { format, packed: &packed, rows: 1, columns: scheme.block };
            let levels = || Level::available().into_iter();
            for (sign, level) in
                [127.0, -127.0].into_iter().flat_map(|s| levels().map(move |l| (s, l)))
            {
                let x = quantised(&vec![sign; scheme.block], scheme.block);
                let y = product(level, &Pool::new(1), &x, &[w]);
                assert_eq!(y, [w_sum * sign], "{level:?} {format:?} {byte:#x} {sign}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_do_not_crash() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for format in Format::ALL {
            let columns = format.block();
            let mut x = noise(columns, 2);
            x[3] = bad;
            let packed = pack(format, &vec![0xFF; format.block_bytes()], 1, columns);
            let w = Matrix { format, packed: &packed, rows: 1, columns };
            for level in Level::available() {
                product(level, &Pool::new(1), &quantised(&x, columns), &[w]);
            }
        }
    }
}

#[test]
fn nothing_times_nothing_is_nothing() {
    for columns in [0, 32] {
        let empty = quantised(&[], columns);
        assert_eq!((empty.rows(), empty.columns()), (0, columns));
        assert!(product(Level::detect(), &Pool::new(1), &empty, &[]).is_empty());
    }
    let one = quantised(&[1.0; 32], 32);
    assert!(product(Level::detect(), &Pool::new(1), &one, &[]).is_empty());
}
