//! One row for each round, and how rows are printed.

use serde_json::{Value, json};

use crate::plan::Plan;

/// What a round came to.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The number of the round.
    pub(crate) round: u64,
    /// When the process died, from the beginning of the load.
    pub(crate) killed_after_ms: u64,
    /// Calls that were answered in full.
    pub(crate) acknowledged: usize,
    /// Calls that were sent.
    pub(crate) sent: usize,
    /// Top-ups that were acknowledged.
    pub(crate) top_ups: usize,
    /// Top-ups that were sent without an answer, and repeated.
    pub(crate) repeated: usize,
    /// From the start of the process to its readiness.
    pub(crate) recovery_ms: u64,
    /// Receipts that the round added.
    pub(crate) receipts: usize,
    /// Of these, the receipts of calls whose end no client saw.
    pub(crate) unseen: usize,
    /// Holds that were open when the process died, where the file could be read.
    pub(crate) holds: Option<i64>,
    /// What the fault struck.
    pub(crate) struck: Option<String>,
    /// What is broken.
    pub(crate) broken: Vec<String>,
}

impl Row {
    /// Prints the row.
    pub(crate) fn print(&self, plan: &Plan, json: bool) {
        if json {
            say(&self.json(plan).to_string());
            return;
        }
        let fault = plan.fault.map(|fault| {
            format!("  {fault} {}", self.struck.as_deref().unwrap_or("did not strike"))
        });
        let holds = self.holds.map_or("?".to_owned(), |holds| holds.to_string());
        say(&format!(
            "round {:<3} seed {:<20} {} after {} ms, {} early kills{}: {} calls sent, {} \
             acknowledged, {} receipts ({} unseen), {holds} holds open, {} top-ups ({} repeated), \
             recovered in {} ms, {} breaks",
            self.round,
            plan.seed,
            plan.end,
            self.killed_after_ms,
            plan.early.len(),
            fault.unwrap_or_default(),
            self.sent,
            self.acknowledged,
            self.receipts,
            self.unseen,
            self.top_ups,
            self.repeated,
            self.recovery_ms,
            self.broken.len(),
        ));
        self.broken.iter().for_each(|text| say(&format!("  BROKEN {text}")));
    }

    fn json(&self, plan: &Plan) -> Value {
        json!({
            "round": self.round,
            "seed": plan.seed,
            "end": plan.end.to_string(),
            "fault": plan.fault.map(|fault| fault.to_string()),
            "struck": self.struck,
            "early_kills": plan.early.len(),
            "killed_after_ms": self.killed_after_ms,
            "calls_sent": self.sent,
            "calls_acknowledged": self.acknowledged,
            "receipts": self.receipts,
            "receipts_unseen": self.unseen,
            "holds_open": self.holds,
            "top_ups": self.top_ups,
            "top_ups_repeated": self.repeated,
            "recovery_ms": self.recovery_ms,
            "breaks": self.broken,
        })
    }
}

/// Prints one line of the program's own output.
#[expect(clippy::print_stdout, reason = "the results are this program's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Says what is not a result, where it does not disturb the results.
#[expect(clippy::print_stderr, reason = "notices are for people, beside the rows")]
pub(crate) fn notice(line: &str) {
    eprintln!("{line}");
}
