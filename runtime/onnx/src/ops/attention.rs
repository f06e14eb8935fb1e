use super::arithmetic::{add, places};
use super::math::map;
use super::norm::probabilities;
use super::product::matmul;
use super::shape::permuted;
use super::slice::concat;
use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, Value, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Attention" => attention,
        "RotaryEmbedding" => rotary,
        _ => return None,
    })
}

/// `[batch, length, heads * size]` as `[batch, heads, length, size]`; what has four dimensions has it so.
fn by_head(x: &Tensor, heads: Option<i64>) -> Outcome<Tensor> {
    let [batch, length, hidden] = *x.shape() else { return x.wide() };
    let heads = heads.and_then(|heads| usize::try_from(heads).ok()).filter(|heads| *heads > 0);
    let heads = heads.ok_or_else(|| "the number of heads is missing".to_owned())?;
    let split = x.wide()?.reshaped(vec![batch, length, heads, hidden / heads])?;
    permuted(&split, &[0, 2, 1, 3])
}

/// Each head as often as `heads` need it.
fn repeated(x: &Tensor, heads: usize) -> Outcome<Tensor> {
    let [batch, own, length, size] = *x.shape() else { return Err("four dimensions".to_owned()) };
    if own == heads || own == 0 {
        return Ok(x.clone());
    }
    if !heads.is_multiple_of(own) {
        return Err(format!("{heads} heads do not share {own} of keys"));
    }
    count(&[batch, heads, length, size])?;
    let each = length * size;
    let start = |at: usize| (at / heads * own + at % heads / (heads / own)) * each;
    let from: Vec<usize> = (0..batch * heads).flat_map(|at| start(at)..start(at) + each).collect();
    x.take(vec![batch, heads, length, size], &from)
}

/// What was kept of earlier steps, and what has come.
fn with_past(past: Option<&Tensor>, new: Tensor) -> Outcome<Tensor> {
    match past {
        None => Ok(new),
        Some(past) => concat(&[&past.wide()?, &new], 2),
    }
}

/// What is added to the scores: nothing, or minus infinity where nobody may look.
fn bias(args: &Args<'_>, scores: &[usize], past: usize) -> Outcome<Vec<f64>> {
    let [batch, _, rows, columns] = *scores else { return Err("four dimensions".to_owned()) };
    let all: usize = scores.iter().product();
    let mut bias = vec![0.0; all];
    if let Some(mask) = args.given(3)? {
        let numbers = match mask.kind() {
            Kind::Bool => {
                let hidden = |flag: &bool| if *flag { 0.0 } else { f64::NEG_INFINITY };
                mask.flags()?.iter().map(hidden).collect()
            }
            _ => mask.floats()?,
        };
        let shown = mask.shape().last().copied().unwrap_or(0).min(columns);
        let mut shape = scores.to_vec();
        shape[3] = shown;
        let of_mask = places(mask.shape(), &shape)?;
        for (at, bias) in bias.iter_mut().enumerate() {
            let (row, column) = (at / columns, at % columns);
            let within = (column < shown).then(|| numbers[of_mask[row * shown + column]]);
            *bias += within.unwrap_or(f64::NEG_INFINITY);
        }
    }
    let lengths = args.given(6)?.map(Tensor::sizes).transpose()?;
    let causal = args.flag("is_causal");
    for (at, bias) in bias.iter_mut().enumerate() {
        let (row, column) = (at / columns % rows, at % columns);
        let item = at / (all / batch.max(1)).max(1);
        let is_padding =
            lengths.as_ref().is_some_and(|all| all.get(item).is_some_and(|max| column >= *max));
        if is_padding || (causal && column > row + past) {
            *bias = f64::NEG_INFINITY;
        }
    }
    Ok(bias)
}

