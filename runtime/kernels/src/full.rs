//! Attention of every token of a text to every other one: encoders.

use std::cell::RefCell;
use std::ops::Range;

use crate::Level;
use crate::dense::{self, Right};
use crate::pool::{self, Pool};
use crate::rows;
use crate::shared::Shared;
use crate::simd::{Line, with_values};

/// Rows of queries that are multiplied with all keys at a time.
const QUERIES: usize = 128;

/// What one layer's attention does.
#[derive(Clone, Copy, Debug)]
pub struct Full<'a> {
    /// Heads, each with queries, keys and values of its own.
    pub heads: usize,
    /// Values of one head.
    pub dims: usize,
    /// Factor of the products of queries and keys.
    pub scale: f32,
    /// Added to them by how far the key is from the query, `[heads, 2 longest - 1]`: the one in the
    /// middle is for a token itself, those behind it for the tokens that follow.
    pub distances: Option<(&'a [f32], usize)>,
    /// How far a token sees at most, before and behind.
    pub window: Option<usize>,
    /// Cosines and sines, `[positions, dims / 2]` each, by which queries and keys turn.
    pub angles: Option<(&'a [f32], &'a [f32])>,
}

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// `qkv` is `[tokens, 3 heads dims]`: queries, keys and values of texts that lie end to end and have
/// so many tokens; gives `[tokens, heads dims]`. Source: Vaswani et al. 2017.
///
/// # Panics
/// When the sizes do not agree.
pub fn attend(
    (level, pool): (Level, &Pool),
    full: &Full<'_>,
    qkv: &[f32],
    lengths: &[usize],
    out: &mut [f32],
) {
    let width = full.heads * full.dims;
    let tokens: usize = lengths.iter().sum();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    assert!(
        qkv.len() == 3 * tokens * width && out.len() == tokens * width,
        "the sizes do not agree"
    );
    if let Some((bias, reach)) = full.distances {
        assert!(
            reach >= longest && bias.len() == full.heads * (2 * reach - 1),
            "distances are missing"
        );
    }
    if let Some((cos, sin)) = full.angles {
        let needed = longest * full.dims / 2;
        assert!(cos.len() >= needed && sin.len() >= needed, "angles are missing");
    }
    let mut first = 0;
    let mut texts: Vec<Range<usize>> = Vec::with_capacity(lengths.len());
    for len in lengths {
        texts.push(first..first + len);
        first += len;
    }
    let out = Shared::new(out);
    pool.run(texts.len() * full.heads, &|i| {
        let (text, head) = (&texts[i / full.heads], i % full.heads);
        let job = Job { full, qkv, head, text: text.clone() };
        let len = text.len();
        let values = 4 * len * full.dims + 2 * QUERIES.min(len) * len;
        with_values(&SCRATCH, values, |scratch| job.run(level, &mut scratch[..values], &out));
    });
}

/// One head of one text.
struct Job<'a> {
    full: &'a Full<'a>,
    qkv: &'a [f32],
    head: usize,
    text: Range<usize>,
}

