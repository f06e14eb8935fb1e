use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use emberbox_kernels::attention::CacheKind;

use super::feed_forward::{FeedForward, Gated, Mixture};
use super::{Decoder, Layer, Plan};
use crate::InferenceError;
use crate::formats::weights::{Rows, Weights};
use crate::models::config::{DecoderConfig, Experts, LayerConfig, Rope};
use crate::models::families::{HeadNorms, Naming, Norms, OPTIONAL, Part, Quirk};
use crate::models::ops::Attention;
use crate::models::ops::linear::Linear;
use crate::models::place::Place;

/// Checks that every tensor is there in its shape, and that none is left over.
pub(crate) fn check(w: &Weights, c: &DecoderConfig, naming: Naming) -> Result<(), InferenceError> {
    let mut known: Vec<String> = OPTIONAL.map(str::to_owned).to_vec();
    for expected in c.expected(naming) {
        w.check(&expected.name, &expected.shape)?;
        known.push(expected.name);
    }
    known.sort_unstable();
    match w.entries.keys().find(|name| known.binary_search(name).is_err()) {
        Some(name) => {
            let family = c.family.name();
            Err(w.bad(format!("tensor `{name}` is not part of a `{family}` network")))
        }
        None => Ok(()),
    }
}

/// What is needed to load a network.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) config: &'a DecoderConfig,
    pub(crate) naming: Naming,
    pub(crate) cache: CacheKind,
    pub(crate) place: &'a Place,
}

impl Decoder {
    /// Loads a checked model for sequences of up to `positions` tokens.
    pub(crate) fn load(loader: &Loader<'_>, positions: usize) -> Result<Self, InferenceError> {
        let Loader { config: c, naming, place: Place { device, path, .. }, .. } = *loader;
        let table = [c.vocabulary, c.hidden];
        let layers = c.layers.iter().enumerate().map(|(i, layer)| loader.layer(i, *layer));
        Ok(Self {
            embedding: loader.linear(&[loader.weights.rows(naming.embedding(), &table)?], None)?,
            layers: layers.collect::<Result<_, _>>()?,
            norm: loader.vector(loader.norm(naming.norm(), c.hidden)?),
            output: match c.tied {
                true => None,
                false => {
                    Some(loader.linear(&[loader.weights.rows(naming.output(), &table)?], None)?)
                }
            },
            angles: angles(&c.rope, positions, device),
            angles_local: c.rope_local.as_ref().map(|rope| angles(rope, positions, device)),
            plan: Plan {
                heads: c.kv(),
                epsilon: c.norm_epsilon,
                activation: c.activation,
                embedding_scale: c.embedding_scale,
                final_softcap: c.final_softcap,
                path: *path,
                cache: loader.cache,
            },
        })
    }
}

/// Cosines and sines of every position, `[2, positions, dims / 2]`.
fn angles(rope: &Rope, positions: usize, device: &Device) -> Tensor<3> {
    let (frequencies, length) = rope.frequencies(positions);
    let all = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
    let values = all().map(f64::cos).chain(all().map(f64::sin)).map(|v| (v * length) as f32);
    let shape = [2, positions, frequencies.len()];
    Tensor::from_data(TensorData::new::<f32, _>(values.collect(), shape), device)
}

