//! How many rows a step may have, by time.
//!
//! A step is taken to cost a fixed part, mostly the reading of the weights, and a part for each
//! row. Both are measured all the time, by least squares over steps that count less the older they
//! are.

use std::time::Duration;

/// Prompt tokens that a step gets at least, however slow the machine is.
const PREFILL_MIN: usize = 16;
/// And while nothing was measured yet.
const PREFILL_FIRST: usize = 64;
/// What a step counts for one step later.
const DECAY: f64 = 0.97;
/// How many times the target a step may take while nobody waits for a next token.
const UNHURRIED: f64 = 2.0;
/// Where nothing is known of what a row costs beside the step, it is taken as this share of it: too
/// much for all but the surest drafts.
const ROW_SHARE_MAX: f64 = 0.9;
/// A step that took so many times longer than expected was held up by something else.
const OUTLIER: f64 = 4.0;

/// The measured cost of a step, and the target.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Zero is no target: then nothing is limited by time.
    target_s: f64,
    prefill_max: usize,
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_squared: f64,
    rows_seconds: f64,
}

impl Budget {
    /// `target` is the time from one token of a sequence to its next one.
    pub(crate) fn new(target: Duration, prefill_max: usize) -> Self {
        Self { target_s: target.as_secs_f64(), prefill_max, ..Self::default() }
    }

    /// The budget of a machine whose steps cost so many milliseconds, and so many for each row.
    #[cfg(test)]
    pub(crate) fn measured(cost_ms: [f64; 2], target: Duration) -> Self {
        let mut budget = Self::new(target, 512);
        for rows in [1, 40, 8, 3] {
            let ms = cost_ms[0] + cost_ms[1] * f64::from(rows);
            budget.observe(rows as usize, Duration::from_secs_f64(ms / 1e3));
        }
        budget
    }

    /// Learns from a step.
    pub(crate) fn observe(&mut self, rows: usize, took: Duration) {
        let (rows, mut seconds) = (rows as f64, took.as_secs_f64());
        if let Some((fixed, each)) = self.cost() {
            seconds = seconds.min(OUTLIER * (fixed + each * rows));
        }
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.rows, rows),
            (&mut self.seconds, seconds),
            (&mut self.rows_squared, rows * rows),
            (&mut self.rows_seconds, rows * seconds),
        ] {
            *sum = *sum * DECAY + value;
        }
    }

    /// Seconds of a step: the fixed part, and for each row. `None` before the first.
    fn cost(&self) -> Option<(f64, f64)> {
        if self.weight == 0.0 {
            return None;
        }
        let (rows, seconds) = (self.rows / self.weight, self.seconds / self.weight);
        let variance = self.rows_squared / self.weight - rows * rows;
        let together = self.rows_seconds / self.weight - rows * seconds;
        // Steps of one size say nothing of the parts: then all of it is the rows'.
        let each = if variance > 0.5 { together / variance } else { seconds / rows };
        let most = seconds / rows;
        let each = each.clamp(most / 100.0, most);
        Some((seconds - each * rows, each))
    }

    /// Prompt tokens that a step may have beside so many decoding rows.
    pub(crate) fn prefill(&self, decodes: usize) -> usize {
        let least = PREFILL_MIN.min(self.prefill_max);
        if self.target_s == 0.0 {
            return self.prefill_max;
        }
        let target_s = self.target_s * if decodes == 0 { UNHURRIED } else { 1.0 };
        let rows = match self.cost() {
            None => PREFILL_FIRST,
            Some((fixed, each)) => ((target_s - fixed) / each) as usize,
        };
        rows.saturating_sub(decodes).clamp(least, self.prefill_max)
    }

    /// How likely a drafted token must be for its row to make a step of so many decoding rows
    /// faster: what the row adds to the step, times the tokens that the step makes without it.
    pub(crate) fn draft_worth(&self, decodes: usize) -> f64 {
        let Some((fixed, each)) = self.cost() else { return ROW_SHARE_MAX };
        let rows = each * decodes as f64;
        (rows / (fixed + rows)).min(ROW_SHARE_MAX)
    }

    /// Rows that a step may have when `payers` share it, of whom the lightest decodes `least` rows:
    /// as many as let it take `payers` times as long as it would for that one alone.
    pub(crate) fn shared(&self, payers: usize, least: usize) -> usize {
        let Some((fixed, each)) = self.cost().filter(|_| self.target_s > 0.0) else {
            return usize::MAX;
        };
        let free = (payers as f64 - 1.0) * fixed / each;
        free.round() as usize + payers * least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget of a machine with this cost, in milliseconds, that has seen these steps.
    fn measured(cost: [f64; 2], steps: &[usize], target_ms: u64) -> Budget {
        let mut budget = Budget::new(Duration::from_millis(target_ms), 512);
        for rows in steps.iter().cycle().take(200) {
            let ms = cost[0] + cost[1] * *rows as f64;
            budget.observe(*rows, Duration::from_secs_f64(ms / 1e3));
        }
        budget
    }

    #[test]
    fn the_prefill_follows_the_machine() {
        // (fixed and each, decodes, expected) at 100 ms.
        for (cost, decodes, expect) in [
            ([10.0, 1.0], 0, 190),
            ([10.0, 1.0], 30, 60),
            ([10.0, 1.0], 80, 16),
            ([400.0, 50.0], 1, 16),
            ([1.0, 0.01], 1, 512),
        ] {
            let got = measured(cost, &[1, 40, 8], 100).prefill(decodes);
            assert!(got.abs_diff(expect) <= 1, "{cost:?} {decodes}: {got}");
        }
        assert_eq!(measured([10.0, 1.0], &[1], 0).prefill(9), 512, "no target, no limit");
        assert_eq!(Budget::new(Duration::from_millis(1), 512).prefill(0), 64, "nothing measured");
        assert_eq!(Budget::new(Duration::from_millis(1), 3).prefill(0), 3);
    }

    #[test]
    fn steps_of_one_size_teach_caution() {
        // As if all were the rows' cost: 8 ms each.
        assert_eq!(measured([7.0, 1.0], &[1], 100).prefill(1), 16);
        let got = measured([7.0, 1.0], &[1], 1_000).prefill(1);
        assert!(got.abs_diff(124) <= 1, "{got}");
    }

    #[test]
    fn a_payer_waits_for_others_no_longer_than_for_itself() {
        let budget = measured([7.0, 1.0], &[1, 20, 9], 100);
        // Alone 8 ms; two may take 16: 9 rows.
        assert_eq!(budget.shared(2, 1), 9);
        assert_eq!(budget.shared(3, 4), 14 + 12);
        assert_eq!(Budget::new(Duration::from_millis(9), 16).shared(2, 1), usize::MAX);
    }

    #[test]
    fn a_draft_is_worth_what_its_row_costs() {
        let budget = measured([8.0, 1.0], &[1, 40, 8], 100);
        for (decodes, expect) in [(1, 1.0 / 9.0), (8, 0.5), (1_000, 0.9)] {
            let got = budget.draft_worth(decodes);
            assert!((got - expect).abs() < 0.02, "{decodes}: {got}");
        }
        assert_eq!(
            measured([8.0, 1.0], &[1], 100).draft_worth(1),
            0.9,
            "the row's part is unknown"
        );
    }

    #[test]
    fn one_step_that_was_held_up_changes_little() {
        let mut budget = measured([10.0, 1.0], &[1, 40, 8], 100);
        budget.observe(40, Duration::from_secs(60));
        assert!(budget.prefill(0) > 40, "{}", budget.prefill(0));
    }
}
