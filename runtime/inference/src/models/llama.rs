//! Source: Touvron et al. 2023 (Llama), Ainslie et al. 2023 (grouped queries).

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberbox_kernels::attention::{Heads, Span};
use emberbox_kernels::q8_0::BLOCK_BYTES;

use super::config::LlamaConfig;
use super::kv::Cache;
use super::ops::{self, Linear, Path, Step};
use crate::InferenceError;
use crate::formats::weights::{Matrix, Weights};

/// How a format names tensors, and in which order it keeps the rows of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Rotary pairs are neighbours.
    Gguf,
    /// Rotary pairs are half a head apart, as our kernels have it.
    HuggingFace,
}

impl Naming {
    fn top(self, part: Part) -> &'static str {
        match (self, part) {
            (Self::Gguf, Part::Embedding) => "token_embd.weight",
            (Self::Gguf, Part::Norm) => "output_norm.weight",
            (Self::Gguf, Part::Output) => "output.weight",
            (Self::HuggingFace, Part::Embedding) => "model.embed_tokens.weight",
            (Self::HuggingFace, Part::Norm) => "model.norm.weight",
            (Self::HuggingFace, Part::Output) => "lm_head.weight",
        }
    }

    fn layer(self, layer: usize, part: LayerPart) -> String {
        let (gguf, hf) = match part {
            LayerPart::AttentionNorm => ("attn_norm", "input_layernorm"),
            LayerPart::Query => ("attn_q", "self_attn.q_proj"),
            LayerPart::Key => ("attn_k", "self_attn.k_proj"),
            LayerPart::Value => ("attn_v", "self_attn.v_proj"),
            LayerPart::Output => ("attn_output", "self_attn.o_proj"),
            LayerPart::FeedForwardNorm => ("ffn_norm", "post_attention_layernorm"),
            LayerPart::Gate => ("ffn_gate", "mlp.gate_proj"),
            LayerPart::Up => ("ffn_up", "mlp.up_proj"),
            LayerPart::Down => ("ffn_down", "mlp.down_proj"),
        };
        match self {
            Self::Gguf => format!("blk.{layer}.{gguf}.weight"),
            Self::HuggingFace => format!("model.layers.{layer}.{hf}.weight"),
        }
    }

    /// The output layer's tensor, absent when tied.
    pub(crate) fn output(self) -> &'static str {
        self.top(Part::Output)
    }

    /// The embedding's tensor.
    pub(crate) fn embedding(self) -> &'static str {
        self.top(Part::Embedding)
    }
}

#[derive(Clone, Copy)]
enum Part {
    Embedding,
    Norm,
    Output,
}

#[derive(Clone, Copy)]
enum LayerPart {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
}

