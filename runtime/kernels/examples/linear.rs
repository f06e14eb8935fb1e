//! Measures the linear layers: `cargo run --release -p emberbox-kernels --example linear -- [FORMAT...]`.
//!
//! For each format, threads and rows it prints the speed at which packed weights pass (GB/s) and
//! the giga-operations a second (two to a multiply-add), beside the machine's read bandwidth.
//! The weights are larger than the caches at one row, and at many rows as large as a layer's.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use emberbox_kernels::Level;
use emberbox_kernels::linear::{Activations, Matrix, linear};
use emberbox_kernels::pool::Pool;
use emberbox_kernels::quant::Format;

const COLUMNS: usize = 2048;
/// More than any cache.
const WEIGHT_BYTES: usize = 128 << 20;
/// What one call reads: about one matrix of a small model.
const CALL_BYTES: usize = 1 << 20;
const CALLS: usize = 400;
const ENOUGH: Duration = Duration::from_millis(600);

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen =
        |format: &Format| arguments.is_empty() || arguments.iter().any(|a| a == format.name());
    let level = Level::detect();
    let pools = [Pool::new(1), Pool::new(2)];
    writeln!(out, "level {}, {COLUMNS} columns", level.name())?;
    let bytes = vec![1u8; WEIGHT_BYTES];
    for pool in &pools {
        let seconds = typical(|i| read(pool, call_of(&bytes, CALL_BYTES, i)));
        let speed = CALL_BYTES as f64 / seconds / 1e9;
        writeln!(out, "read {} threads {speed:6.1} GB/s", pool.threads())?;
    }
    drop(bytes);
    for format in Format::ALL.into_iter().filter(chosen) {
        for (rows, pool) in
            [1, 8, 64, 512].into_iter().flat_map(|r| pools.iter().map(move |p| (r, p)))
        {
            let (speed, operations) = measure(level, pool, format, rows);
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

fn measure(level: Level, pool: &Pool, format: Format, m: usize) -> (f64, f64) {
    let outputs = CALL_BYTES / format.packed_bytes(16, COLUMNS) * 16;
    let len = format.packed_bytes(outputs, COLUMNS);
    let packed = vec![0x11u8; WEIGHT_BYTES];
    let mut x = Activations::default();
    x.quantise(level, pool, &vec![1.0; m * COLUMNS], COLUMNS);
    let mut y = vec![0.0; m * outputs];
    let seconds = typical(|i| {
        let packed = call_of(&packed, len, i);
        let w = Matrix { format, packed, rows: outputs, columns: COLUMNS };
        linear(level, pool, &x, &[w], &mut y);
    });
    black_box(&y);
    let operations = 2.0 * (m * outputs * COLUMNS) as f64;
    (len as f64 / seconds / 1e9, operations / seconds / 1e9)
}
