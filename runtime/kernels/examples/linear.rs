//! Measures the linear layers:
//! `cargo run --release -p emberbox-kernels --example linear -- [FORMAT|LEVEL|COLUMNS]...`.
//!
//! For each format, threads and rows it prints the speed at which packed weights pass (GB/s) and
//! the giga-operations a second (two to a multiply-add), beside the machine's read bandwidth.
//! Weights are larger than the caches, and one call takes about a megabyte of them.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use emberbox_kernels::Level;
use emberbox_kernels::linear::{Activations, Matrix, linear};
use emberbox_kernels::memory;
use emberbox_kernels::pool::Pool;
use emberbox_kernels::quant::Format;

/// More than any cache.
const WEIGHT_BYTES: usize = 128 << 20;
/// What one call reads: about one matrix of a small model.
const CALL_BYTES: usize = 1 << 20;
const CALLS: usize = 400;
const ENOUGH: Duration = Duration::from_millis(600);

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !Format::ALL.iter().any(|format| named(format.name()));
    let columns = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(2048);
    let mut levels = Level::available().into_iter();
    let level = levels.find(|level| named(level.name())).unwrap_or(Level::detect());
    let pools = [Pool::new(1), Pool::new(2)];
    writeln!(out, "level {}, {columns} columns", level.name())?;
    let mut words = weights();
    let bytes = &*memory::bytes(&mut words);
    for pool in &pools {
        let seconds = typical(|i| read(pool, call_of(bytes, CALL_BYTES, i)));
        let speed = CALL_BYTES as f64 / seconds / 1e9;
        writeln!(out, "read {} threads {speed:6.1} GB/s", pool.threads())?;
    }
    drop(words);
    for rows in [1, 8, 512] {
        let values = vec![1.0; rows * columns];
        let mut x = Activations::default();
        let seconds = typical(|_| x.quantise(level, &pools[0], &values, columns));
        let speed = values.len() as f64 / seconds / 1e9;
        writeln!(out, "quantise {rows} rows {speed:5.2} G values/s")?;
    }
    for format in Format::ALL.into_iter().filter(|format| all || named(format.name())) {
        let (pack, unpack) = measure_packing(format, columns);
        writeln!(out, "{} pack {pack:5.2} GB/s, dequantise {unpack:5.2} GB/s", format.name())?;
        for (rows, pool) in
            [1, 8, 64, 512].into_iter().flat_map(|r| pools.iter().map(move |p| (r, p)))
        {
            let (speed, operations) = measure((level, pool), format, columns, rows);
            let (name, threads) = (format.name(), pool.threads());
            writeln!(
                out,
                "{name} {threads} threads {rows:4} rows {speed:6.1} GB/s {operations:7.1} Gop/s"
            )?;
        }
    }
    Ok(())
}

/// The seconds of a call that nothing disturbs: a quarter of the calls take less.
fn typical(mut call: impl FnMut(usize)) -> f64 {
    let begin = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < 8 || (seconds.len() < CALLS && begin.elapsed() < ENOUGH) {
        let start = Instant::now();
        call(seconds.len());
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 4]
}

/// Memory as weights have it, in huge pages.
fn weights() -> Vec<u128> {
    let mut words = memory::zeroed(WEIGHT_BYTES);
    memory::bytes(&mut words).fill(0x11);
    words
}

/// The bytes of call `i`, which the calls before it have not left in a cache.
fn call_of(bytes: &[u8], len: usize, i: usize) -> &[u8] {
    &bytes[i % (bytes.len() / len) * len..][..len]
}

fn read(pool: &Pool, bytes: &[u8]) {
    let total = AtomicU64::new(0);
    let pieces: Vec<&[u8]> = bytes.chunks(64 << 10).collect();
    pool.run(pieces.len(), &|i| {
        let words = pieces[i].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        total.fetch_add(words.fold(0, u64::wrapping_add), Ordering::Relaxed);
    });
    black_box(total);
}

fn measure((level, pool): (Level, &Pool), format: Format, columns: usize, m: usize) -> (f64, f64) {
    let outputs = CALL_BYTES / format.packed_bytes(16, columns) * 16;
    let len = format.packed_bytes(outputs, columns);
    let mut words = weights();
    let packed = &*memory::bytes(&mut words);
    let mut x = Activations::default();
    x.quantise(level, pool, &vec![1.0; m * columns], columns);
    let seconds = typical(|i| {
        let packed = call_of(packed, len, i);
        let w = Matrix { format, packed, rows: outputs, columns };
        black_box(linear(level, pool, &x, &[w]));
    });
    let operations = 2.0 * (m * outputs * columns) as f64;
    (len as f64 / seconds / 1e9, operations / seconds / 1e9)
}

/// GB/s of a file's bytes, one thread.
fn measure_packing(format: Format, columns: usize) -> (f64, f64) {
    let rows = CALL_BYTES / columns / 16 * 16;
    let blocks = vec![0x11u8; rows * columns / format.block() * format.block_bytes()];
    let mut packed = vec![0; format.packed_bytes(rows, columns)];
    let mut values = vec![0.0; rows * columns];
    let pack = typical(|_| format.pack(&blocks, rows, columns, &mut packed));
    let dequantise = typical(|_| format.dequantise(&blocks, &mut values));
    black_box((&packed, &values));
    (blocks.len() as f64 / pack / 1e9, blocks.len() as f64 / dequantise / 1e9)
}
