//! Sources: Touvron et al. 2023 (Llama), Ainslie et al. 2023 (grouped queries), and the families'
//! reports; what they differ in is in [`DecoderConfig`] and in [`super::families`].

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberbox_kernels::attention::{CacheKind, Heads, Span};

use super::config::{Activation, DecoderConfig};
use super::kv::{Cache, LayerCache, Shape};
use super::ops::linear::Linear;
use super::ops::{self, Attention, AttentionTensors, Path};

mod feed_forward;
mod load;

use feed_forward::FeedForward;
pub(crate) use load::{Loader, check};

/// The network. It holds nothing of any sequence.
#[derive(Module, Debug)]
pub(crate) struct Decoder {
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Param<Tensor<1>>,
    /// `None` when the embedding serves.
    output: Option<Linear>,
    angles: Tensor<3>,
    /// Of layers with a window, where theirs are others.
    angles_local: Option<Tensor<3>>,
    #[module(skip)]
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    heads: Heads,
    epsilon: f32,
    activation: Activation,
    embedding_scale: Option<f32>,
    final_softcap: Option<f32>,
    path: Path,
    cache: CacheKind,
}

/// Norms that a family does not have are absent.
#[derive(Module, Debug)]
struct Layer {
    attention_norm: Option<Param<Tensor<1>>>,
    qkv: Linear,
    /// Norms of queries and of keys, side by side; one zero when there are none.
    head_norms: Param<Tensor<1>>,
    output: Linear,
    post_attention_norm: Option<Param<Tensor<1>>>,
    feed_forward_norm: Option<Param<Tensor<1>>>,
    feed_forward: FeedForward,
    post_feed_forward_norm: Option<Param<Tensor<1>>>,
    #[module(skip)]
    attention: Attention,
}

/// Rows to compute.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// One token for each row.
    pub(crate) tokens: Vec<u32>,
    /// Whose the rows are, in order.
    pub(crate) spans: Vec<Span>,
    /// Rows whose logits are wanted.
    pub(crate) wanted: Vec<u32>,
}

impl Decoder {
    /// Computes rows; gives the cache back and the wanted rows' logits, `[wanted, vocabulary]`.
    pub(crate) fn forward(&self, cache: Cache, rows: Rows) -> (Cache, Vec<f32>) {
        let (cache, states) = self.run(cache, rows);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let mut logits = values(states.map(|x| output.forward(x)));
        if let Some(cap) = self.plan.final_softcap {
            logits.iter_mut().for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        (cache, logits)
    }

    /// Computes rows; gives the cache back and the wanted rows' states after the last norm,
    /// `[wanted, d_model]`.
    pub(crate) fn states(&self, cache: Cache, rows: Rows) -> (Cache, Vec<f32>) {
        let (cache, states) = self.run(cache, rows);
        (cache, values(states))
    }

    /// All layers and the last norm; no states where none are wanted.
    fn run(&self, cache: Cache, rows: Rows) -> (Cache, Option<Tensor<2>>) {
        let device = self.angles.device();
        let spans = Arc::new(rows.spans);
        let mut x = self.embedding.rows(ids(&rows.tokens, &device));
        if let Some(scale) = self.plan.embedding_scale {
            x = x.mul_scalar(scale);
        }
        let mut layers = Vec::with_capacity(self.layers.len());
        for (layer, cache) in self.layers.iter().zip(cache.layers) {
            let (after, cache) = self.layer(layer, x, cache, &spans);
            x = after;
            layers.push(cache);
        }
        let cache = Cache { layers };
        if rows.wanted.is_empty() {
            return (cache, None);
        }
        let x = x.select(0, ids(&rows.wanted, &device));
        (cache, Some(ops::norm(x, &self.norm, self.plan.epsilon, self.plan.path)))
    }

    fn layer(
        &self,
        layer: &Layer,
        x: Tensor<2>,
        cache: LayerCache,
        spans: &Arc<Vec<Span>>,
    ) -> (Tensor<2>, LayerCache) {
        let norm = |x: Tensor<2>, weight: &Option<Param<Tensor<1>>>| match weight {
            Some(weight) => ops::norm(x, weight, self.plan.epsilon, self.plan.path),
            None => x,
        };
        let qkv = layer.qkv.forward(norm(x.clone(), &layer.attention_norm));
        let local = self.angles_local.as_ref().filter(|_| layer.attention.window.is_some());
        let angles = local.unwrap_or(&self.angles);
        let norms = &layer.head_norms.val();
        let tensors = AttentionTensors { qkv, angles, norms };
        let (h, cache) = ops::attend(tensors, cache, layer.attention, spans);
        let x = x.add(norm(layer.output.forward(h), &layer.post_attention_norm));
        let h = norm(x.clone(), &layer.feed_forward_norm);
        let h = layer.feed_forward.forward(h, self.plan.activation, self.plan.path);
        (x.add(norm(h, &layer.post_feed_forward_norm)), cache)
    }

    /// An empty cache of `blocks` for this network.
    pub(crate) fn cache(&self, blocks: usize) -> Cache {
        let Plan { heads, cache: kind, path, .. } = self.plan;
        Cache::new(self.layers.len(), blocks, Shape { heads, kind, path }, &self.angles.device())
    }
}

fn values(rows: Option<Tensor<2>>) -> Vec<f32> {
    rows.and_then(|rows| rows.into_data().try_into_vec().ok()).unwrap_or_default()
}

fn ids(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| id.cast_signed()).collect();
    let len = ids.len();
    Tensor::from_data(TensorData::new(ids, [len]), (device, burn::tensor::DType::I32))
}

impl DecoderConfig {
    fn kv(&self) -> Heads {
        Heads { query: self.heads, kv: self.kv_heads, dims: self.head_dims }
    }
}

#[cfg(test)]
mod quantised;
#[cfg(test)]
mod references;
#[cfg(test)]
mod tests;
