//! The gradients of the fused operations, as nodes of burn's autodiff graph.

use super::{TrainOps, floats, loss_scale, shape, tensor};
use crate::config::{D_FF, NORM_EPS};
use crate::kernels::{self, attention};
use burn::backend::Flex;
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;
use std::sync::Arc;

#[derive(Debug)]
struct RmsNorm;

impl Backward<Flex, 2> for RmsNorm {
    type State = (FlexTensor, FlexTensor);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node_x, node_weight] = ops.parents;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, weight) = ops.state;
        let (dx, dw) = kernels::rms_norm_grad(floats(&x), floats(&weight), NORM_EPS, floats(&dy));
        if let Some(node) = node_x {
            grads.register::<Flex>(node.id, tensor(dx, &shape(&x)));
        }
        if let Some(node) = node_weight {
            grads.register::<Flex>(node.id, tensor(dw, &shape(&weight)));
        }
    }
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 1> for Attention {
    type State = (FlexTensor, Arc<[usize]>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (qkv, lengths) = ops.state;
        let d = attention::attention_grad(floats(&qkv), &lengths, floats(&dy));
        if let Some(node) = node {
            grads.register::<Flex>(node.id, tensor(d, &shape(&qkv)));
        }
    }
}

#[derive(Debug)]
struct Swiglu;

impl Backward<Flex, 1> for Swiglu {
    type State = FlexTensor;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let d = kernels::swiglu_grad(floats(&ops.state), D_FF, floats(&dy));
        if let Some(node) = node {
            grads.register::<Flex>(node.id, tensor(d, &shape(&ops.state)));
        }
    }
}

#[derive(Debug)]
struct CrossEntropy;

impl Backward<Flex, 1> for CrossEntropy {
    /// Logits, targets, log-sum-exp per row.
    type State = (FlexTensor, Arc<[u32]>, Vec<f32>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (logits, targets, lse) = ops.state;
        let scale = loss_scale(&targets) * floats(&dy)[0];
        let d = kernels::cross_entropy_grad(floats(&logits), &targets, &lse, scale);
        if let Some(node) = node {
            grads.register::<Flex>(node.id, tensor(d, &shape(&logits)));
        }
    }
}

impl<C: CheckpointStrategy> TrainOps for Autodiff<Flex, C> {
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match RmsNorm.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive().to_contiguous();
                let weight = weight.into_primitive().to_contiguous();
                let output = Flex::fused_rms_norm(x.clone(), weight.clone());
                prep.finish((x, weight), output)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(Flex::fused_rms_norm(x.into_primitive(), weight.into_primitive()))
            }
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, lengths: Arc<[usize]>) -> FloatTensor<Self> {
        match Attention.prepare::<C>([qkv.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let qkv = qkv.into_primitive().to_contiguous();
                let output = Flex::fused_attention(qkv.clone(), Arc::clone(&lengths));
                prep.finish((qkv, lengths), output)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(Flex::fused_attention(qkv.into_primitive(), lengths))
            }
        }
    }

    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        match Swiglu.prepare::<C>([gate_up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let gate_up = gate_up.into_primitive().to_contiguous();
                let output = Flex::fused_swiglu(gate_up.clone());
                prep.finish(gate_up, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_swiglu(gate_up.into_primitive())),
        }
    }

    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self> {
        match CrossEntropy.prepare::<C>([logits.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let logits = logits.into_primitive().to_contiguous();
                let (costs, lse) = kernels::cross_entropy(floats(&logits), &targets);
                let loss = costs.iter().sum::<f32>() * loss_scale(&targets);
                prep.finish((logits, targets, lse), tensor(vec![loss], &[1]))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(Flex::fused_cross_entropy(logits.into_primitive(), targets))
            }
        }
    }
}
