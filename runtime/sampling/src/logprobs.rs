use serde::{Deserialize, Serialize};

use crate::sampler::largest;

/// Most alternatives that may be asked for.
pub const TOP_LOGPROBS_MAX: usize = 20;

/// A token and the natural logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// How likely a chosen token was to the model itself: before penalties, biases, grammar and
/// temperature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// The token that was chosen.
    pub chosen: Candidate,
    /// The likeliest tokens, the likeliest first, and the lower id first of equals.
    pub top: Vec<Candidate>,
}

impl Logprobs {
    /// Of one row of logits; `count` is cut to [`TOP_LOGPROBS_MAX`].
    pub fn of(logits: &[f32], chosen: u32, count: usize) -> Self {
        let count = count.min(TOP_LOGPROBS_MAX);
        let largest = largest(logits);
        let finite = |logit: &&f32| logit.is_finite();
        let weights = logits.iter().filter(finite).map(|logit| f64::from(logit - largest).exp());
        let sum = weights.sum::<f64>().ln();
        let logprob = |logit: f32| match logit.is_finite() {
            true => (f64::from(logit - largest) - sum) as f32,
            false => f32::NEG_INFINITY,
        };
        let mut top: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
        for (logit, id) in logits.iter().zip(0u32..) {
            let full = top.len() == count;
            if !logit.is_finite() || (full && top.last().is_none_or(|last| *logit <= last.0)) {
                continue;
            }
            let at = top.partition_point(|(other, _)| *other >= *logit);
            top.insert(at, (*logit, id));
            top.truncate(count);
        }
        let candidate = |logit: f32, token: u32| Candidate { token, logprob: logprob(logit) };
        let own = logits.get(chosen as usize).copied().unwrap_or(f32::NEG_INFINITY);
        Self {
            chosen: candidate(own, chosen),
            top: top.into_iter().map(|(logit, token)| candidate(logit, token)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
