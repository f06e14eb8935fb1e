use super::{Finish, Kind, Right, Stop, Weights, finished_linear, multiply, packed_linear};
use crate::Level;
use crate::pool::Pool;
use crate::testing::{assert_close, noise};

/// The definition, in f64.
fn expected(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let mut y = Vec::new();
    for x in x.chunks_exact(columns) {
        for w in w.chunks_exact(columns) {
            let sum: f64 = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            y.push(sum as f32);
        }
    }
    y
}

const KINDS: [Kind; 3] = [Kind::F32, Kind::F16, Kind::Bf16];

/// Shapes with every remainder of tiles, panels and depths.
const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 33, 300),
    (2, 16, 256),
    (3, 31, 257),
    (5, 40, 64),
    (7, 129, 33),
    (8, 64, 512),
    (11, 48, 100),
    (13, 17, 600),
    (30, 130, 70),
    (97, 50, 20),
    (400, 35, 30),
];

fn to_bytes(kind: Kind, values: &[f32]) -> Vec<u8> {
    let halves = |to: fn(f32) -> u16| values.iter().flat_map(|v| to(*v).to_le_bytes()).collect();
    match kind {
        Kind::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Kind::F16 => halves(|v| half::f16::from_f32(v).to_bits()),
        Kind::Bf16 => halves(|v| half::bf16::from_f32(v).to_bits()),
    }
}

fn packed(kind: Kind, w: &[f32], rows: usize, columns: usize) -> Vec<u8> {
    let mut packed = vec![1; kind.packed_bytes(rows, columns)];
    kind.pack(&to_bytes(kind, w), rows, columns, &mut packed);
    packed
}

fn product(
    (level, threads): (Level, usize),
    x: &[f32],
    w: (Kind, &[u8]),
    (rows, columns): (usize, usize),
) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / columns * rows];
    let w = Weights { kind: w.0, packed: w.1, rows, columns };
    packed_linear(level, &Pool::new(threads), x, &w, &mut y);
    y
}

#[test]
fn packed_weights_of_every_kind_equal_the_definition_in_any_batch() {
    for (m, rows, columns) in SHAPES {
        let (x, w) = (noise(m * columns, 1), noise(rows * columns, 2));
        for kind in KINDS {
            let packed = packed(kind, &w, rows, columns);
            let mut unpacked = vec![0.0; rows * columns];
            for (row, out) in unpacked.chunks_exact_mut(columns).enumerate() {
                kind.unpack_row(&packed, columns, row, out);
            }
            let same = to_bytes(kind, &unpacked) == to_bytes(kind, &w);
            assert!(same, "{kind:?} unpacks to other values");
            let expect = expected(&x, &unpacked, columns);
            for level in Level::available() {
                let what = format!("{level:?} {kind:?} {m}x{rows}x{columns}");
                let w = (kind, &packed[..]);
                let y = product((level, 1), &x, w, (rows, columns));
                assert_close(&y, &expect, 1e-5, &what);
                let threads = product((level, 3), &x, w, (rows, columns));
                assert!(threads == y, "{what}: threads");
                let rows_of = x.chunks_exact(columns).take(20);
                let single = |x| product((level, 1), x, w, (rows, columns));
                let singles: Vec<f32> = rows_of.flat_map(single).collect();
                assert!(singles == y[..singles.len()], "{what}: single");
            }
        }
    }
}

#[test]
fn unpacked_operands_give_the_bits_of_packed_ones() {
    for (m, n, k) in SHAPES {
        let (a, b) = (noise(m * k, 1), noise(n * k, 2));
        let mut plain = vec![0.0; n * k];
        for (i, value) in b.iter().enumerate() {
            plain[i % k * n + i / k] = *value;
        }
        let packed = packed(Kind::F32, &b, n, k);
        for level in Level::available() {
            let expect = product((level, 1), &a, (Kind::F32, &packed), (n, k));
            for (right, threads) in [(Right::Plain(&plain), 1), (Right::Transposed(&b), 3)] {
                let mut c = vec![f32::NAN; m * n];
                multiply(level, &Pool::new(threads), (&a, k), right, &mut c);
                assert!(c == expect, "{level:?} {m}x{n}x{k} {threads}");
            }
        }
    }
}

#[test]
fn empty_operands_give_empty_or_zero_results() {
    let pool = Pool::new(2);
    multiply(Level::detect(), &pool, (&[], 4), Right::Plain(&[0.0; 8]), &mut []);
    multiply(Level::detect(), &pool, (&[1.0; 4], 4), Right::Plain(&[]), &mut []);
    let w = Weights { kind: Kind::F16, packed: &[], rows: 0, columns: 4 };
    packed_linear(Level::detect(), &pool, &[1.0; 8], &w, &mut []);
}

#[test]
#[should_panic(expected = "the weights have the wrong size")]
fn weights_of_another_size_are_refused() {
    let w = Weights { kind: Kind::F32, packed: &[0; 64], rows: 17, columns: 1 };
    packed_linear(Level::detect(), &Pool::new(1), &[0.0], &w, &mut [0.0; 17]);
}

/// Prints the speeds of one shape.
fn time(threads: usize, (m, n, k): (usize, usize, usize)) {
    let (pool, level) = (Pool::new(threads), Level::detect());
    let (x, b) = (noise(m * k, 1), noise(n * k, 2));
    let mut y = vec![0.0; m * n];
    let mut time = |name: &str, run: &mut dyn FnMut(&mut [f32])| {
        let best = crate::speed::fastest(threads, 60, || run(&mut y));
        let (flop, bytes) = ((2 * m * n * k) as f64, (n * k * 4) as f64);
        println!(
            "{threads} threads {m}x{n}x{k} {name}: {:.0} us, {:.1} Gflop/s, {:.1} GB/s as f32",
            best * 1e6,
            flop / best / 1e9,
            bytes / best / 1e9
        );
    };
    for kind in KINDS {
        let packed = packed(kind, &b, n, k);
        let w = Weights { kind, packed: &packed, rows: n, columns: k };
        time(&format!("{kind:?}"), &mut |y| packed_linear(level, &pool, &x, &w, y));
    }
    time("plain", &mut |y| multiply(level, &pool, (&x, k), Right::Plain(&b), y));
    time("transposed", &mut |y| multiply(level, &pool, (&x, k), Right::Transposed(&b), y));
}

/// A product that is stopped leaves the rest out.
#[test]
fn a_product_ends_when_it_is_told() {
    let (rows, columns) = (400, 600);
    let (x, w) = (noise(rows * columns, 1), noise(columns * columns, 2));
    let packed = packed(Kind::F32, &w, columns, columns);
    let w = Weights { kind: Kind::F32, packed: &packed, rows: columns, columns };
    let mut y = vec![f32::NAN; rows * columns];
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
    let finish = Finish { stop: Stop(Some(&stop)), ..Finish::default() };
    finished_linear((Level::detect(), &Pool::new(1)), &x, &w, finish, &mut y);
    assert!(!y[0].is_nan() && y[rows * columns - 1].is_nan());
}

#[test]
#[ignore = "prints speeds"]
fn speeds() {
    const SHAPES: [(usize, usize, usize); 6] = [
        (512, 512, 512),
        (1, 2048, 8192),
        (8, 2048, 8192),
        (8, 8192, 2048),
        (128, 1536, 576),
        (512, 2048, 2048),
    ];
    for shape in SHAPES {
        time(1, shape);
        time(2, shape);
    }
}
