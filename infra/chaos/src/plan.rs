//! What happens in a round, all of it from the seed.

use std::fmt;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How long clients work before the process dies, in milliseconds.
const LOAD_MS: std::ops::Range<u64> = 50..1_300;
/// Rounds with a fault work longer, so that the fault has the time to strike.
const FAULT_LOAD_MS: std::ops::Range<u64> = 500..1_500;
/// How long a start may run before it is killed: some of these kills come after the start.
const EARLY_MS: std::ops::Range<u64> = 0..300;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and SIGKILL after this time.
    TermKill(Duration),
    /// SIGTERM only: it ends by itself.
    Term,
}

/// What fails in the storage, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fault {
    /// The kind, as `faults.c` knows it.
    pub(crate) kind: &'static str,
    /// The first operation that fails, counted from 1 at the start of the process.
    pub(crate) first: u64,
    /// How many fail.
    pub(crate) count: u64,
}

/// A round.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its own seed.
    pub(crate) seed: u64,
    /// Whether the function is called once before the load, so that it is compiled already.
    pub(crate) warm: bool,
    /// How long clients work before the end comes.
    pub(crate) load: Duration,
    /// How the end comes.
    pub(crate) end: End,
    /// Starts that are killed after these times, before the one that may finish.
    pub(crate) early: Vec<Duration>,
    /// A fault of the storage.
    pub(crate) fault: Option<Fault>,
}

/// Random numbers for one part of a run: the same for the same seed and part.
pub(crate) fn random(seed: u64, part: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(part);
    random
}

impl Plan {
    /// The plan of a round.
    pub(crate) fn of(seed: u64, round: u64, faults: bool) -> Self {
        let seed = seed.wrapping_add(round);
        let mut random = random(seed, 0);
        let load_ms = if faults { FAULT_LOAD_MS } else { LOAD_MS };
        let load = Duration::from_millis(random.random_range(load_ms));
        let end = match random.random_range(0..10) {
            0..7 => End::Kill,
            7..9 => End::TermKill(Duration::from_millis(random.random_range(0..150))),
            _ => End::Term,
        };
        let starts = if random.random_ratio(1, 3) { random.random_range(1..=2) } else { 0 };
        let early =
            (0..starts).map(|_| Duration::from_millis(random.random_range(EARLY_MS))).collect();
        let fault = faults.then(|| Fault::of(&mut random));
        let end = if fault.is_some() { End::Kill } else { end };
        let warm = random.random_ratio(3, 4);
        Plan { seed, warm, load, end, early, fault }
    }
}

impl Fault {
    fn of(random: &mut ChaCha8Rng) -> Self {
        // Orders of magnitude are equally likely: some strike while the process starts.
        let sync = |random: &mut ChaCha8Rng| 10_f64.powf(random.random_range(0.0..2.7)) as u64;
        let write = |random: &mut ChaCha8Rng| 10_f64.powf(random.random_range(0.0..4.0)) as u64;
        match random.random_range(0..6) {
            0 | 1 => Fault { kind: "sync-eio", first: sync(random), count: 1 },
            2 => Fault { kind: "sync-enospc", first: sync(random), count: 1 },
            3 => Fault { kind: "write-eio", first: write(random), count: 1 },
            4 => {
                let count = random.random_range(1..300);
                Fault { kind: "write-enospc", first: write(random), count }
            }
            _ => Fault { kind: "tear", first: write(random), count: 1 },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.first, self.count)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Kill => f.write_str("kill"),
            End::TermKill(after) => write!(f, "term, kill after {} ms", after.as_millis()),
            End::Term => f.write_str("term"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_plan_again() {
        for faults in [false, true] {
            let plan = |seed, round| format!("{:?}", Plan::of(seed, round, faults));
            assert_eq!(plan(7, 3), plan(7, 3));
            assert_eq!(plan(7, 3), plan(3, 7));
            assert_ne!(plan(7, 3), plan(7, 4));
        }
    }

    #[test]
    fn every_end_and_fault_comes_up() {
        let plans = |faults| (0..200).map(move |round| Plan::of(1, round, faults));
        let ends = [
            |end: &End| *end == End::Kill,
            |end: &End| *end == End::Term,
            |end: &End| matches!(end, End::TermKill(_)),
        ];
        assert!(ends.iter().all(|is| plans(false).any(|plan| is(&plan.end))));
        assert!(plans(false).any(|plan| !plan.early.is_empty()));
        for kind in ["sync-eio", "sync-enospc", "write-eio", "write-enospc", "tear"] {
            assert!(plans(true).any(|plan| plan.fault.is_some_and(|fault| fault.kind == kind)));
        }
        assert!(plans(true).all(|plan| plan.fault.is_some_and(|fault| fault.first > 0)));
    }
}
