use std::collections::{HashMap, HashSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::grammar::Mask;
use crate::options::Sampling;

/// Weights below this share of the largest, as a power of e, are below what a draw can tell
/// apart.
const NEGLIGIBLE: f32 = 60.0;
/// Logits that are looked at together.
const LANES: usize = 32;

/// Chooses tokens for one sequence.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha12Rng,
    /// Tokens of the prompt, where their repetition has a price.
    prompt: HashSet<u32>,
    /// How often the output has each token, where that has a price.
    counts: HashMap<u32, u32>,
    candidates: Vec<(f32, u32)>,
    adjusted: Vec<f32>,
}

impl Sampler {
    /// For options that [`Sampling::check`] has passed. The same seed, prompt and logits give the
    /// same tokens.
    pub fn new(sampling: Sampling, seed: u64, prompt: &[u32]) -> Self {
        #[expect(clippy::float_cmp, reason = "the value that means off")]
        let prices_prompt = sampling.repetition_penalty != 1.0;
        let prompt = if prices_prompt { prompt.iter().copied().collect() } else { HashSet::new() };
        Self {
            random: ChaCha12Rng::seed_from_u64(seed),
            prompt,
            counts: HashMap::new(),
            candidates: Vec::new(),
            adjusted: Vec::new(),
            sampling,
        }
    }

    /// The next token after the ones that were picked before. Values that are not numbers are
    /// never chosen while another is there. Without a mask every token is allowed.
    pub fn pick(&mut self, logits: &[f32], mask: Option<&Mask>) -> u32 {
        let changed = mask.is_some() || !self.sampling.leaves_logits();
        let mut adjusted = std::mem::take(&mut self.adjusted);
        let row = if changed {
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.adjust(&mut adjusted);
            if let Some(mask) = mask {
                mask.apply(&mut adjusted);
            }
            adjusted.as_slice()
        } else {
            logits
        };
        let token = self.choose(row);
        self.adjusted = adjusted;
        if !self.sampling.leaves_logits() {
            let count = self.counts.entry(token).or_default();
            *count = count.saturating_add(1);
        }
        token
    }

    /// Penalties and biases.
    fn adjust(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } =
            self.sampling;
        let repeated = |logit: f32| match logit > 0.0 {
            true => logit / repetition_penalty,
            false => logit * repetition_penalty,
        };
        let produced = self.counts.keys().filter(|token| !self.prompt.contains(token));
        for token in self.prompt.iter().chain(produced) {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = repeated(*logit);
            }
        }
        for (token, count) in &self.counts {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit -= presence_penalty + frequency_penalty * *count as f32;
            }
        }
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.sampling.temperature == 0.0 {
            return greedy(logits);
        }
        // Drawn every time, so that the sequence of draws does not hang on the logits.
        let draw: f64 = self.random.random();
        let Sampling { temperature, top_p, top_k, min_p, .. } = self.sampling;
        let largest = largest(logits);
        if !largest.is_finite() {
            return greedy(logits);
        }
        let floor = largest - NEGLIGIBLE * temperature;
        self.candidates.clear();
        let numbers = logits.iter().zip(0u32..).filter(|(logit, _)| **logit >= floor);
        self.candidates.extend(numbers.map(|(logit, id)| (*logit, id)));
        let keep = top_k as usize;
        if keep > 0 && keep < self.candidates.len() {
            self.candidates.select_nth_unstable_by(keep - 1, order);
            self.candidates.truncate(keep);
            // The order decides which token a draw meets, so it must not hang on the selection.
            self.candidates.sort_unstable_by_key(|(_, id)| *id);
        }
        // In f64: in f32 a long tail of small weights would vanish beside the large ones.
        let mut sum = 0f64;
        for (weight, _) in &mut self.candidates {
            *weight = ((*weight - largest) / temperature).exp();
            sum += f64::from(*weight);
        }
        if top_p < 1.0 {
            sum = self.cut(f64::from(top_p) * sum);
        }
        if min_p > 0.0 {
            self.candidates.retain(|(weight, _)| *weight >= min_p);
            sum = self.candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
        }
        self.draw(draw * sum).unwrap_or_else(|| greedy(logits))
    }

    /// Keeps the likeliest tokens up to a weight, at least one; gives their weight.
    fn cut(&mut self, weight_max: f64) -> f64 {
        // Most of the weight is in few tokens: sort those, and more only where they do not do.
        let mut sorted = 0;
        let mut sum = 0f64;
        let mut ahead = 64;
        while sorted < self.candidates.len() {
            let rest = &mut self.candidates[sorted..];
            let count = ahead.min(rest.len());
            if count < rest.len() {
                rest.select_nth_unstable_by(count, order);
            }
            rest[..count].sort_unstable_by(order);
            let reached = rest[..count].iter().position(|(weight, _)| {
                sum += f64::from(*weight);
                sum >= weight_max
            });
            if let Some(last) = reached {
                self.candidates.truncate(sorted + last + 1);
                return sum;
            }
            sorted += count;
            ahead *= 4;
        }
        sum
    }

    fn draw(&self, mut weight: f64) -> Option<u32> {
        for (w, id) in &self.candidates {
            weight -= f64::from(*w);
            if weight < 0.0 {
                return Some(*id);
            }
        }
        // Rounding left a rest: the likeliest is the one that it changes least.
        let heaviest = self.candidates.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        heaviest.map(|(_, id)| *id)
    }
}

/// The likelier first; ties go to the lower id, so that the order is one.
fn order(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The largest number; negative infinity where there is none.
pub(crate) fn largest(logits: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    // Many at a time: each would wait for the one before.
    let (rows, rest) = logits.as_chunks::<LANES>();
    let mut best = [f32::NEG_INFINITY; LANES];
    for row in rows {
        for (best, logit) in best.iter_mut().zip(row) {
            *best = larger(*best, *logit);
        }
    }
    best.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// The likeliest token; the first of equals.
fn greedy(logits: &[f32]) -> u32 {
    let largest = largest(logits);
    if largest == f32::NEG_INFINITY {
        return 0;
    }
    let at = logits.iter().position(|logit| *logit >= largest);
    at.map_or(0, |at| at as u32)
}

#[cfg(test)]
mod tests;
