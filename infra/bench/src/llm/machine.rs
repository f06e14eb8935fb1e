//! What the machine can do, and what else it does meanwhile.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use emberbox_kernels::memory;
use serde::Serialize;

use crate::row::round;

/// How long others are watched before each round.
const WATCH: Duration = Duration::from_millis(250);
/// What each thread reads; far more than caches hold.
const READ_BYTES: usize = 256 << 20;
/// Of so many passes over so many buffers the fastest counts: on a virtual machine it depends on
/// its host what lies behind a buffer, and some are read at half the speed of others.
const READ_PASSES: usize = 3;
const READ_BUFFERS: usize = 4;

/// What else the machine did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Conditions {
    /// The system's average over a minute before the first round; earlier cases are in it.
    load_average: f64,
    /// Processors that others kept busy while nobody measured, in the worst round.
    others_cpus_max: f64,
}

/// Watches what others do.
#[derive(Debug)]
pub(crate) struct Watch(Conditions);

impl Watch {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/loadavg")?;
        let load = text.split(' ').next().context("/proc/loadavg is empty")?;
        Ok(Self(Conditions { load_average: load.parse()?, others_cpus_max: 0.0 }))
    }

    /// Looks around; to be called where nobody measures.
    pub(crate) async fn look(&mut self) -> anyhow::Result<()> {
        let (began, before) = (Instant::now(), busy_ticks()?);
        tokio::time::sleep(WATCH).await;
        let ticks = busy_ticks()?.saturating_sub(before);
        // The kernel counts in hundredths of a second whatever its own ticks are.
        let cpus = ticks as f64 / 100.0 / began.elapsed().as_secs_f64();
        self.0.others_cpus_max = self.0.others_cpus_max.max(round(cpus, 2));
        Ok(())
    }

    pub(crate) fn conditions(&self) -> Conditions {
        self.0
    }
}

/// Ticks that all processors together were not idle, or were not given to this machine.
fn busy_ticks() -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    busy_ticks_of(&stat).context("/proc/stat is not as expected")
}

/// Fields of the first line: user, nice, system, idle, waiting for the disk, interrupts, soft
/// interrupts, stolen.
fn busy_ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat.lines().next()?.split_whitespace();
    fields.next().filter(|name| *name == "cpu")?;
    let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let all: u64 = fields.get(..8)?.iter().sum();
    Some(all - fields[3] - fields[4])
}

/// Bytes per second that so many threads read from memory, each its own.
pub(crate) fn read_bandwidth(threads: usize) -> anyhow::Result<f64> {
    let together = Barrier::new(threads);
    let passes = thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(|| read(&together))).collect();
        let passes: Option<Vec<_>> = readers.into_iter().map(|reader| reader.join().ok()).collect();
        passes.context("a reading thread failed")
    })?;
    // A pass ends for everybody with its slowest thread.
    let slowest =
        (0..READ_BUFFERS * READ_PASSES).map(|pass| passes.iter().map(|times| times[pass]).max());
    let fastest = slowest.flatten().min().context("nothing was read")?;
    Ok((threads * READ_BYTES) as f64 / fastest.as_secs_f64())
}

/// How long each pass took.
fn read(together: &Barrier) -> Vec<Duration> {
    let (mut buffers, mut passes) = (Vec::new(), Vec::new());
    for _ in 0..READ_BUFFERS {
        // In huge pages, as the weights are.
        let mut words = memory::zeroed(READ_BYTES);
        // The system gives memory when it is written.
        memory::bytes(&mut words).fill(1);
        for _ in 0..READ_PASSES {
            together.wait();
            let began = Instant::now();
            black_box(ored(black_box(&words)));
            passes.push(began.elapsed());
        }
        // Kept, so that the next one is another.
        buffers.push(words);
    }
    passes
}

/// Reads from end to end, a cache line at a time, and hardly computes.
fn ored(words: &[u128]) -> [u128; 4] {
    words
        .as_chunks()
        .0
        .iter()
        .fold([0; 4], |[a, b, c, d], [e, f, g, h]| [a | e, b | f, c | g, d | h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_are_not_busy() {
        let stat = "cpu  1 20 300 4000 50000 600000 7000000 80000000 0 0\ncpu0 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks_of(stat), Some(87_600_321));
        assert_eq!(busy_ticks_of("intr 1 2 3 4 5 6 7 8"), None);
        assert_eq!(busy_ticks_of("cpu 1 2 3"), None);
    }
}
