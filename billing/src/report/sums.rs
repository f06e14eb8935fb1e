//! What was used and what was earned, by days.

use serde::{Deserialize, Serialize};

use crate::calendar::Day;
use crate::hold::Subject;
use crate::ids::KeyId;
use crate::money::Nano;

/// What one key used of one subject on one day. Calls and cost count with the row whose `model`
/// is `None` (a function's own) or the subject's own model; models that a function called have
/// rows with quantities only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The day on which the charge was made.
    pub day: Day,
    /// The key.
    pub key: KeyId,
    /// The model or function.
    pub subject: Subject,
    /// The model whose tokens these are.
    pub model: Option<String>,
    /// Quantities and cost.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// Quantities and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSums {
    /// Charged calls.
    pub calls: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Prompt tokens from the cache.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Microseconds of thread CPU time.
    pub compute_micros: u64,
    /// Units of fuel.
    pub fuel: u64,
    /// Bytes sent to other hosts.
    pub egress_bytes: u64,
    /// What the calls cost.
    pub cost: Nano,
}

/// What an organisation earned on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarningsRow {
    /// The day.
    pub day: Day,
    /// As what.
    pub role: Role,
    /// By calls of which subject.
    pub subject: Subject,
    /// Charges that paid it.
    pub calls: u64,
    /// How much, refunds taken off.
    pub amount: Nano,
}

/// As what an organisation earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A function's author.
    Author,
    /// A model's owner.
    ModelOwner,
    /// The provider of a machine.
    Provider,
}
