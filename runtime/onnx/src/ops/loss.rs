use super::norm::log_softmax;
use super::{Op, one};
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::Tensor;

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "NegativeLogLikelihoodLoss" => |args| likelihood(args, args.tensor(0)?).map(one),
        "SoftmaxCrossEntropyLoss" => |args| {
            let logs = log_softmax(args.tensor(0)?, 1)?;
            Ok(vec![likelihood(args, &logs)?.into(), logs.into()])
        },
        _ => return None,
    })
}

/// From logarithms of probabilities `[batch, classes, …]` and classes `[batch, …]`.
fn likelihood(args: &Args<'_>, logs: &Tensor) -> Outcome<Tensor> {
    let target = args.tensor(1)?;
    let [_, classes, ..] = *logs.shape() else { return Err("it has no classes".to_owned()) };
    let behind: usize = logs.shape()[2..].iter().product();
    let of_class = match args.given(2)? {
        Some(weights) => weights.floats()?,
        None => vec![1.0; classes],
    };
    let ignored = args.maybe_int("ignore_index");
    let numbers = logs.floats()?;
    let (mut losses, mut weights) = (Vec::new(), Vec::new());
    for (at, class) in target.integers()?.into_iter().enumerate() {
        if Some(class) == ignored {
            losses.push(0.0);
            weights.push(0.0);
            continue;
        }
        let class = usize::try_from(class).ok().filter(|class| *class < classes);
        let class = class.ok_or_else(|| format!("there is no class like that of {classes}"))?;
        let weight = of_class.get(class).copied().unwrap_or(1.0);
        let place = (at / behind.max(1) * classes + class) * behind + at % behind.max(1);
        let log = numbers.get(place).ok_or_else(|| "there are too many targets".to_owned())?;
        losses.push(-log * weight);
        weights.push(weight);
    }
    let (sum, weight): (f64, f64) = (losses.iter().sum(), weights.iter().sum());
    let kind = logs.kind();
    match args.text("reduction", "mean") {
        "none" => Tensor::of_floats(kind, target.shape().to_vec(), &losses),
        "sum" => Tensor::of_floats(kind, Vec::new(), &[sum]),
        _ => Tensor::of_floats(kind, Vec::new(), &[sum / weight]),
    }
}