impl Job<'_> {
    fn run(&self, level: Level, scratch: &mut [f32], out: &Shared<'_, f32>) {
        let (len, dims) = (self.text.len(), self.full.dims);
        let width = self.full.heads * dims;
        let (q, rest) = scratch.split_at_mut(len * dims);
        let (k, rest) = rest.split_at_mut(len * dims);
        let (v, rest) = rest.split_at_mut(len * dims);
        let (y, rest) = rest.split_at_mut(len * dims);
        for (part, to) in [&mut *q, &mut *k, &mut *v].into_iter().enumerate() {
            self.gather(part, to);
        }
        let (scores, shares) = rest.split_at_mut(rest.len() / 2);
        pool::alone(|pool| {
            for first in (0..len).step_by(QUERIES) {
                let rows = first..len.min(first + QUERIES);
                let q = &q[rows.start * dims..rows.end * dims];
                let scores = &mut scores[..rows.len() * len];
                let shares = &mut shares[..rows.len() * len];
                dense::multiply(level, pool, (q, dims), Right::Transposed(k), scores);
                self.bias(rows.clone(), scores);
                rows::softmax(level, pool, scores, len, shares);
                let y = &mut y[rows.start * dims..rows.end * dims];
                dense::multiply(level, pool, (shares, len), Right::Plain(v), y);
            }
        });
        for (at, y) in y.chunks_exact(dims).enumerate() {
            let first = (self.text.start + at) * width + self.head * dims;
            // SAFETY: each head of each token is one piece's.
            unsafe { out.part(first..first + dims) }.copy_from_slice(y);
        }
    }

    /// This head's queries, keys or values, the first two turned; queries scaled.
    fn gather(&self, part: usize, to: &mut [f32]) {
        let dims = self.full.dims;
        let width = self.full.heads * dims;
        for (at, to) in to.chunks_exact_mut(dims).enumerate() {
            let first = (self.text.start + at) * 3 * width + part * width + self.head * dims;
            to.copy_from_slice(&self.qkv[first..first + dims]);
            if let (Some((cos, sin)), true) = (self.full.angles, part < 2) {
                let angles = at * (dims / 2)..(at + 1) * (dims / 2);
                turn(to, &cos[angles.clone()], &sin[angles]);
            }
            if part == 0 {
                to.iter_mut().for_each(|value| *value *= self.full.scale);
            }
        }
    }

    /// What distance adds, and what is too far.
    fn bias(&self, rows: Range<usize>, scores: &mut [f32]) {
        let len = self.text.len();
        for (row, scores) in rows.zip(scores.chunks_exact_mut(len)) {
            if let Some((bias, reach)) = self.full.distances {
                let own = &bias[self.head * (2 * reach - 1)..][..2 * reach - 1];
                let own = &own[reach - 1 - row..][..len];
                scores.iter_mut().zip(own).for_each(|(score, bias)| *score += bias);
            }
            if let Some(window) = self.full.window {
                let seen = row.saturating_sub(window)..len.min(row + window + 1);
                scores[..seen.start].fill(f32::NEG_INFINITY);
                scores[seen.end..].fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// Rotary positions: each low half turned with its high half.
fn turn(values: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = values.split_at_mut(values.len() / 2);
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    /// The definition, in f64.
    fn expected(full: &Full<'_>, qkv: &[f32], lengths: &[usize]) -> Vec<f32> {
        let mut rest = qkv;
        let mut out = Vec::new();
        for len in lengths {
            let (text, after) = rest.split_at(len * 3 * full.heads * full.dims);
            rest = after;
            for row in 0..*len {
                (0..full.heads).for_each(|head| out.extend(seen(full, text, (*len, row, head))));
            }
        }
        out
    }

    /// What one token's head makes of its text.
    fn seen(full: &Full<'_>, text: &[f32], (len, row, head): (usize, usize, usize)) -> Vec<f32> {
        let (dims, width) = (full.dims, full.heads * full.dims);
        let of = |at: usize, part: usize, i: usize| {
            let values = &text[at * 3 * width + part * width + head * dims..][..dims];
            let Some((cos, sin)) = full.angles.filter(|_| part < 2) else {
                return f64::from(values[i]);
            };
            let half = dims / 2;
            let angle = at * half + i % half;
            let (other, sign) = if i < half { (i + half, -1.0) } else { (i - half, 1.0) };
            f64::from(values[i] * cos[angle] + sign * values[other] * sin[angle])
        };
        let score = |at: usize| {
            let mut score = (0..dims).map(|i| of(row, 0, i) * of(at, 1, i)).sum::<f64>();
            score *= f64::from(full.scale);
            if let Some((bias, reach)) = full.distances {
                score += f64::from(bias[head * (2 * reach - 1) + reach - 1 + at - row]);
            }
            let far = full.window.is_some_and(|window| at.abs_diff(row) > window);
            if far { 0.0 } else { score.exp() }
        };
        let scores: Vec<f64> = (0..len).map(score).collect();
        let sum: f64 = scores.iter().sum();
        let all = |i: usize| scores.iter().enumerate().map(move |(at, s)| s * of(at, 2, i));
        (0..dims).map(|i| (all(i).sum::<f64>() / sum) as f32).collect()
    }

    #[test]
    fn every_token_sees_its_own_text() {
        let (heads, dims, reach) = (3, 8, 300);
        let lengths = [1, 5, 150, 2];
        let tokens: usize = lengths.iter().sum();
        let qkv = noise(3 * tokens * heads * dims, 1);
        let bias = noise(heads * (2 * reach - 1), 2);
        let angle = |f: fn(f32) -> f32| (0..reach * dims / 2).map(|i| f(i as f32 / 7.0)).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = (angle(f32::cos), angle(f32::sin));
        let plain = Full { heads, dims, scale: 0.4, distances: None, window: None, angles: None };
        let forms = [
            plain,
            Full { distances: Some((&bias, reach)), ..plain },
            Full { window: Some(4), angles: Some((&cos, &sin)), ..plain },
        ];
        for level in Level::available() {
            for full in &forms {
                let mut out = vec![f32::NAN; tokens * heads * dims];
                attend((level, &Pool::new(2)), full, &qkv, &lengths, &mut out);
                assert_close(&out, &expected(full, &qkv, &lengths), 1e-5, &format!("{level:?}"));
                // A text's result does not depend on its neighbours.
                let mut alone = vec![f32::NAN; 5 * heads * dims];
                let own = &qkv[3 * heads * dims..][..5 * 3 * heads * dims];
                attend((level, &Pool::new(1)), full, own, &[5], &mut alone);
                assert_eq!(alone, out[heads * dims..][..5 * heads * dims]);
            }
        }
    }
}
