//! Fused operations with gradients, added to burn as a backend extension.
//!
//! burn's automatic differentiation composes softmax, attention and norms from elementary
//! operations, each of which walks memory once more; one operation each roughly halves the time of
//! a training step. Matrix products stay burn's own.

mod backward;

use crate::config::{CONTEXT, D_FF, NORM_EPS};
use crate::kernels::{self, IGNORE, attention};
use burn::backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{Tensor, TensorData};
use burn_flex::FlexTensor;
use std::sync::Arc;

/// Fused operations of the training step. Shapes: `x` `[tokens, width]`, `qkv`
/// `[tokens, 3 * D_MODEL]`, `gate_up` `[tokens, 2 * D_FF]`, `logits` `[tokens, VOCAB]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait TrainOps: Backend {
    /// Root-mean-square norm of each row.
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Causal attention within chats of the given lengths, with rotary positions.
    fn fused_attention(qkv: FloatTensor<Self>, lengths: Arc<[usize]>) -> FloatTensor<Self>;
    /// `silu(gate) * up`.
    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Mean cross-entropy `[1]` over the rows whose target counts.
    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self>;
}

/// The values of a contiguous tensor.
fn floats(tensor: &FlexTensor) -> &[f32] {
    let (start, end) = tensor.layout().contiguous_offsets().unwrap_or((0, 0));
    let values = &tensor.storage::<f32>()[start..end];
    assert_eq!(values.len(), tensor.layout().num_elements(), "the tensor is contiguous");
    values
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

fn shape(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().to_vec()
}

/// One over the number of targets that count.
fn loss_scale(targets: &[u32]) -> f32 {
    1.0 / targets.iter().filter(|target| **target != IGNORE).count().max(1) as f32
}

impl TrainOps for Flex {
    fn fused_rms_norm(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        tensor(kernels::rms_norm(floats(&x), floats(&weight), NORM_EPS), &shape(&x))
    }

    fn fused_attention(qkv: FlexTensor, lengths: Arc<[usize]>) -> FlexTensor {
        let qkv = qkv.to_contiguous();
        let values = attention::attention(floats(&qkv), &lengths);
        let rows = shape(&qkv)[0];
        let width = values.len() / rows.max(1);
        tensor(values, &[rows, width])
    }

    fn fused_swiglu(gate_up: FlexTensor) -> FlexTensor {
        let gate_up = gate_up.to_contiguous();
        tensor(kernels::swiglu(floats(&gate_up), D_FF), &[shape(&gate_up)[0], D_FF])
    }

    fn fused_cross_entropy(logits: FlexTensor, targets: Arc<[u32]>) -> FlexTensor {
        let logits = logits.to_contiguous();
        let (costs, _) = kernels::cross_entropy(floats(&logits), &targets);
        tensor(vec![costs.iter().sum::<f32>() * loss_scale(&targets)], &[1])
    }
}

/// Root-mean-square norm of each row of `x` `[tokens, width]`.
pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<1>) -> Tensor<2> {
    let op = <Dispatch as TrainOps>::fused_rms_norm;
    Tensor::from_dispatch(op(x.into_dispatch(), weight.into_dispatch()))
}

/// Causal attention within chats of the given lengths: `[tokens, 3 * D_MODEL]` to
/// `[tokens, D_MODEL]`.
pub(crate) fn causal_attention(qkv: Tensor<2>, lengths: &Arc<[usize]>) -> Tensor<2> {
    assert!(lengths.iter().all(|n| *n <= CONTEXT), "a chat is longer than the context");
    assert_eq!(lengths.iter().sum::<usize>(), qkv.dims()[0], "the lengths cover the rows");
    let op = <Dispatch as TrainOps>::fused_attention;
    Tensor::from_dispatch(op(qkv.into_dispatch(), Arc::clone(lengths)))
}

/// `silu(gate) * up`: `[tokens, 2 * D_FF]` to `[tokens, D_FF]`.
pub(crate) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as TrainOps>::fused_swiglu(gate_up.into_dispatch()))
}

/// Mean cross-entropy, in nats, over the rows whose target is not [`IGNORE`].
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: &Arc<[u32]>) -> Tensor<1> {
    assert_eq!(targets.len(), logits.dims()[0], "one target per row");
    let op = <Dispatch as TrainOps>::fused_cross_entropy;
    Tensor::from_dispatch(op(logits.into_dispatch(), Arc::clone(targets)))
}

#[cfg(test)]
mod tests;