impl<'a> Loader<'a> {
    fn linear(
        &self,
        matrices: &[Rows<'_>],
        bias: Option<Vec<f32>>,
    ) -> Result<Linear, InferenceError> {
        Linear::load(matrices, bias, self.place)
    }

    fn vector(&self, values: Vec<f32>) -> Param<Tensor<1>> {
        let len = values.len();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [len]), &self.place.device))
    }

    /// A norm's weights as they are multiplied.
    fn norm(&self, name: &str, width: usize) -> Result<Vec<f32>, InferenceError> {
        let mut values = self.weights.f32(name, &[width])?;
        let less_one = self.config.family.traits().has(Quirk::NormLessOne);
        if less_one && self.naming == Naming::HuggingFace {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        Ok(values)
    }

    fn name(&self, layer: usize, part: Part, kind: &str) -> String {
        let norms = self.config.family.traits().norms;
        format!("{}.{kind}", self.naming.stem(layer, part, norms))
    }

    fn layer(&self, index: usize, layer: LayerConfig) -> Result<Layer, InferenceError> {
        let c = self.config;
        let norms = c.family.traits().norms;
        let norm = |part: Part, there: bool| match there {
            true => {
                self.norm(&self.name(index, part, "weight"), c.hidden).map(|w| Some(self.vector(w)))
            }
            false => Ok(None),
        };
        let (before, after) = (norms != Norms::After, norms != Norms::Before);
        let (head_norms, widths) = self.head_norms(index)?;
        Ok(Layer {
            attention_norm: norm(Part::AttentionNorm, before)?,
            qkv: self.stack(index, c.qkv_parts(), c.biases.qkv)?,
            head_norms: self.vector(head_norms),
            output: self.stack(index, &[Part::Output], c.biases.output)?,
            post_attention_norm: norm(Part::PostAttentionNorm, after)?,
            feed_forward_norm: norm(Part::FeedForwardNorm, before)?,
            feed_forward: self.feed_forward(index, layer)?,
            post_feed_forward_norm: norm(Part::PostFeedForwardNorm, after)?,
            attention: Attention {
                heads: c.kv(),
                scale: c.scale as f32,
                window: layer.window,
                softcap: c.attention_softcap,
                rotary: layer.rotary,
                norms: widths,
                epsilon: c.norm_epsilon,
                cache: self.cache,
            },
        })
    }

    fn head_norms(&self, layer: usize) -> Result<(Vec<f32>, [usize; 2]), InferenceError> {
        let c = self.config;
        let (query, kv) = match c.family.traits().head_norms {
            HeadNorms::None => return Ok((vec![0.0], [0, 0])),
            HeadNorms::Head => (1, 1),
            HeadNorms::Row => (c.heads, c.kv_heads),
        };
        let widths = [query * c.head_dims, kv * c.head_dims];
        let mut both = self.norm(&self.name(layer, Part::QueryNorm, "weight"), widths[0])?;
        both.extend(self.norm(&self.name(layer, Part::KeyNorm, "weight"), widths[1])?);
        Ok((both, widths))
    }

    fn feed_forward(
        &self,
        index: usize,
        layer: LayerConfig,
    ) -> Result<FeedForward, InferenceError> {
        let c = self.config;
        if let Some(plan) = c.experts.filter(|_| layer.sparse) {
            let experts = (0..plan.count).map(|expert| self.expert(index, (expert, plan)));
            return Ok(FeedForward::Mixture(Mixture {
                router: self.stack(index, &[Part::Router], false)?,
                experts: experts.collect::<Result<_, _>>()?,
                plan,
            }));
        }
        Ok(FeedForward::Gated(Gated {
            gate_up: self.stack(index, c.gate_parts(), c.biases.feed_forward)?,
            down: self.stack(index, &[Part::Down], c.biases.feed_forward)?,
        }))
    }

    fn expert(
        &self,
        layer: usize,
        (expert, plan): (usize, Experts),
    ) -> Result<Gated, InferenceError> {
        let part = |part: Part| -> Result<Rows<'a>, InferenceError> {
            let [rows, columns] = self.config.shape(part);
            if self.naming == Naming::HuggingFace {
                return self.weights.rows(&Naming::expert(layer, expert, part), &[rows, columns]);
            }
            let name = self.name(layer, part, "weight");
            let all = self.weights.rows(&name, &[plan.count, rows, columns])?;
            Ok(all.part(expert * rows..(expert + 1) * rows))
        };
        Ok(Gated {
            gate_up: self.linear(&[part(Part::ExpertGate)?, part(Part::ExpertUp)?], None)?,
            down: self.linear(&[part(Part::ExpertDown)?], None)?,
        })
    }

    /// Several matrices of one input as one: their rows follow each other.
    fn stack(&self, layer: usize, parts: &[Part], bias: bool) -> Result<Linear, InferenceError> {
        let mut matrices = Vec::new();
        let mut biases = Vec::new();
        for part in parts {
            let shape = self.config.shape(*part);
            matrices.push(self.rows(&self.name(layer, *part, "weight"), (*part, &shape))?);
            if bias {
                let name = self.name(layer, *part, "bias");
                let bias = self.rows(&name, (*part, &shape[..1]))?.upright()?;
                biases.extend(bias.values(0..bias.rows())?);
            }
        }
        self.linear(&matrices, bias.then_some(biases))
    }

    /// A tensor with its rows in the kernels' order.
    fn rows(
        &self,
        name: &str,
        (part, shape): (Part, &[usize]),
    ) -> Result<Rows<'a>, InferenceError> {
        let rows = self.weights.rows(name, shape)?;
        let pairs = matches!(part, Part::Query | Part::Key)
            && self.naming == Naming::Gguf
            && self.config.family.traits().has(Quirk::Pairs);
        Ok(if pairs { rows.with_pairs(self.config.head_dims) } else { rows })
    }
}
