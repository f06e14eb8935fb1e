//! Speeds, printed: `cargo test --release -p emberbox-kernels attention -- --ignored --nocapture`.

use super::super::*;
use crate::speed::fastest;
use crate::testing::noise;

const SHAPES: [(&str, Heads); 2] = [
    ("SmolLM2-135M", Heads { query: 9, kv: 3, dims: 64 }),
    ("Llama-3.2-1B", Heads { query: 32, kv: 8, dims: 64 }),
];

/// Layers, so that decoding finds no key in a cache of the CPU.
const LAYERS_BYTES: usize = 256 << 20;

struct Caches {
    kind: CacheKind,
    layers: Vec<[Vec<Line>; 2]>,
    len: usize,
}

fn bytes(lines: &mut [Line], len: usize) -> &mut [u8] {
    // SAFETY: a line is 64 bytes without padding.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
}

impl Caches {
    fn new(kind: CacheKind, heads: Heads, context: usize) -> Self {
        let len = cache_bytes(kind, heads, context / BLOCK_TOKENS + 1);
        let layers = LAYERS_BYTES.div_ceil(2 * len).max(2);
        let lines = || vec![Line::ZERO; len.div_ceil(64)];
        let mut all = Self { kind, layers: (0..layers).map(|_| [lines(), lines()]).collect(), len };
        // Pages that were never written would all be one page of zeros.
        for half in all.layers.iter_mut().flatten() {
            bytes(half, len).fill(1);
        }
        all
    }

    /// Runs `rows` rows at `position` on every layer in turn; seconds of the fastest call.
    fn time(&mut self, pool: &Pool, heads: Heads, position: usize, rows: usize) -> f64 {
        let layer = Layer {
            heads,
            scale: 0.125,
            window: None,
            softcap: None,
            rope: None,
            query_norm: None,
            key_norm: None,
            norm_epsilon: 0.0,
        };
        let blocks = (0..((position + rows).div_ceil(BLOCK_TOKENS)) as u32).collect();
        let spans = [Span { position, rows, blocks }];
        let mut qkv = noise(rows * heads.row(), 1);
        let mut out = vec![0.0; rows * heads.query * heads.dims];
        let (kind, len) = (self.kind, self.len);
        let mut best = f64::INFINITY;
        for at in 0..if rows > 1 { 16 } else { 3 * self.layers.len() } {
            let layers = self.layers.len();
            let [keys, values] = &mut self.layers[at % layers];
            best = best.min(fastest(pool.threads(), 1, || {
                let cache = KvCache { kind, keys: bytes(keys, len), values: bytes(values, len) };
                let rows = Rows { qkv: &mut qkv, spans: &spans, out: &mut out };
                forward(Level::detect(), pool, &layer, rows, cache);
            }));
        }
        best
    }
}

/// Bytes a second that threads together read from memory, the best of some.
fn bandwidth(pool: &Pool) -> f64 {
    let words = vec![1u64; (64 << 20) / 8];
    let chunks: Vec<&[u64]> = words.chunks(1 << 17).collect();
    let best = fastest(pool.threads(), 20, || {
        pool.run(chunks.len(), &|i| {
            let sum = chunks[i].as_chunks::<32>().0.iter().fold([0u64; 32], |mut a, c| {
                a.iter_mut().zip(c).for_each(|(a, c)| *a ^= c);
                a
            });
            std::hint::black_box(sum);
        });
    });
    (words.len() * 8) as f64 / best
}

fn decoding(pool: &Pool, limit: f64, (name, heads): (&str, Heads), kind: CacheKind) {
    for context in [512, 2048, 8192] {
        let mut caches = Caches::new(kind, heads, context);
        let read = 2 * cache_bytes(kind, heads, context / BLOCK_TOKENS);
        let time = caches.time(pool, heads, context - 1, 1);
        let rate = read as f64 / time;
        println!(
            "{name} {kind:?} decode at {context}: {:.1} us, {:.1} GB/s, {:.2} of reads",
            time * 1e6,
            rate / 1e9,
            rate / limit
        );
    }
}

fn prefilling(pool: &Pool, (name, heads): (&str, Heads), kind: CacheKind) {
    for rows in [512, 2048] {
        let time = Caches::new(kind, heads, rows).time(pool, heads, 0, rows);
        let products = rows * (rows + 1) / 2 * heads.query * heads.dims * 4;
        let rate = products as f64 / time / 1e9;
        println!("{name} {kind:?} prefill {rows}: {:.2} ms, {rate:.1} Gflop/s", time * 1e3);
    }
}

#[test]
#[ignore = "prints speeds"]
fn speeds() {
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        let limit = bandwidth(&pool);
        println!("{threads} threads: reads {:.1} GB/s", limit / 1e9);
        for (shape, kind) in
            SHAPES.into_iter().flat_map(|s| [(s, CacheKind::F16), (s, CacheKind::Q8_0)])
        {
            decoding(&pool, limit, shape, kind);
            prefilling(&pool, shape, kind);
        }
    }
}
