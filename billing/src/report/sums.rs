//! What was used and what was earned, by days.

use serde::{Deserialize, Serialize};

use crate::calendar::Day;
use crate::hold::Subject;
use crate::ids::KeyId;
use crate::money::Nano;

use super::DayQuery;

/// The most sums in one answer.
pub const SUMS_MAX: u32 = 10_000;

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

/// Which sums: of whole days, one for each value of what they are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumsQuery<By> {
    /// Whose, and which days.
    pub days: DayQuery,
    /// By what they are told apart; one sum of everything where it is empty.
    pub by: Vec<By>,
    /// At most this many, of an answer that is not in order then; 1 to [`SUMS_MAX`].
    pub limit: u32,
}

/// By what sums of usage are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// The day.
    Day,
    /// The key.
    Key,
    /// The model or function that was called.
    Subject,
    /// The model whose tokens they are.
    Model,
}

/// By what sums of earnings are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarningsBy {
    /// The day.
    Day,
    /// As what it was earned.
    Role,
    /// The model or function that was called.
    Subject,
}

/// Usage, added up. What the sums are not told apart by is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSum {
    /// The day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The model or function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The model whose tokens these are; `None` also for a function's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Quantities and cost.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// Earnings, added up. What the sums are not told apart by is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarningsSum {
    /// The day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// As what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// By calls of which subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Charges that paid it.
    pub calls: u64,
    /// How much, refunds taken off.
    pub amount: Nano,
}

impl<By: Copy + PartialEq> SumsQuery<By> {
    /// The column, where the sums are told apart by it; else `otherwise`.
    pub(crate) fn column<'a>(&self, by: By, column: &'a str, otherwise: &'a str) -> &'a str {
        if self.by.contains(&by) { column } else { otherwise }
    }
}
