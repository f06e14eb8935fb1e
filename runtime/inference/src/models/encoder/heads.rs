//! What turns a network's output into an answer: little arithmetic, row by row.

use super::names::Names;
use crate::InferenceError;
use crate::formats::weights::Weights;
use crate::models::config::{EncoderConfig, EncoderFamily, Pooling, Purpose};

/// From the states of a text's tokens to what is answered.
#[derive(Debug)]
pub(super) struct Head {
    purpose: Purpose,
    /// Before the last layer.
    first: Option<Dense>,
    norm: Option<(Vec<f32>, f32)>,
    last: Option<Dense>,
    hidden: usize,
}

/// `f(w x + b)`.
#[derive(Debug)]
struct Dense {
    /// `[outputs, inputs]`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    function: Function,
}

impl Dense {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(x.len()).zip(&self.bias);
        let dot = |w: &[f32]| w.iter().zip(x).map(|(a, b)| a * b).sum::<f32>();
        rows.map(|(w, b)| (self.function)(dot(w) + b)).collect()
    }
}

/// What follows a layer, value by value.
type Function = fn(f32) -> f32;

fn gelu(x: f32) -> f32 {
    let values = [x; 1];
    let mut y = [0.0];
    emberbox_kernels::pool::alone(|pool| {
        let level = emberbox_kernels::Level::detect();
        emberbox_kernels::rows::gelu(level, pool, &values, &mut y);
    });
    y[0]
}

/// The names of the layers on top, their function, and whether the first has a bias.
struct Layers {
    first: Option<(&'static str, Function)>,
    last: &'static str,
}

fn layers(config: &EncoderConfig, names: &Names) -> (Layers, Option<String>) {
    let tokens = matches!(config.purpose, Purpose::ClassifyTokens { .. });
    let plain = Layers { first: None, last: "classifier" };
    match config.family {
        EncoderFamily::ModernBert => {
            (Layers { first: Some(("head.dense", gelu)), last: "classifier" }, None)
        }
        _ if tokens => (plain, None),
        EncoderFamily::Bert => (plain, Some(names.within("pooler.dense"))),
        EncoderFamily::DistilBert => {
            (Layers { first: Some(("pre_classifier", |x| x.max(0.0))), last: "classifier" }, None)
        }
        EncoderFamily::Roberta | EncoderFamily::Mpnet => (
            Layers { first: Some(("classifier.dense", f32::tanh)), last: "classifier.out_proj" },
            None,
        ),
    }
}

impl Head {
    /// Reads what is there beside the encoder. `check` reads it too, and throws it away.
    pub(super) fn load(
        weights: &Weights,
        config: &EncoderConfig,
        names: &Names,
    ) -> Result<Self, InferenceError> {
        let hidden = config.hidden;
        let classes = match &config.purpose {
            Purpose::Embed { .. } => {
                let purpose = config.purpose.clone();
                return Ok(Self { purpose, first: None, norm: None, last: None, hidden });
            }
            Purpose::Classify { labels, .. } | Purpose::ClassifyTokens { labels } => labels.len(),
            Purpose::Compare { .. } => 1,
        };
        let read = |name: &str, rows: usize, function: Function| {
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            let bias = match weights.contains(&bias) {
                true => weights.f32(&bias, &[rows])?,
                false => vec![0.0; rows],
            };
            Ok::<_, InferenceError>(Dense {
                weight: weights.f32(&weight, &[rows, hidden])?,
                bias,
                function,
            })
        };
        let (layers, pooler) = layers(config, names);
        let first = match (layers.first, pooler) {
            (Some((name, function)), _) => Some(read(name, hidden, function)?),
            (None, Some(name)) => Some(read(&name, hidden, f32::tanh)?),
            (None, None) => None,
        };
        let norm = match config.family {
            EncoderFamily::ModernBert => {
                Some((weights.f32("head.norm.weight", &[hidden])?, config.norm_epsilon as f32))
            }
            _ => None,
        };
        let last = Some(read(layers.last, classes, |x| x)?);
        Ok(Self { purpose: config.purpose.clone(), first, norm, last, hidden })
    }

    /// The answer for one text: a vector, probabilities of classes, or a row of them for each token.
    pub(super) fn answer(&self, states: &[f32]) -> Vec<f32> {
        match &self.purpose {
            Purpose::Embed { pooling, normalise } => {
                let mut vector = pool(states, self.hidden, *pooling);
                if *normalise {
                    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
                    vector.iter_mut().for_each(|value| *value /= length);
                }
                vector
            }
            Purpose::Classify { several, pooling, .. } => {
                let mut logits = self.logits(&pool(states, self.hidden, *pooling));
                if *several {
                    logits.iter_mut().for_each(sigmoid)
                } else {
                    softmax(&mut logits)
                }
                logits
            }
            Purpose::Compare { pooling } => {
                let mut logits = self.logits(&pool(states, self.hidden, *pooling));
                logits.iter_mut().for_each(sigmoid);
                logits
            }
            Purpose::ClassifyTokens { .. } => {
                let row = |state: &[f32]| {
                    let mut logits = self.logits(state);
                    softmax(&mut logits);
                    logits
                };
                states.chunks_exact(self.hidden).flat_map(row).collect()
            }
        }
    }

    fn logits(&self, state: &[f32]) -> Vec<f32> {
        let mut x = match &self.first {
            Some(layer) => layer.forward(state),
            None => state.to_vec(),
        };
        if let Some((weight, epsilon)) = &self.norm {
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            x.iter_mut().zip(weight).for_each(|(v, w)| *v = (*v - mean) * scale * w);
        }
        self.last.as_ref().map_or(x.clone(), |layer| layer.forward(&x))
    }
}

fn sigmoid(x: &mut f32) {
    *x = 1.0 / (1.0 + (-*x).exp());
}

fn softmax(all: &mut [f32]) {
    let most = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    all.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = all.iter().sum();
    all.iter_mut().for_each(|x| *x /= sum);
}

fn pool(states: &[f32], hidden: usize, pooling: Pooling) -> Vec<f32> {
    let mut rows = states.chunks_exact(hidden);
    match pooling {
        Pooling::First => rows.next().unwrap_or_default().to_vec(),
        Pooling::Last => rows.next_back().unwrap_or_default().to_vec(),
        Pooling::Mean => {
            let count = rows.len().max(1) as f32;
            let mut vector = vec![0f32; hidden];
            for row in rows {
                vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            vector.iter_mut().for_each(|value| *value /= count);
            vector
        }
    }
}