impl LayerPart {
    const ALL: [Self; 9] = [
        Self::AttentionNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::FeedForwardNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    fn shape(self, c: &LlamaConfig) -> Vec<usize> {
        let (query, kv) = (c.heads * c.head_dims, c.kv_heads * c.head_dims);
        match self {
            Self::AttentionNorm | Self::FeedForwardNorm => vec![c.hidden],
            Self::Query => vec![query, c.hidden],
            Self::Key | Self::Value => vec![kv, c.hidden],
            Self::Output => vec![c.hidden, query],
            Self::Gate | Self::Up => vec![c.feed_forward, c.hidden],
            Self::Down => vec![c.hidden, c.feed_forward],
        }
    }
}

/// The network. It holds nothing of any sequence.
#[derive(Module, Debug)]
pub(crate) struct Llama {
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Param<Tensor<1>>,
    /// `None` when the embedding serves.
    output: Option<Linear>,
    angles: Tensor<3>,
    #[module(skip)]
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    heads: Heads,
    epsilon: f32,
    path: Path,
}

#[derive(Module, Debug)]
struct Layer {
    attention_norm: Param<Tensor<1>>,
    qkv: Linear,
    output: Linear,
    feed_forward_norm: Param<Tensor<1>>,
    gate_up: Linear,
    down: Linear,
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

/// Checks that every tensor is there in its shape, and that none is left over.
pub(crate) fn check(w: &Weights, c: &LlamaConfig, naming: Naming) -> Result<(), InferenceError> {
    let mut known = vec![naming.embedding().to_owned(), naming.top(Part::Norm).to_owned()];
    w.check(&known[0], &[c.vocabulary, c.hidden])?;
    w.check(&known[1], &[c.hidden])?;
    if !c.tied {
        w.check(naming.output(), &[c.vocabulary, c.hidden])?;
    }
    for layer in 0..c.layers {
        for part in LayerPart::ALL {
            let name = naming.layer(layer, part);
            w.check(&name, &part.shape(c))?;
            known.push(name);
        }
    }
    known.extend([naming.output().to_owned(), "rope_freqs.weight".to_owned()]);
    known.sort_unstable();
    match w.entries.keys().find(|name| known.binary_search(name).is_err()) {
        Some(name) => Err(w.bad(format!("tensor `{name}` is not part of a plain Llama"))),
        None => Ok(()),
    }
}

impl Llama {
    /// Loads a checked model for sequences of up to `positions` tokens.
    pub(crate) fn load(loader: &Loader<'_>, positions: usize) -> Result<Self, InferenceError> {
        let Loader { weights, config: c, naming, path, device } = *loader;
        let embedding = loader.linear(naming.embedding(), [c.vocabulary, c.hidden])?;
        let layers = (0..c.layers).map(|layer| loader.layer(layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = loader.vector(naming.top(Part::Norm))?;
        let output = match c.tied {
            true => None,
            false => Some(loader.linear(naming.output(), [c.vocabulary, c.hidden])?),
        };
        debug_assert!(weights.contains(naming.embedding()), "checked before");
        let plan = Plan { heads: c.kv(), epsilon: c.norm_epsilon, path };
        Ok(Self { embedding, layers, norm, output, angles: angles(c, positions, device), plan })
    }

    /// Computes rows; gives the cache back and the wanted rows' logits, `[wanted, vocabulary]`.
    pub(crate) fn forward(&self, cache: Cache, rows: Rows) -> (Cache, Vec<f32>) {
        let (cache, states) = self.run(cache, rows);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        (cache, values(states.map(|x| output.forward(x, self.plan.path))))
    }

    /// Computes rows; gives the cache back and the wanted rows' states after the last norm,
    /// `[wanted, d_model]`.
    pub(crate) fn states(&self, cache: Cache, rows: Rows) -> (Cache, Vec<f32>) {
        let (cache, states) = self.run(cache, rows);
        (cache, values(states))
    }

    /// All layers and the last norm; no states where none are wanted.
    fn run(&self, cache: Cache, rows: Rows) -> (Cache, Option<Tensor<2>>) {
        let Plan { heads, epsilon, path } = self.plan;
        let device = self.angles.device();
        let step = Arc::new(Step { heads, spans: rows.spans });
        let mut x = self.embedding.rows(ids(&rows.tokens, &device));
        let mut layers = Vec::with_capacity(self.layers.len());
        for (layer, cache) in self.layers.iter().zip(cache.layers) {
            let h = ops::norm(x.clone(), &layer.attention_norm, epsilon, path);
            let qkv = layer.qkv.forward(h, path);
            let (h, cache) = ops::attend(qkv, cache, self.angles.clone(), &step, path);
            layers.push(cache);
            x = x.add(layer.output.forward(h, path));
            let h = ops::norm(x.clone(), &layer.feed_forward_norm, epsilon, path);
            let h = ops::gate(layer.gate_up.forward(h, path), path);
            x = x.add(layer.down.forward(h, path));
        }
        let cache = Cache { layers };
        if rows.wanted.is_empty() {
            return (cache, None);
        }
        let x = x.select(0, ids(&rows.wanted, &device));
        (cache, Some(ops::norm(x, &self.norm, epsilon, path)))
    }

    /// An empty cache of `blocks` for this network.
    pub(crate) fn cache(&self, blocks: usize) -> Cache {
        Cache::new(self.layers.len(), blocks, self.plan.heads, &self.angles.device())
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

/// Cosines and sines of every position, `[2, positions, dims / 2]`.
fn angles(config: &LlamaConfig, positions: usize, device: &Device) -> Tensor<3> {
    let frequencies = config.frequencies();
    let all = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
    let values = all().map(f64::cos).chain(all().map(f64::sin)).map(|v| v as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [2, positions, frequencies.len()]), device)
}

impl LlamaConfig {
    fn kv(&self) -> Heads {
        Heads { query: self.heads, kv: self.kv_heads, dims: self.head_dims }
    }
}

/// What is needed to load a network.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) config: &'a LlamaConfig,
    pub(crate) naming: Naming,
    pub(crate) path: Path,
    pub(crate) device: &'a Device,
}

impl Loader<'_> {
    fn linear(&self, name: &str, shape: [usize; 2]) -> Result<Linear, InferenceError> {
        let matrix = self.weights.matrix(name, &shape)?;
        Ok(Linear::new(matrix, shape, self.path, self.device))
    }

    fn vector(&self, name: &str) -> Result<Param<Tensor<1>>, InferenceError> {
        let len = self.config.hidden;
        let values = self.weights.f32(name, &[len])?;
        Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, [len]), self.device)))
    }

    fn layer(&self, layer: usize) -> Result<Layer, InferenceError> {
        let c = self.config;
        let name = |part| self.naming.layer(layer, part);
        let (query, ff) = (c.heads * c.head_dims, c.feed_forward);
        Ok(Layer {
            attention_norm: self.vector(&name(LayerPart::AttentionNorm))?,
            qkv: self.stack(layer, &[LayerPart::Query, LayerPart::Key, LayerPart::Value])?,
            output: self.linear(&name(LayerPart::Output), [c.hidden, query])?,
            feed_forward_norm: self.vector(&name(LayerPart::FeedForwardNorm))?,
            gate_up: self.stack(layer, &[LayerPart::Gate, LayerPart::Up])?,
            down: self.linear(&name(LayerPart::Down), [c.hidden, ff])?,
        })
    }

    /// Several matrices of one input as one: their rows follow each other.
    fn stack(&self, layer: usize, parts: &[LayerPart]) -> Result<Linear, InferenceError> {
        let mut matrices = Vec::new();
        let mut rows = 0;
        for part in parts {
            let shape = part.shape(self.config);
            rows += shape[0];
            let mut matrix = self.weights.matrix(&self.naming.layer(layer, *part), &shape)?;
            if matches!(part, LayerPart::Query | LayerPart::Key) && self.naming == Naming::Gguf {
                matrix = halve(matrix, shape[0], self.config.head_dims);
            }
            matrices.push(matrix);
        }
        let shape = [rows, self.config.hidden];
        Ok(Linear::new(concatenate(matrices), shape, self.path, self.device))
    }
}

