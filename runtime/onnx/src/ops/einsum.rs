use std::collections::BTreeMap;

use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    (name == "Einsum").then_some(einsum)
}

/// The letters of each input and of the output; dimensions behind an ellipsis have digits for names.
type Terms = (Vec<Vec<char>>, Vec<char>);

fn terms(equation: &str, ranks: &[usize]) -> Outcome<Terms> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (equation, None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != ranks.len() {
        return Err(format!("{} terms are there for {} inputs", parts.len(), ranks.len()));
    }
    let mut open = 0;
    let mut inputs = Vec::new();
    for (part, rank) in parts.iter().zip(ranks) {
        let letters = part.replace("...", "").chars().count();
        let hidden =
            rank.checked_sub(letters).filter(|hidden| *hidden == 0 || part.contains("..."));
        let hidden = hidden.ok_or_else(|| format!("`{part}` does not fit {rank} dimensions"))?;
        open = open.max(hidden);
        let spelled = spelled(part, hidden);
        if spelled.len() != *rank {
            return Err(format!("`{part}` does not fit {rank} dimensions"));
        }
        inputs.push(spelled);
    }
    let output = match right {
        Some(right) => spelled(&right, open),
        None => {
            // Letters that stand once, in their order.
            let mut counts: BTreeMap<char, usize> = BTreeMap::new();
            inputs.iter().flatten().for_each(|letter| *counts.entry(*letter).or_default() += 1);
            let once = counts.into_iter().filter(|(c, n)| *n == 1 || c.is_ascii_digit());
            once.map(|(letter, _)| letter).collect()
        }
    };
    Ok((inputs, output))
}

/// Dimensions behind an ellipsis are named from the last one on.
fn spelled(part: &str, hidden: usize) -> Vec<char> {
    let digits: String =
        (0..hidden).rev().filter_map(|at| char::from_digit(at as u32, 36)).collect();
    part.replace("...", &digits).chars().collect()
}

fn einsum(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let tensors = args.tensors()?;
    let ranks: Vec<usize> = tensors.iter().map(|x| x.rank()).collect();
    let (inputs, output) = terms(args.text("equation", ""), &ranks)?;
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (letter, size) in
        inputs.iter().zip(&tensors).flat_map(|(letters, x)| letters.iter().zip(x.shape()))
    {
        let known = sizes.entry(*letter).or_insert(*size);
        *known = if *known == 1 { *size } else { *known };
        if *size != 1 && *size != *known {
            return Err(format!("`{letter}` has the sizes {known} and {size}"));
        }
    }
    let summed: Vec<char> = sizes.keys().copied().filter(|c| !output.contains(c)).collect();
    let order: Vec<char> = output.iter().chain(&summed).copied().collect();
    let size = |letter: &char| sizes.get(letter).copied().ok_or(*letter);
    let all: Vec<usize> = order
        .iter()
        .map(size)
        .collect::<Result<_, char>>()
        .map_err(|letter| format!("no input has `{letter}`"))?;
    let total = count(&all)?;
    bounds::work(&[total, inputs.len(), all.len()])?;
    let mut product = vec![1.0; total];
    for (letters, x) in inputs.iter().zip(&tensors) {
        let own = strides(x.shape());
        let step = |letter: &char| -> usize {
            let dims =
                letters.iter().enumerate().filter(|(at, c)| *c == letter && x.shape()[*at] != 1);
            dims.map(|(at, _)| own[at]).sum()
        };
        let steps: Vec<usize> = order.iter().map(step).collect();
        let numbers = x.floats()?;
        let places = super::arithmetic::walk(&all, &steps, total);
        product.iter_mut().zip(places).for_each(|(product, place)| *product *= numbers[place]);
    }
    let inner: usize = all[output.len()..].iter().product();
    let sums: Vec<f64> = match inner {
        0 => vec![0.0; count(&all[..output.len()])?],
        _ => product.chunks(inner).map(|set| set.iter().sum()).collect(),
    };
    let kind = tensors.first().ok_or_else(|| "there is no input".to_owned())?.kind();
    Tensor::of_floats(kind, all[..output.len()].to_vec(), &sums).map(one)
}
