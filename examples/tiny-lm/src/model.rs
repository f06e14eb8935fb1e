//! The model as burn parameters: a Llama of six blocks whose output shares the embedding.

use crate::config::{D_FF, D_MODEL, LAYERS, VOCAB};
use crate::ops::{causal_attention, cross_entropy, rms_norm, swiglu};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use std::sync::Arc;

/// One transformer block. Matrices are `[in, out]`; queries, keys and values share one, and so do
/// the gate and the up projection.
#[derive(Module, Debug)]
pub(crate) struct Block {
    /// `[D_MODEL]`.
    pub(crate) attn_norm: Param<Tensor<1>>,
    /// `[D_MODEL, 3 * D_MODEL]`.
    pub(crate) qkv: Param<Tensor<2>>,
    /// `[D_MODEL, D_MODEL]`.
    pub(crate) attn_output: Param<Tensor<2>>,
    /// `[D_MODEL]`.
    pub(crate) ffn_norm: Param<Tensor<1>>,
    /// `[D_MODEL, 2 * D_FF]`.
    pub(crate) gate_up: Param<Tensor<2>>,
    /// `[D_FF, D_MODEL]`.
    pub(crate) down: Param<Tensor<2>>,
}

/// The whole model.
#[derive(Module, Debug)]
pub(crate) struct Model {
    /// `[VOCAB, D_MODEL]`, used at both ends.
    pub(crate) embedding: Param<Tensor<2>>,
    /// In order from the input.
    pub(crate) blocks: Vec<Block>,
    /// `[D_MODEL]`.
    pub(crate) output_norm: Param<Tensor<1>>,
}

/// Whole chats, one after another, without padding.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// `[tokens]`.
    pub(crate) ids: Vec<u32>,
    /// What follows each token, or [`crate::kernels::IGNORE`].
    pub(crate) targets: Arc<[u32]>,
    /// Tokens of each chat.
    pub(crate) lengths: Arc<[usize]>,
}

fn matrix(rows: usize, columns: usize, deviation: f64, device: &Device) -> Param<Tensor<2>> {
    let values = Tensor::random([rows, columns], Distribution::Normal(0.0, deviation), device);
    Param::initialized(ParamId::new(), values.require_grad())
}

fn ones(device: &Device) -> Param<Tensor<1>> {
    Param::initialized(ParamId::new(), Tensor::ones([D_MODEL], device).require_grad())
}

fn deviation(fan_in: usize) -> f64 {
    1.0 / (fan_in as f64).sqrt()
}

impl Block {
    fn new(device: &Device) -> Self {
        // What adds to the residual stream starts smaller, so that its variance does not grow with
        // the number of blocks.
        let residual = deviation(2 * LAYERS);
        Self {
            attn_norm: ones(device),
            qkv: matrix(D_MODEL, 3 * D_MODEL, deviation(D_MODEL), device),
            attn_output: matrix(D_MODEL, D_MODEL, deviation(D_MODEL) * residual, device),
            ffn_norm: ones(device),
            gate_up: matrix(D_MODEL, 2 * D_FF, deviation(D_MODEL), device),
            down: matrix(D_FF, D_MODEL, deviation(D_FF) * residual, device),
        }
    }

    fn forward(&self, x: Tensor<2>, lengths: &Arc<[usize]>) -> Tensor<2> {
        let h = rms_norm(x.clone(), self.attn_norm.val());
        let attended = causal_attention(h.matmul(self.qkv.val()), lengths);
        let x = x + attended.matmul(self.attn_output.val());
        let h = rms_norm(x.clone(), self.ffn_norm.val());
        let inner = swiglu(h.matmul(self.gate_up.val()));
        x + inner.matmul(self.down.val())
    }
}

impl Model {
    /// A model with random weights; `device.seed` fixes them.
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            embedding: matrix(VOCAB, D_MODEL, deviation(D_MODEL), device),
            blocks: (0..LAYERS).map(|_| Block::new(device)).collect(),
            output_norm: ones(device),
        }
    }

    /// Logits `[tokens, VOCAB]`.
    pub(crate) fn forward(&self, batch: &Batch) -> Tensor<2> {
        let embedding = self.embedding.val();
        let ids: Vec<i32> = batch.ids.iter().map(|id| *id as i32).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &embedding.device());
        let mut x = embedding.clone().select(0, ids);
        for block in &self.blocks {
            x = block.forward(x, &batch.lengths);
        }
        rms_norm(x, self.output_norm.val()).matmul(embedding.transpose())
    }

    /// Mean cross-entropy in nats over the tokens that count.
    pub(crate) fn loss(&self, batch: &Batch) -> Tensor<1> {
        cross_entropy(self.forward(batch), &batch.targets)
    }
}