/// Stays quantised only if all are.
fn concatenate(matrices: Vec<Matrix>) -> Matrix {
    if matrices.iter().all(|matrix| matches!(matrix, Matrix::Q8_0(_))) {
        let blocks = matrices.into_iter().flat_map(|matrix| match matrix {
            Matrix::Q8_0(blocks) => blocks,
            Matrix::F32(_) => Vec::new(),
        });
        return Matrix::Q8_0(blocks.collect());
    }
    Matrix::F32(matrices.into_iter().flat_map(Matrix::into_f32).collect())
}

/// Puts a head's rows from neighbouring rotary pairs to pairs half a head apart.
fn halve(matrix: Matrix, rows: usize, head_dims: usize) -> Matrix {
    fn reorder<T: Copy>(values: &[T], rows: usize, head_dims: usize) -> Vec<T> {
        let width = values.len() / rows;
        let half = head_dims / 2;
        let source = |row: usize| {
            let (head, i) = (row / head_dims, row % head_dims);
            head * head_dims + if i < half { 2 * i } else { 2 * (i - half) + 1 }
        };
        (0..rows).flat_map(|row| &values[source(row) * width..][..width]).copied().collect()
    }
    match matrix {
        Matrix::F32(values) => Matrix::F32(reorder(&values, rows, head_dims)),
        Matrix::Q8_0(blocks) => {
            debug_assert!(blocks.len().is_multiple_of(rows * BLOCK_BYTES), "rows of whole blocks");
            Matrix::Q8_0(reorder(&blocks, rows, head_dims))
        }
    }
}

#[cfg(test)]
mod tests;
