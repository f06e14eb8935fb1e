use std::collections::HashMap;

use super::slice::chosen_along;
use super::{Op, one};
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, as_size};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "LabelEncoder" => encode,
        "ArrayFeatureExtractor" => extract,
        "Binarizer" => binarise,
        _ => return None,
    })
}

/// An element by which something is looked up; numbers by their bits.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Text(&'a str),
    Float(u64),
    Integer(i64),
}

fn keys(of: &Tensor) -> Outcome<Vec<Key<'_>>> {
    if let Some(texts) = of.elements::<String>() {
        return Ok(texts.iter().map(|text| Key::Text(text)).collect());
    }
    if !of.kind().is_float() {
        return Ok(of.integers()?.into_iter().map(Key::Integer).collect());
    }
    // All that is no number is the same, and so are both zeros.
    let bits = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 }.to_bits();
    Ok(of.floats()?.into_iter().map(|x| Key::Float(bits(x))).collect())
}

/// A list that an attribute has in one of four forms.
fn listed(args: &Args<'_>, name: &str) -> Outcome<Tensor> {
    let of = |kind: &str| format!("{name}_{kind}");
    if let Some(tensor) = args.constant(&of("tensor")) {
        return Ok(tensor.clone());
    }
    if let Some(texts) = args.texts(&of("strings")) {
        return Ok(Tensor::vector(texts.to_vec()));
    }
    if let Some(integers) = args.ints(&of("int64s")) {
        return Ok(Tensor::vector(integers.to_vec()));
    }
    let floats = args.floats(&of("floats")).ok_or_else(|| format!("the {name} are missing"))?;
    Ok(Tensor::vector(floats.to_vec()))
}

/// What stands for all that has no key.
fn default(args: &Args<'_>, like: &Tensor) -> Outcome<Tensor> {
    if let Some(tensor) = args.constant("default_tensor") {
        return tensor.cast(like.kind(), true);
    }
    if like.elements::<String>().is_some() {
        return Ok(Tensor::scalar(args.text("default_string", "_Unused").to_owned()));
    }
    let number = match like.kind().is_float() {
        true => Tensor::scalar(args.float("default_float", -0.0)),
        false => Tensor::scalar(args.int("default_int64", -1)),
    };
    number.cast(like.kind(), true)
}

fn encode(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let (from, to) = (listed(args, "keys")?, listed(args, "values")?);
    let default = default(args, &to)?;
    if from.len() != to.len() || default.len() != 1 {
        return Err(format!("{} keys are there for {} values", from.len(), to.len()));
    }
    // The last one of a key that is there twice.
    let known: HashMap<Key<'_>, usize> = keys(&from)?.into_iter().zip(0..).collect();
    let place = |key: Key<'_>| known.get(&key).copied().unwrap_or(to.len());
    let places: Vec<usize> = keys(x)?.into_iter().map(place).collect();
    let both = Tensor::joined(vec![to.len() + 1], &[&to, &default])?;
    both.take(x.shape().to_vec(), &places).map(one)
}

/// Elements of the last dimension.
fn extract(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices) = (args.tensor(0)?, args.tensor(1)?.integers()?);
    let axis = x.axis(-1)?;
    let size = x.shape()[axis];
    let place = |at: i64| {
        let place = as_size(at).ok().filter(|at| *at < size);
        place.ok_or_else(|| format!("there is no place {at} of {size}"))
    };
    let chosen = indices.into_iter().map(place).collect::<Outcome<Vec<usize>>>()?;
    let found = chosen_along(x, axis, &chosen)?;
    match x.rank() {
        1 => found.reshaped(vec![1, chosen.len()]).map(one),
        _ => Ok(one(found)),
    }
}

fn binarise(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let threshold = args.float("threshold", 0.0);
    let flags: Vec<i64> = x.floats()?.into_iter().map(|x| i64::from(x > threshold)).collect();
    Tensor::of_integers(x.kind(), x.shape().to_vec(), &flags).map(one)
}
