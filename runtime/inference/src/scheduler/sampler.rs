use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// Chooses tokens for one sequence. Its numbers depend on the seed and on how many tokens it has
/// chosen, not on what else is in the batch.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    random: ChaCha12Rng,
    candidates: Vec<(f32, u32)>,
}

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// 0 is greedy.
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    /// 0 is off.
    pub(crate) top_k: u32,
    pub(crate) seed: u64,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        let random = ChaCha12Rng::seed_from_u64(sampling.seed);
        Self { sampling, random, candidates: Vec::new() }
    }

    /// The next token. Values that are not numbers are never chosen while another is there.
    pub(crate) fn pick(&mut self, logits: &[f32]) -> u32 {
        if self.sampling.temperature == 0.0 {
            return greedy(logits);
        }
        // Drawn every time, so that the sequence of draws does not hang on the logits.
        let draw: f64 = self.random.random();
        let Sampling { temperature, top_p, top_k, .. } = self.sampling;
        self.candidates.clear();
        let numbers = logits.iter().zip(0u32..).filter(|(logit, _)| logit.is_finite());
        self.candidates.extend(numbers.map(|(logit, id)| (*logit, id)));
        // Ties go to the lower id, so that the order is one.
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let keep = top_k as usize;
        if keep > 0 && keep < self.candidates.len() {
            self.candidates.select_nth_unstable_by(keep - 1, order);
            self.candidates.truncate(keep);
        }
        if keep > 0 || top_p < 1.0 {
            self.candidates.sort_unstable_by(order);
        }
        let largest = self.candidates.iter().fold(f32::NEG_INFINITY, |a, (l, _)| a.max(*l));
        // In f64: in f32 a long tail of small weights would vanish beside the large ones.
        let mut sum = 0f64;
        for (weight, _) in &mut self.candidates {
            *weight = ((*weight - largest) / temperature).exp();
            sum += f64::from(*weight);
        }
        if top_p < 1.0 {
            sum = self.cut(f64::from(top_p) * sum);
        }
        self.draw(draw * sum).unwrap_or_else(|| greedy(logits))
    }

    /// Keeps the likeliest tokens up to a weight, at least one; gives their weight.
    fn cut(&mut self, weight_max: f64) -> f64 {
        let mut sum = 0f64;
        let reached = |(weight, _): &(f32, u32)| {
            sum += f64::from(*weight);
            sum >= weight_max
        };
        let last = self.candidates.iter().position(reached);
        if let Some(last) = last {
            self.candidates.truncate(last + 1);
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

/// The likeliest token; the first of equals.
fn greedy(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (logit, id) in logits.iter().zip(0u32..) {
        if *logit > best.0 {
            best = (*logit, id);
        }
    }
    best.1
}

#[cfg(test)]
mod tests;
