//! Encoders: texts to vectors, classes or scores.
//!
//! Sources: Devlin et al. 2019 (BERT), Sanh et al. 2019 (DistilBERT), Liu et al. 2019 (RoBERTa),
//! Conneau et al. 2020 (XLM-R), Song et al. 2020 (MPNet), Warner et al. 2024 (ModernBERT), Reimers and
//! Gurevych 2019 (sentence vectors).
//!
//! Texts are laid end to end, never padded: only attention looks at where one ends, so a text's
//! vector does not depend on its neighbours.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use emberbox_kernels::dense::Activation;

use super::config::{EncoderActivation, EncoderConfig, EncoderFamily, Local};
use super::ops::Path;
use super::ops::encoder::{self as ops, Seeing};
use super::ops::linear::Linear;
use super::place::Place;
use crate::InferenceError;
use crate::formats::weights::Weights;
use heads::Head;
use names::{Names, Part};

/// From states to answers.
mod heads;
/// What families call their tensors.
mod names;

/// A text as an encoder reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    /// The segment of each token; empty where all are in the first.
    pub(crate) types: Vec<u32>,
}

/// An encoder and what turns its output into answers.
#[derive(Debug)]
pub(crate) struct Encoder {
    tables: Tables,
    norm: Norm,
    layers: Vec<Layer>,
    last_norm: Option<Norm>,
    head: Head,
    plan: Plan,
}

#[derive(Clone, Debug)]
struct Plan {
    hidden: usize,
    first_position: usize,
    activation: Activation,
    path: Path,
    device: Device,
    /// Of layers that see everything, and of those that do not.
    seeing: [Arc<Seeing>; 2],
}

/// Rows of `hidden` values for what is looked up.
#[derive(Debug)]
struct Tables {
    words: Vec<f32>,
    positions: Vec<f32>,
    types: Vec<f32>,
}

#[derive(Debug)]
struct Layer {
    /// Whether it sees its neighbourhood alone.
    is_local: bool,
    /// Of `ModernBERT`, whose norms come before what they are for; its first layer has none.
    before: Option<Norm>,
    qkv: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
}

impl Norm {
    fn of_sum(&self, x: Tensor<2>, sum: Tensor<2>, path: Path) -> Tensor<2> {
        ops::norm_of_sum((x, sum), (self.weight.clone(), self.bias.clone()), self.epsilon, path)
    }

    fn forward(&self, x: Tensor<2>, path: Path) -> Tensor<2> {
        let zeros = x.zeros_like();
        self.of_sum(x, zeros, path)
    }
}

/// Checks that every tensor is there in its shape, by reading each without keeping it.
pub(crate) fn check(w: &Weights, c: &EncoderConfig) -> Result<(), InferenceError> {
    let names = Names::of(w, c.family);
    w.check(&names.words(), &[c.vocabulary, c.hidden])?;
    let needed = c.layers.saturating_mul(c.hidden).saturating_mul(c.hidden);
    if (needed as u64) > w.parameters() {
        return Err(
            w.bad(format!("{} layers of {} are more than the file has", c.layers, c.hidden))
        );
    }
    for layer in 0..c.layers {
        for part in [Part::Output, Part::Up, Part::Down] {
            let shape = linear_shape(c, part);
            w.check(&format!("{}.weight", names.part(layer, part)), &shape)?;
        }
    }
    Head::load(w, c, &names)?;
    let next = names.layer(c.layers);
    match w.entries.keys().find(|name| name.starts_with(&next)) {
        Some(name) => Err(w.bad(format!("tensor `{name}`: there are more layers than configured"))),
        None => Ok(()),
    }
}

fn linear_shape(c: &EncoderConfig, part: Part) -> [usize; 2] {
    match (c.family, part) {
        (EncoderFamily::ModernBert, Part::Up) => [2 * c.feed_forward, c.hidden],
        (EncoderFamily::ModernBert, Part::Query) => [3 * c.hidden, c.hidden],
        (_, Part::Up) => [c.feed_forward, c.hidden],
        (_, Part::Down) => [c.hidden, c.feed_forward],
        _ => [c.hidden, c.hidden],
    }
}

/// Reads tensors of one model.
struct Loader<'a> {
    weights: &'a Weights,
    config: &'a EncoderConfig,
    names: &'a Names,
    place: &'a Place,
}

