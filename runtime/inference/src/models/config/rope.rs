//! Sources: Su et al. 2021 (rotary embedding), Chen et al. 2023 (linear), Peng et al. 2023 (YaRN),
//! Ding et al. 2024 (LongRoPE), Llama 3.1's model card.

use super::Wrong;

/// A rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// Values of a head that turn, the first ones.
    pub(crate) dims: usize,
    pub(crate) theta: f64,
    pub(crate) scaling: RopeScaling,
}

/// How rotary frequencies are stretched for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RopeScaling {
    None,
    /// All divided by a factor.
    Linear(f64),
    /// Llama 3.1: low frequencies divided, high kept, a ramp between.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_context: f64,
    },
    /// GGUF's `rope_freqs.weight`: each frequency has a divisor of its own.
    Divisors(Vec<f32>),
    /// As Llama 3.1, with the ramp over the number of the frequency; angles' vectors grow.
    Yarn {
        factor: f64,
        fast: f64,
        slow: f64,
        original_context: f64,
        magnitude: f64,
    },
    /// Phi: divisors for contexts up to the original one, and for longer ones.
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        original_context: f64,
        magnitude: f64,
    },
}

impl Rope {
    pub(super) fn check(&self, head_dims: usize) -> Result<(), Wrong> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.theta) {
            return Err(("rope base", "is not positive".to_owned()));
        }
        if self.dims == 0 || self.dims > head_dims || !self.dims.is_multiple_of(2) {
            let reason = format!("{} of a head's {head_dims} cannot turn", self.dims);
            return Err(("rope dimensions", reason));
        }
        let half = self.dims / 2;
        let fits = |divisors: &[f32]| {
            divisors.len() == half && divisors.iter().all(|d| positive(f64::from(*d)))
        };
        let fine = match &self.scaling {
            RopeScaling::None => true,
            RopeScaling::Linear(factor) => positive(*factor),
            RopeScaling::Divisors(divisors) => fits(divisors),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                [*factor, *low, *high, *original_context].into_iter().all(positive) && high > low
            }
            RopeScaling::Yarn { factor, fast, slow, original_context, magnitude } => {
                let all = [*factor, *fast, *slow, *original_context, *magnitude];
                all.into_iter().all(positive) && self.theta > 1.0
            }
            RopeScaling::Long { short, long, original_context, magnitude } => {
                fits(short) && fits(long) && positive(*original_context) && positive(*magnitude)
            }
        };
        if fine {
            return Ok(());
        }
        Err(("rope scaling", "a factor is not positive, or their number is not right".to_owned()))
    }

    /// Radians for each position, `[dims / 2]`, and the length of an angle's vector, for sequences
    /// of up to `context` tokens.
    pub(crate) fn frequencies(&self, context: usize) -> (Vec<f64>, f64) {
        let dims = self.dims as f64;
        let plain = (0..self.dims / 2).map(|i| self.theta.powf(-2.0 * i as f64 / dims));
        let divided = |by: &[f32]| plain.clone().zip(by).map(|(f, d)| f / f64::from(*d)).collect();
        match &self.scaling {
            RopeScaling::None => (plain.collect(), 1.0),
            RopeScaling::Linear(factor) => (plain.map(|f| f / factor).collect(), 1.0),
            RopeScaling::Divisors(divisors) => (divided(divisors), 1.0),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                let scaled = plain.map(|f| {
                    let turns = original_context * f / std::f64::consts::TAU;
                    let ramp = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - ramp) * f / factor + ramp * f
                });
                (scaled.collect(), 1.0)
            }
            RopeScaling::Yarn { factor, fast, slow, original_context, magnitude } => {
                // The number of the frequency that turns so often within the original context.
                let place = |turns: f64| {
                    dims * (original_context / (turns * std::f64::consts::TAU)).ln()
                        / (2.0 * self.theta.ln())
                };
                let first = place(*fast).floor().max(0.0);
                let last = place(*slow).ceil().min(dims - 1.0);
                let width = (last - first).max(0.001);
                let scaled = plain.enumerate().map(|(i, f)| {
                    let ramp = ((i as f64 - first) / width).clamp(0.0, 1.0);
                    ramp * f / factor + (1.0 - ramp) * f
                });
                (scaled.collect(), *magnitude)
            }
            RopeScaling::Long { short, long, original_context, magnitude } => {
                let beyond = context as f64 > *original_context;
                (divided(if beyond { long } else { short }), *magnitude)
            }
        }
    }
}
