//! AdamW over the whole model, with clipping by the global norm.
//!
//! burn's own optimiser clips each tensor alone and spends ten passes over memory per parameter;
//! this one measures all gradients first and then updates each parameter in one pass.

use crate::kernels::{AdamW, sum_of_squares};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor, TensorData};
use std::collections::HashMap;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPS: f32 = 1e-8;
const DECAY: f32 = 0.05;
const NORM_MAX: f32 = 1.0;

/// The state of training: moments per parameter and the number of steps taken.
#[derive(Default)]
pub(crate) struct Optimizer {
    moments: HashMap<ParamId, [Vec<f32>; 2]>,
    step: i32,
}

/// Takes each parameter's gradient out of burn's graph.
struct Collect<'a> {
    gradients: &'a mut Gradients,
    values: HashMap<ParamId, Vec<f32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(self.gradients);
        if let Some(values) = gradient.and_then(|g| g.into_data().try_into_vec::<f32>().ok()) {
            self.values.insert(param.id, values);
        }
    }
}

/// Replaces each parameter by its updated self.
struct Update<'a> {
    rule: AdamW,
    gradients: HashMap<ParamId, Vec<f32>>,
    moments: &'a mut HashMap<ParamId, [Vec<f32>; 2]>,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = self.gradients.remove(&id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let (device, shape) = (tensor.device(), tensor.dims());
        let mut weights: Vec<f32> = tensor.inner().into_data().iter::<f32>().collect();
        let fresh = || std::array::from_fn(|_| vec![0.0; gradient.len()]);
        let [first, second] = self.moments.entry(id).or_insert_with(fresh);
        // Norms (the only vectors) are not decayed.
        let rule = AdamW { decay: if D == 1 { 0.0 } else { DECAY }, ..self.rule };
        rule.apply(&mut weights, &gradient, [first, second]);
        let tensor = Tensor::from_data(TensorData::new(weights, shape), &device).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl Optimizer {
    /// Moves every parameter by one step of `rate`; returns the model and the gradient's norm.
    pub(crate) fn step<M: Module>(
        &mut self,
        model: M,
        mut gradients: Gradients,
        rate: f32,
    ) -> (M, f32) {
        let mut collect = Collect { gradients: &mut gradients, values: HashMap::new() };
        model.visit(&mut collect);
        let gradients = collect.values;
        let norm = gradients.values().map(|g| sum_of_squares(g)).sum::<f32>().sqrt();
        self.step += 1;
        let rule = AdamW {
            rate,
            beta1: BETA1,
            beta2: BETA2,
            eps: EPS,
            decay: DECAY,
            grad_scale: (NORM_MAX / norm.max(1e-12)).min(1.0),
            step: self.step,
        };
        let mut update = Update { rule, gradients, moments: &mut self.moments };
        (model.map(&mut update), norm)
    }
}