impl Loader<'_> {
    fn vector(&self, values: Vec<f32>) -> Tensor<1> {
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), &self.place.device)
    }

    fn norm(&self, name: &str) -> Result<Norm, InferenceError> {
        let shape = [self.config.hidden];
        let bias = match self.config.family {
            EncoderFamily::ModernBert => vec![0.0; self.config.hidden],
            _ => self.weights.f32(&format!("{name}.bias"), &shape)?,
        };
        Ok(Norm {
            weight: self.vector(self.weights.f32(&format!("{name}.weight"), &shape)?),
            bias: self.vector(bias),
            epsilon: self.config.norm_epsilon,
        })
    }

    /// Layers of one input side by side.
    fn linear(&self, layer: usize, parts: &[Part]) -> Result<Linear, InferenceError> {
        let (mut matrices, mut biases) = (Vec::new(), Vec::new());
        for part in parts {
            let (name, shape) = (self.names.part(layer, *part), linear_shape(self.config, *part));
            matrices.push(self.weights.rows(&format!("{name}.weight"), &shape)?);
            biases.extend(match self.config.family {
                EncoderFamily::ModernBert => vec![0.0; shape[0]],
                _ => self.weights.f32(&format!("{name}.bias"), &shape[..1])?,
            });
        }
        Linear::load_as(&matrices, Some(biases), self.place, self.place.encoder_weights)
    }

    fn layer(&self, layer: usize) -> Result<Layer, InferenceError> {
        let is_modern = self.config.family == EncoderFamily::ModernBert;
        let qkv: &[Part] =
            if is_modern { &[Part::Query] } else { &[Part::Query, Part::Key, Part::Value] };
        let norm = |part: Part| self.norm(&self.names.part(layer, part));
        let feed_forward = norm(Part::Norm)?;
        // A first layer's norm is that of the embeddings.
        let before = if is_modern && layer > 0 { Some(norm(Part::AttentionNorm)?) } else { None };
        Ok(Layer {
            is_local: self.config.local.is_some_and(|local| !layer.is_multiple_of(local.every)),
            before,
            qkv: self.linear(layer, qkv)?,
            output: self.linear(layer, &[Part::Output])?,
            attention_norm: if is_modern { norm(Part::Norm)? } else { norm(Part::AttentionNorm)? },
            up: self.linear(layer, &[Part::Up])?,
            down: self.linear(layer, &[Part::Down])?,
            norm: feed_forward,
        })
    }

    fn tables(&self) -> Result<Tables, InferenceError> {
        let c = self.config;
        let table = |name: &str, rows: usize| {
            let name = self.names.within(&format!("embeddings.{name}.weight"));
            self.weights.f32(&name, &[rows, c.hidden])
        };
        let positions = match c.family {
            EncoderFamily::ModernBert => Vec::new(),
            _ => table("position_embeddings", c.positions)?,
        };
        let types = if c.types > 0 { table("token_type_embeddings", c.types)? } else { Vec::new() };
        let words = self.weights.f32(&self.names.words(), &[c.vocabulary, c.hidden])?;
        Ok(Tables { words, positions, types })
    }

    fn seeing(&self) -> Result<[Arc<Seeing>; 2], InferenceError> {
        let c = self.config;
        let (heads, dims) = (c.heads, c.head_dims());
        let mut wide = Seeing { heads, dims, distances: None, window: None, angles: None };
        let mut near = wide.clone();
        if c.family == EncoderFamily::Mpnet {
            let name = self.names.within("encoder.relative_attention_bias.weight");
            let buckets = self.weights.f32(&name, &[BUCKETS, heads])?;
            wide.distances = Some((distances(&buckets, heads, c.tokens_max), c.tokens_max));
        }
        if let Some(Local { reach, global_theta, local_theta, .. }) = c.local {
            if !dims.is_multiple_of(2) {
                return Err(self.weights.bad("heads of an odd width cannot turn"));
            }
            wide.angles = Some(angles(c.tokens_max, dims, global_theta));
            near.angles = Some(angles(c.tokens_max, dims, local_theta));
            near.window = Some(reach);
        }
        Ok([Arc::new(wide), Arc::new(near)])
    }
}

/// Kinds of distances that `MPNet` tells apart.
const BUCKETS: usize = 32;

/// `[heads, 2 longest - 1]`: near distances have a value of their own, farther ones share one, by
/// their logarithm, and beyond 128 all do (Raffel et al. 2020).
fn distances(buckets: &[f32], heads: usize, longest: usize) -> Vec<f32> {
    const FAR: f64 = 128.0;
    let bucket = |distance: i64| {
        // One half of the buckets is for keys behind the query.
        let side = if distance > 0 { BUCKETS / 2 } else { 0 };
        let (size, exact) = (distance.unsigned_abs(), BUCKETS / 4);
        if (size as usize) < exact {
            return side + size as usize;
        }
        let share = (size as f64 / exact as f64).ln() / (FAR / exact as f64).ln();
        let far = exact + (share * (BUCKETS / 2 - exact) as f64) as usize;
        side + far.min(BUCKETS / 2 - 1)
    };
    let reach = longest as i64 - 1;
    let of = |head: usize| (-reach..=reach).map(move |d| buckets[bucket(d) * heads + head]);
    (0..heads).flat_map(of).collect()
}

/// Cosines and sines of each position.
fn angles(positions: usize, dims: usize, theta: f64) -> (Vec<f32>, Vec<f32>) {
    let half = dims / 2;
    let angle = |at: usize| (at / half) as f64 / theta.powf((at % half) as f64 / half as f64);
    let all = 0..positions * half;
    let cos = all.clone().map(|at| angle(at).cos() as f32).collect();
    (cos, all.map(|at| angle(at).sin() as f32).collect())
}

