//! Source: Devlin et al. 2019 (BERT), Reimers and Gurevych 2019 (sentence vectors).
//!
//! Texts are laid end to end, never padded: only attention looks at where one ends, so a text's
//! vector does not depend on its neighbours.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};

use super::config::{BertConfig, Pooling};
use super::ops::{self, Path};
use super::place::Place;
use crate::InferenceError;
use crate::formats::weights::Weights;

/// The encoder and what turns its output into vectors.
#[derive(Module, Debug)]
pub(crate) struct Bert {
    words: Param<Tensor<2>>,
    /// Positions with the vector of the first segment added.
    positions: Param<Tensor<2>>,
    norm: Norm,
    layers: Vec<Layer>,
    #[module(skip)]
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    heads: usize,
    hidden: usize,
    pooling: Pooling,
    normalise: bool,
    path: Path,
}

#[derive(Module, Debug)]
struct Layer {
    qkv: Affine,
    output: Affine,
    attention_norm: Norm,
    up: Affine,
    down: Affine,
    norm: Norm,
}

/// `x w + b`; `w` is `[inputs, outputs]`, the order in which burn multiplies fast.
#[derive(Module, Debug)]
struct Affine {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl Affine {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()).add(self.bias.val().unsqueeze())
    }
}

impl Norm {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        burn::tensor::module::layer_norm(x, weight, Some(bias), self.epsilon)
    }
}

/// Where an export puts the encoder's tensors.
fn prefix(weights: &Weights) -> &'static str {
    if weights.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" }
}

const EMBEDDINGS: [&str; 3] = ["word_embeddings", "position_embeddings", "token_type_embeddings"];
const LINEARS: [&str; 6] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
];
const NORMS: [&str; 2] = ["attention.output.LayerNorm", "output.LayerNorm"];

fn linear_shape(name: &str, c: &BertConfig) -> [usize; 2] {
    match name {
        "intermediate.dense" => [c.feed_forward, c.hidden],
        "output.dense" => [c.hidden, c.feed_forward],
        _ => [c.hidden, c.hidden],
    }
}

/// Checks that every tensor is there in its shape. A pooler or a head on top is not used.
pub(crate) fn check(w: &Weights, c: &BertConfig) -> Result<(), InferenceError> {
    let prefix = prefix(w);
    for (name, rows) in EMBEDDINGS.iter().zip([c.vocabulary, c.positions, c.types]) {
        w.check(&format!("{prefix}embeddings.{name}.weight"), &[rows, c.hidden])?;
    }
    let norm = |name: &str| -> Result<(), InferenceError> {
        w.check(&format!("{name}.weight"), &[c.hidden])?;
        w.check(&format!("{name}.bias"), &[c.hidden]).map(drop)
    };
    norm(&format!("{prefix}embeddings.LayerNorm"))?;
    for layer in 0..c.layers {
        let name = |part: &str| format!("{prefix}encoder.layer.{layer}.{part}");
        for part in LINEARS {
            let shape = linear_shape(part, c);
            w.check(&format!("{}.weight", name(part)), &shape)?;
            w.check(&format!("{}.bias", name(part)), &shape[..1])?;
        }
        for part in NORMS {
            norm(&name(part))?;
        }
    }
    let next = format!("{prefix}encoder.layer.{}.", c.layers);
    match w.entries.keys().find(|name| name.starts_with(&next)) {
        Some(name) => Err(w.bad(format!("tensor `{name}`: there are more layers than configured"))),
        None => Ok(()),
    }
}

/// Reads tensors of one model.
struct Loader<'a> {
    weights: &'a Weights,
    config: &'a BertConfig,
    prefix: &'static str,
    device: &'a Device,
}

impl Loader<'_> {
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        self.weights.f32(&format!("{}{name}", self.prefix), shape)
    }

    fn vector(&self, values: Vec<f32>) -> Param<Tensor<1>> {
        let len = values.len();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [len]), self.device))
    }

    fn matrix(&self, values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// Layers of one input side by side.
    fn affine(&self, names: &[String], shape: [usize; 2]) -> Result<Affine, InferenceError> {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for name in names {
            weights.extend(self.values(&format!("{name}.weight"), &shape)?);
            biases.extend(self.values(&format!("{name}.bias"), &shape[..1])?);
        }
        let rows = shape[0] * names.len();
        let turned = transpose(&weights, rows, shape[1]);
        let weight = Param::from_tensor(self.matrix(turned, [shape[1], rows]));
        Ok(Affine { weight, bias: self.vector(biases) })
    }

    fn norm(&self, name: &str) -> Result<Norm, InferenceError> {
        let shape = [self.config.hidden];
        Ok(Norm {
            weight: self.vector(self.values(&format!("{name}.weight"), &shape)?),
            bias: self.vector(self.values(&format!("{name}.bias"), &shape)?),
            epsilon: self.config.norm_epsilon,
        })
    }

    fn layer(&self, layer: usize) -> Result<Layer, InferenceError> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let one = |part: &str| self.affine(&[name(part)], linear_shape(part, self.config));
        let [query, key, value, output, up, down] = LINEARS;
        let square = [self.config.hidden; 2];
        Ok(Layer {
            qkv: self.affine(&[name(query), name(key), name(value)], square)?,
            output: one(output)?,
            attention_norm: self.norm(&name(NORMS[0]))?,
            up: one(up)?,
            down: one(down)?,
            norm: self.norm(&name(NORMS[1]))?,
        })
    }
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

