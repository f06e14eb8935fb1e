//! Measures the thread pool: `cargo run --release -p emberbox-kernels --example pool`.
//!
//! Microseconds of a job whose pieces take about 20 each, two for every thread: at once after the
//! job before, after a pause in which the workers fell asleep, and beside busy threads that want
//! all the cores. On a crowded machine a job takes longer, but in proportion: as long as the same
//! work by one thread, not the scheduler's time slices for each of its threads.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use emberbox_kernels::pool::Pool;

const JOBS: usize = 2000;
const PIECE: Duration = Duration::from_micros(20);
const PAUSE: Duration = Duration::from_millis(1);

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let steps = calibrate();
    for busy in [0, cores, 2 * cores] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..busy {
                scope.spawn(|| spin_until(&stop));
            }
            for threads in [1, 2, cores, 4 * cores] {
                report(&mut out, busy, threads, steps)?;
            }
            stop.store(true, Ordering::Relaxed);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

fn spin_until(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// Steps of work in a piece's time.
fn calibrate() -> u64 {
    let mut least = f64::INFINITY;
    for _ in 0..100 {
        let start = Instant::now();
        work(1000);
        least = least.min(start.elapsed().as_secs_f64());
    }
    (PIECE.as_secs_f64() / least * 1000.0) as u64
}

fn work(steps: u64) {
    let mut value = 1u64;
    for _ in 0..steps {
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005));
    }
}

fn report(out: &mut impl Write, busy: usize, threads: usize, steps: u64) -> io::Result<()> {
    let pool = Pool::new(threads);
    let pieces = 2 * threads;
    for (name, pause) in [("hot", Duration::ZERO), ("asleep", PAUSE)] {
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..if pause.is_zero() { JOBS } else { JOBS / 10 } {
            let begin = Instant::now();
            while begin.elapsed() < pause {
                thread::yield_now();
            }
            let start = Instant::now();
            pool.run(pieces, &|_| work(steps));
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let alone = pieces as f64 * PIECE.as_secs_f64() * 1e6;
        writeln!(
            out,
            "{busy} busy, {threads} threads, {name:6}: median {half:6.0} mean {mean:6.0} \
             99% {most:6.0} us ({alone:.0} us of work)"
        )?;
    }
    Ok(())
}