impl Encoder {
    /// Loads a checked model.
    pub(crate) fn load(
        weights: &Weights,
        config: &EncoderConfig,
        place: &Place,
    ) -> Result<Self, InferenceError> {
        let names = &Names::of(weights, config.family);
        let loader = Loader { weights, config, names, place };
        let layers = (0..config.layers).map(|layer| loader.layer(layer));
        let last_norm = match config.family {
            EncoderFamily::ModernBert => Some(loader.norm(&names.within("final_norm"))?),
            _ => None,
        };
        Ok(Self {
            tables: loader.tables()?,
            norm: loader.norm(&names.embedding_norm())?,
            layers: layers.collect::<Result<_, _>>()?,
            last_norm,
            head: Head::load(weights, config, names)?,
            plan: Plan {
                hidden: config.hidden,
                first_position: config.first_position,
                activation: match config.activation {
                    EncoderActivation::Gelu => Activation::Gelu,
                    EncoderActivation::GeluTanh => Activation::GeluTanh,
                    EncoderActivation::Relu => Activation::Relu,
                },
                path: place.path,
                device: place.device.clone(),
                seeing: loader.seeing()?,
            },
        })
    }

    /// The answer for each text; no text is empty.
    pub(crate) fn answer(&self, texts: &[&Encoded]) -> Vec<Vec<f32>> {
        let lengths: Arc<Vec<usize>> = Arc::new(texts.iter().map(|text| text.ids.len()).collect());
        let mut x = self.norm.forward(self.embed(texts), self.plan.path);
        for layer in &self.layers {
            x = match self.last_norm {
                None => self.after(layer, x, &lengths),
                Some(_) => self.before(layer, x, &lengths),
            };
        }
        if let Some(norm) = &self.last_norm {
            x = norm.forward(x, self.plan.path);
        }
        let values: Vec<f32> = x.into_data().try_into_vec().unwrap_or_default();
        let mut rest = values.as_slice();
        let answer = |len: &usize| {
            let (own, after) = rest.split_at((len * self.plan.hidden).min(rest.len()));
            rest = after;
            self.head.answer(own)
        };
        lengths.iter().map(answer).collect()
    }

    /// Words, positions and segments, summed.
    fn embed(&self, texts: &[&Encoded]) -> Tensor<2> {
        let hidden = self.plan.hidden;
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        let mut values = vec![0.0; tokens * hidden];
        let mut sums = values.chunks_exact_mut(hidden);
        let add = |sum: &mut [f32], table: &[f32], at: usize| {
            let row = table.get(at * hidden..(at + 1) * hidden).unwrap_or_default();
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        };
        for text in texts {
            for ((at, id), sum) in text.ids.iter().enumerate().zip(&mut sums) {
                let of_type = text.types.get(at).copied().unwrap_or(0) as usize;
                add(sum, &self.tables.words, *id as usize);
                add(sum, &self.tables.positions, self.plan.first_position + at);
                add(sum, &self.tables.types, of_type);
            }
        }
        Tensor::from_data(TensorData::new(values, [tokens, hidden]), &self.plan.device)
    }

    fn attended(&self, layer: &Layer, x: Tensor<2>, lengths: &Arc<Vec<usize>>) -> Tensor<2> {
        let Plan { path, seeing, .. } = &self.plan;
        let qkv = layer.qkv.finished(x, Activation::None);
        let seen = ops::see(qkv, &seeing[usize::from(layer.is_local)], lengths, *path);
        layer.output.finished(seen, Activation::None)
    }

    /// A layer whose norms come after what they are for.
    fn after(&self, layer: &Layer, x: Tensor<2>, lengths: &Arc<Vec<usize>>) -> Tensor<2> {
        let Plan { path, activation, .. } = self.plan;
        let attended = self.attended(layer, x.clone(), lengths);
        let x = layer.attention_norm.of_sum(attended, x, path);
        let h = layer.down.finished(layer.up.finished(x.clone(), activation), Activation::None);
        layer.norm.of_sum(h, x, path)
    }

    /// A layer whose norms come before, with a gate.
    fn before(&self, layer: &Layer, x: Tensor<2>, lengths: &Arc<Vec<usize>>) -> Tensor<2> {
        let Plan { path, activation, .. } = self.plan;
        let input = match &layer.before {
            Some(norm) => norm.forward(x.clone(), path),
            None => x.clone(),
        };
        let x = x.add(self.attended(layer, input, lengths));
        let both = layer.up.finished(layer.norm.forward(x.clone(), path), Activation::None);
        let half = both.dims()[1] / 2;
        let gate = ops::function(both.clone().narrow(1, 0, half), activation, path);
        let h = gate.mul(both.narrow(1, half, half));
        x.add(layer.down.finished(h, Activation::None))
    }
}

#[cfg(test)]
mod references;
#[cfg(test)]
pub(crate) mod tests;