fn attention(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (input, kind) = (args.tensor(0)?, args.tensor(0)?.kind());
    let query = by_head(input, args.maybe_int("q_num_heads"))?;
    let key = by_head(args.tensor(1)?, args.maybe_int("kv_num_heads"))?;
    let value = by_head(args.tensor(2)?, args.maybe_int("kv_num_heads"))?;
    let past = args.given(4)?;
    let past_length = past.and_then(|past| past.shape().get(2).copied()).unwrap_or(0);
    let (key, value) = (with_past(past, key)?, with_past(args.given(5)?, value)?);
    let [_, heads, _, size] = *query.shape() else { return Err("four dimensions".to_owned()) };
    let scale = match args.has("scale") {
        true => args.float("scale", 1.0),
        false => 1.0 / (size as f64).sqrt(),
    };
    let turned = permuted(&repeated(&key, heads)?, &[0, 1, 3, 2])?;
    let scores = map(&matmul(args, &query, &turned)?, |score| score * scale)?;
    let mut shown = scores.clone();
    let mode = args.int("qk_matmul_output_mode", 0);
    let bias = bias(args, scores.shape(), past_length)?;
    let mut scores = add(&scores, &Tensor::new(scores.shape().to_vec(), bias)?)?;
    if mode == 1 {
        shown = scores.clone();
    }
    let cap = args.float("softcap", 0.0);
    if cap > 0.0 {
        scores = map(&scores, |score| (score / cap).tanh() * cap)?;
    }
    if mode == 2 {
        shown = scores.clone();
    }
    let mut shares = scores.floats()?;
    let columns = scores.shape()[3].max(1);
    for row in shares.chunks_mut(columns) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|score| *score -= most);
        probabilities(row);
    }
    let shares = Tensor::new(scores.shape().to_vec(), shares)?;
    let output = matmul(args, &shares, &repeated(&value, heads)?)?;
    let output = match (input.rank(), output.shape()) {
        (3, &[batch, heads, length, size]) => {
            permuted(&output, &[0, 2, 1, 3])?.reshaped(vec![batch, length, heads * size])?
        }
        _ => output,
    };
    if mode == 3 {
        shown = shares;
    }
    let all = [output, key, value, shown].map(|tensor| tensor.cast(kind, true).map(Value::from));
    all.into_iter().collect()
}

/// Turns pairs of numbers by an angle for each position ("RoFormer").
fn rotary(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let is_flat = input.rank() == 3;
    let x = match is_flat {
        true => by_head(input, args.maybe_int("num_heads"))?,
        false => input.wide()?,
    };
    let [batch, heads, length, size] = *x.shape() else { return Err("four dimensions".to_owned()) };
    let turned = match args.int("rotary_embedding_dim", 0) {
        0 => size,
        turned => usize::try_from(turned).unwrap_or(0).min(size),
    };
    let half = turned / 2;
    let (cosines, sines) = (args.tensor(1)?.floats()?, args.tensor(2)?.floats()?);
    let positions = args.given(3)?.map(Tensor::sizes).transpose()?;
    let row = |item: usize, at: usize| match &positions {
        Some(positions) => positions.get(item * length + at).copied().unwrap_or(0),
        None => item * length + at,
    };
    bounds::work(&[batch, heads, length, size])?;
    let interleaved = args.flag("interleaved");
    let mut numbers = x.floats()?;
    for line in 0..batch * heads * length {
        let row = row(line / (heads * length), line % length).saturating_mul(half);
        let line = &mut numbers[line * size..(line + 1) * size];
        for pair in 0..half {
            let (a, b) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
            let at = row.saturating_add(pair);
            let angle = cosines.get(at).zip(sines.get(at));
            let (cosine, sine) = angle.ok_or_else(|| "a position has no angle".to_owned())?;
            (line[a], line[b]) =
                (cosine * line[a] - sine * line[b], sine * line[a] + cosine * line[b]);
        }
    }
    let mut y = Tensor::new(x.shape().to_vec(), numbers)?;
    if is_flat {
        y = permuted(&y, &[0, 2, 1, 3])?.reshaped(input.shape().to_vec())?;
    }
    y.cast(input.kind(), true).map(one)
}