impl Bert {
    /// Loads a checked model.
    pub(crate) fn load(
        weights: &Weights,
        config: &BertConfig,
        Place { device, path }: &Place,
    ) -> Result<Self, InferenceError> {
        let c = config;
        let loader = Loader { weights, config, prefix: prefix(weights), device };
        let [words, positions, types] = EMBEDDINGS.map(|name| format!("embeddings.{name}.weight"));
        let words = loader.values(&words, &[c.vocabulary, c.hidden])?;
        let mut positions = loader.values(&positions, &[c.positions, c.hidden])?;
        let types = loader.values(&types, &[c.types, c.hidden])?;
        for row in positions.chunks_exact_mut(c.hidden) {
            row.iter_mut().zip(&types).for_each(|(p, t)| *p += t);
        }
        let layers = (0..c.layers).map(|layer| loader.layer(layer));
        Ok(Self {
            words: Param::from_tensor(loader.matrix(words, [c.vocabulary, c.hidden])),
            positions: Param::from_tensor(loader.matrix(positions, [c.positions, c.hidden])),
            norm: loader.norm("embeddings.LayerNorm")?,
            layers: layers.collect::<Result<_, _>>()?,
            plan: Plan {
                heads: c.heads,
                hidden: c.hidden,
                pooling: c.pooling,
                normalise: c.normalise,
                path: *path,
            },
        })
    }

    /// One vector for each text, which is its tokens; no text is empty.
    pub(crate) fn embed(&self, texts: &[&[u32]]) -> Vec<Vec<f32>> {
        let device = self.words.val().device();
        let tokens = texts.iter().flat_map(|t| t.iter().map(|id| id.cast_signed()));
        let places = texts.iter().flat_map(|t| 0..t.len() as i32);
        let words = self.words.val().select(0, ids(tokens.collect(), &device));
        let positions = self.positions.val().select(0, ids(places.collect(), &device));
        let mut x = self.norm.forward(words.add(positions));
        for layer in &self.layers {
            let attended = layer.output.forward(self.attend(&layer.qkv.forward(x.clone()), texts));
            x = layer.attention_norm.forward(x.add(attended));
            let h = layer.down.forward(ops::gelu(layer.up.forward(x.clone()), self.plan.path));
            x = layer.norm.forward(x.add(h));
        }
        let values: Vec<f32> = x.into_data().try_into_vec().unwrap_or_default();
        let mut rows = values.chunks_exact(self.plan.hidden);
        texts.iter().map(|text| self.pool(rows.by_ref().take(text.len()))).collect()
    }

    /// Full attention inside each text.
    fn attend(&self, qkv: &Tensor<2>, texts: &[&[u32]]) -> Tensor<2> {
        let Plan { heads, hidden, .. } = self.plan;
        let dims = hidden / heads;
        let mut first = 0;
        let mut out = Vec::with_capacity(texts.len());
        for text in texts {
            let len = text.len();
            let part = |i: usize| {
                let rows = qkv.clone().narrow(0, first, len).narrow(1, i * hidden, hidden);
                rows.reshape([len, heads, dims]).swap_dims(0, 1)
            };
            let scores = part(0).matmul(part(1).swap_dims(1, 2)).div_scalar((dims as f32).sqrt());
            let h = activation::softmax(scores, 2).matmul(part(2));
            out.push(h.swap_dims(0, 1).reshape([len, hidden]));
            first += len;
        }
        Tensor::cat(out, 0)
    }

    fn pool<'a>(&self, rows: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
        let mut vector = vec![0f32; self.plan.hidden];
        let mut count = 0;
        let limit = match self.plan.pooling {
            Pooling::Mean => usize::MAX,
            Pooling::First => 1,
        };
        // Every row is drawn, as the next text's follow.
        for row in rows {
            if count < limit {
                vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                count += 1;
            }
        }
        let mut divisor = count.max(1) as f32;
        if self.plan.normalise {
            divisor = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        }
        vector.iter_mut().for_each(|value| *value /= divisor);
        vector
    }
}

fn ids(ids: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let len = ids.len();
    Tensor::from_data(TensorData::new(ids, [len]), (device, DType::I32))
}

#[cfg(test)]
pub(crate) mod tests;
