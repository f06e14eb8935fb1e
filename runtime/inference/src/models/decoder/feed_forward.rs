use burn::module::Module;
use burn::tensor::{Tensor, TensorData, activation};

use super::{ids, values};
use crate::models::config::{Activation, Experts};
use crate::models::ops::linear::Linear;
use crate::models::ops::{self, Path};

/// The part of a layer after attention.
#[derive(Module, Debug)]
pub(super) enum FeedForward {
    Gated(Gated),
    Mixture(Mixture),
}

/// `down(f(gate x) * up x)`.
#[derive(Module, Debug)]
pub(super) struct Gated {
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
}

/// Experts, of which each token goes through a few. Source: Shazeer et al. 2017.
#[derive(Module, Debug)]
pub(super) struct Mixture {
    pub(super) router: Linear,
    pub(super) experts: Vec<Gated>,
    #[module(skip)]
    pub(super) plan: Experts,
}

impl FeedForward {
    pub(super) fn forward(&self, x: Tensor<2>, function: Activation, path: Path) -> Tensor<2> {
        match self {
            Self::Gated(gated) => gated.forward(x, function, path),
            Self::Mixture(mixture) => mixture.forward(&x, function, path),
        }
    }
}

impl Gated {
    fn forward(&self, x: Tensor<2>, function: Activation, path: Path) -> Tensor<2> {
        self.down.forward(ops::gate(self.gate_up.forward(x), function, path))
    }
}

impl Mixture {
    /// Experts add to a token in their order, whatever the batch.
    fn forward(&self, x: &Tensor<2>, function: Activation, path: Path) -> Tensor<2> {
        let [tokens, width] = x.dims();
        let device = x.device();
        let shares = values(Some(activation::softmax(self.router.forward(x.clone()), 1)));
        let mut work: Vec<Vec<(u32, f32)>> = vec![Vec::new(); self.experts.len()];
        for (token, shares) in (0u32..).zip(shares.chunks_exact(self.plan.count)) {
            for (expert, share) in self.chosen(shares) {
                work[expert].push((token, share));
            }
        }
        let mut sum = vec![0f32; tokens * width];
        for (expert, work) in self.experts.iter().zip(work).filter(|(_, work)| !work.is_empty()) {
            let rows: Vec<u32> = work.iter().map(|(token, _)| *token).collect();
            let h = expert.forward(x.clone().select(0, ids(&rows, &device)), function, path);
            let h = values(Some(h));
            for ((token, share), h) in work.iter().zip(h.chunks_exact(width)) {
                let sum = &mut sum[*token as usize * width..][..width];
                sum.iter_mut().zip(h).for_each(|(sum, value)| *sum += value * share);
            }
        }
        Tensor::from_data(TensorData::new(sum, [tokens, width]), &device)
    }

    /// A token's experts with the largest shares.
    fn chosen(&self, shares: &[f32]) -> Vec<(usize, f32)> {
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]).then(a.cmp(b)));
        order.truncate(self.plan.used);
        let sum: f32 = order.iter().map(|expert| shares[*expert]).sum();
        let divisor = if self.plan.normalise { sum } else { 1.0 };
        order.into_iter().map(|expert| (expert, shares[expert] / divisor)).collect()
    }
}
