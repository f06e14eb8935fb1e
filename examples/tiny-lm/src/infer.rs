//! A plain forward pass over the file's weights, one token at a time with a cache of keys and
//! values. It shares no code with the training graph except the rotation, so that each checks the
//! other, and it is what the fixture for Emberbox's own engine is computed with.

use crate::config::{CONTEXT, D_FF, D_MODEL, END_ID, HEAD_DIM, HEADS, LAYERS, NORM_EPS, VOCAB};
use crate::kernels::attention::Rotation;
use crate::kernels::{dot, vectorized};
use crate::weights::{BLOCK_TENSORS, Matrix, Weights};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One sequence being generated.
pub(crate) struct Session<'a> {
    weights: &'a Weights,
    rotation: Rotation,
    /// Per block, `[position][D_MODEL]`.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    position: usize,
}

fn times(matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; matrix.rows];
    vectorized(
        #[inline(always)]
        || {
            for (row, y) in y.iter_mut().enumerate() {
                let start = row * matrix.columns;
                *y = dot(&matrix.values[start..start + matrix.columns], x);
            }
        },
    );
    y
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    let squares = product(x, x);
    let scale = 1.0 / (squares / x.len() as f32 + NORM_EPS).sqrt();
    x.iter().zip(&matrix.values).map(|(x, w)| x * scale * w).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn softmax(scores: &mut [f32]) {
    let top = scores.iter().fold(f32::MIN, |top, score| top.max(*score));
    scores.iter_mut().for_each(|score| *score = (*score - top).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

impl<'a> Session<'a> {
    /// An empty sequence.
    pub(crate) fn new(weights: &'a Weights) -> Self {
        let empty = || vec![Vec::new(); LAYERS];
        let rotation = Rotation::new(CONTEXT);
        Self { weights, rotation, keys: empty(), values: empty(), position: 0 }
    }

    /// Tokens seen.
    pub(crate) fn len(&self) -> usize {
        self.position
    }

    /// Takes one token in and returns the logits of the next one, `[VOCAB]`.
    pub(crate) fn step(&mut self, id: u32) -> Vec<f32> {
        assert!(self.position < CONTEXT && (id as usize) < VOCAB, "within context and vocabulary");
        let weights = self.weights;
        let embedding = &weights.matrices[0];
        let start = id as usize * D_MODEL;
        let mut x = embedding.values[start..start + D_MODEL].to_vec();
        for block in 0..LAYERS {
            let first = 1 + block * BLOCK_TENSORS;
            let parts = &weights.matrices[first..first + BLOCK_TENSORS];
            let attended = self.attend(block, &norm(&parts[0], &x), parts);
            add(&mut x, &times(&parts[4], &attended));
            let h = norm(&parts[5], &x);
            let (gate, up) = (times(&parts[6], &h), times(&parts[7], &h));
            let inner: Vec<f32> =
                (0..D_FF).map(|i| gate[i] / (1.0 + (-gate[i]).exp()) * up[i]).collect();
            add(&mut x, &times(&parts[8], &inner));
        }
        self.position += 1;
        let last = weights.matrices.len() - 1;
        times(embedding, &norm(&weights.matrices[last], &x))
    }

    fn attend(&mut self, block: usize, h: &[f32], parts: &[Matrix]) -> Vec<f32> {
        let (mut q, mut k) = (times(&parts[1], h), times(&parts[2], h));
        for head in 0..HEADS {
            let at = head * HEAD_DIM..(head + 1) * HEAD_DIM;
            self.rotation.rotate(self.position, 1.0, &mut q[at.clone()]);
            self.rotation.rotate(self.position, 1.0, &mut k[at]);
        }
        self.keys[block].extend(k);
        self.values[block].extend(times(&parts[3], h));
        let mut out = vec![0.0; D_MODEL];
        for head in 0..HEADS {
            let at = head * HEAD_DIM..(head + 1) * HEAD_DIM;
            let keys = self.keys[block].chunks_exact(D_MODEL);
            let scale = 1.0 / (HEAD_DIM as f32).sqrt();
            let mut p: Vec<f32> =
                keys.map(|k| product(&q[at.clone()], &k[at.clone()]) * scale).collect();
            softmax(&mut p);
            for (p, v) in p.iter().zip(self.values[block].chunks_exact(D_MODEL)) {
                out[at.clone()].iter_mut().zip(&v[at.clone()]).for_each(|(o, v)| *o += p * v);
            }
        }
        out
    }
}

/// The most likely token.
pub(crate) fn greedy(logits: &[f32]) -> u32 {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, better) as u32
}

/// A token drawn at the given temperature.
pub(crate) fn sample(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> u32 {
    let mut p: Vec<f32> = logits.iter().map(|logit| logit / temperature).collect();
    softmax(&mut p);
    let mut left: f32 = rng.random();
    for (id, p) in p.iter().enumerate() {
        left -= p;
        if left < 0.0 {
            return id as u32;
        }
    }
    greedy(logits)
}

/// Continues `prompt` until the model ends its message, the context is full or `tokens_max` is
/// reached; `choose` picks from the logits.
pub(crate) fn generate(
    weights: &Weights,
    prompt: &[u32],
    tokens_max: usize,
    mut choose: impl FnMut(&[f32]) -> u32,
) -> Vec<u32> {
    let mut session = Session::new(weights);
    let mut logits = Vec::new();
    for id in prompt.iter().take(CONTEXT) {
        logits = session.step(*id);
    }
    let mut ids = Vec::new();
    while ids.len() < tokens_max {
        let id = choose(&logits);
        ids.push(id);
        if id == END_ID || session.len() == CONTEXT {
            break;
        }
        logits = session.step(id);
    }
    ids
}
