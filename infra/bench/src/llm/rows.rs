//! What is printed of inference.

use serde::Serialize;
use serde_json::{Map, Value};

use super::machine::Conditions;
use super::{Case, Options};
use crate::row::{Line, round};

/// A figure of each round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; `None` without a round.
    pub(crate) fn median(&self) -> Option<f64> {
        self.0.get(self.0.len() / 2).copied()
    }

    /// The lowest and the highest.
    fn range(&self) -> Option<[f64; 2]> {
        Some([round(*self.0.first()?, 2), round(*self.0.last()?, 2)])
    }
}

/// What a ratio has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

/// One case: our figure, what it is compared with, and their ratio.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LlmRow {
    pub(crate) bench: &'static str,
    /// What of the benchmark is measured, where it has several parts.
    pub(crate) case: &'static str,
    pub(crate) model: &'static str,
    pub(crate) quantisation: &'static str,
    pub(crate) device: String,
    pub(crate) threads: usize,
    pub(crate) rounds: u32,
    /// A smoke run, whose figures mean nothing.
    pub(crate) quick: bool,
    /// Of `ours` and `peer`.
    pub(crate) unit: &'static str,
    /// The median of the rounds.
    pub(crate) ours: Option<f64>,
    ours_range: Option<[f64; 2]>,
    /// Another engine, or ours under other conditions.
    pub(crate) peer_name: Option<&'static str>,
    pub(crate) peer: Option<f64>,
    peer_range: Option<[f64; 2]>,
    /// `ours / peer`.
    pub(crate) ratio: Option<f64>,
    pub(crate) target: Option<Target>,
    pub(crate) target_met: Option<bool>,
    /// What belongs to this benchmark alone.
    pub(crate) details: Map<String, Value>,
    /// Why there is no figure of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unavailable: Option<String>,
    #[serde(flatten)]
    conditions: Option<Conditions>,
}

impl LlmRow {
    pub(crate) fn new(bench: &'static str, case: &Case, options: &Options) -> Self {
        Self {
            bench,
            case: "",
            model: case.shape.name(),
            quantisation: case.quant.name(),
            device: case.device.to_string(),
            threads: case.threads,
            rounds: options.rounds(),
            quick: options.quick,
            unit: "tokens/s",
            ours: None,
            ours_range: None,
            peer_name: None,
            peer: None,
            peer_range: None,
            ratio: None,
            target: None,
            target_met: None,
            details: Map::new(),
            unavailable: None,
            conditions: None,
        }
    }

    /// Our figures.
    pub(crate) fn ours(mut self, rounds: &Rounds, conditions: Conditions) -> Self {
        self.ours = rounds.median().map(|figure| round(figure, 2));
        self.ours_range = rounds.range();
        self.conditions = Some(conditions);
        self
    }

    /// The others' figures, and what the ratio has to be.
    pub(crate) fn beside(
        mut self,
        name: &'static str,
        rounds: &Rounds,
        target: Option<Target>,
    ) -> Self {
        self.peer_name = Some(name);
        self.peer = rounds.median().map(|figure| round(figure, 2));
        self.peer_range = rounds.range();
        let ratio = self.ours.zip(self.peer).filter(|(_, peer)| *peer > 0.0);
        self.ratio = ratio.map(|(ours, peer)| round(ours / peer, 3));
        self.target = target;
        self.target_met = target.zip(self.ratio).map(|(target, ratio)| target.met(ratio));
        self
    }

    /// What else the machine did, once ours was measured.
    pub(crate) fn conditions(&self) -> Option<Conditions> {
        self.conditions
    }

    pub(crate) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// A row without a figure of ours, or with one that is not what was to be measured.
    pub(crate) fn unavailable(mut self, reason: String) -> Self {
        self.unavailable = Some(reason);
        self.target_met = None;
        self
    }
}

impl Line for LlmRow {
    fn columns(&self) -> String {
        let figure =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
        let target = match (self.target, self.target_met) {
            (Some(target), Some(met)) => {
                format!("{target:?}: {}", if met { "met" } else { "missed" })
            }
            _ => String::new(),
        };
        format!(
            "{:<12} {:<14} {:<13} {:<7} {} {} thread(s) {:>10} {} beside {:>10} ({})  ratio {}  {} {}",
            self.bench,
            self.case,
            self.model,
            self.quantisation,
            self.device,
            self.threads,
            figure(self.ours),
            self.unit,
            figure(self.peer),
            self.peer_name.unwrap_or("nobody"),
            figure(self.ratio),
            target,
            self.unavailable.as_deref().unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_round_counts() {
        let mut rounds = Rounds::default();
        assert_eq!((rounds.median(), rounds.range()), (None, None));
        [3.0, 1.0, 2.0].into_iter().for_each(|figure| rounds.push(figure));
        assert_eq!((rounds.median(), rounds.range()), (Some(2.0), Some([1.0, 3.0])));
    }

    #[test]
    fn targets_are_bounds_that_may_be_reached() {
        for (target, ratio, met) in [
            (Target::AtLeast(1.3), 1.3, true),
            (Target::AtLeast(1.3), 1.29, false),
            (Target::AtMost(0.1), 0.1, true),
            (Target::AtMost(0.1), 0.11, false),
        ] {
            assert_eq!(target.met(ratio), met, "{target:?} {ratio}");
        }
    }
}
