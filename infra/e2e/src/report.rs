//! Names, times and results of the checks.

use std::time::Instant;

/// What was checked so far. Every check prints its line as it ends.
#[derive(Debug)]
pub(crate) struct Report {
    only: Option<String>,
    passed: usize,
    failed: usize,
}

impl Report {
    /// A report of the checks whose name contains `only`, or of all.
    pub(crate) fn new(only: Option<String>) -> Self {
        Self { only, passed: 0, failed: 0 }
    }

    /// True when a check of this name would run. Groups ask before they prepare anything.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Runs one check and prints its line: the name, the time, and what it says of itself.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<String>) {
        if !self.wants(name) {
            return;
        }
        let began = Instant::now();
        let result = check();
        let seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(detail) => {
                self.passed += 1;
                say(&format!("ok      {name:<34} {seconds:>6.1}s  {detail}"));
            }
            Err(error) => {
                self.failed += 1;
                say(&format!("FAILED  {name:<34} {seconds:>6.1}s  {error:#}"));
            }
        }
    }

    /// Prints the last line and says whether every check passed, and there was one.
    pub(crate) fn finish(self) -> bool {
        say(&format!("{} passed, {} failed", self.passed, self.failed));
        self.failed == 0 && self.passed > 0
    }
}

/// Prints one line of the program's own output.
#[expect(clippy::print_stdout, reason = "the results are this program's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
