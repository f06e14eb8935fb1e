use super::Op;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Momentum" => momentum,
        "Adagrad" => adagrad,
        "Adam" => adam,
        _ => return None,
    })
}

/// Steps every tensor: its numbers, their gradients and `N` states of each become new numbers and new
/// states. The inputs behind the first two are all tensors, all gradients, and all states.
fn stepped<const N: usize>(
    args: &Args<'_>,
    step: impl Fn(f64, f64, &mut [f64; N]) -> f64,
) -> Outcome<Vec<Value>> {
    let all = args.inputs.len().saturating_sub(2);
    let tensors = all / (N + 2);
    if tensors == 0 || tensors * (N + 2) != all {
        return Err(format!("{all} inputs are not {} for each tensor", N + 2));
    }
    let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); N + 1];
    for at in 0..tensors {
        let x = args.tensor(2 + at)?;
        let nth = |which: usize| -> Outcome<Vec<f64>> {
            let tensor = args.tensor(2 + which * tensors + at)?;
            match tensor.shape() == x.shape() {
                true => tensor.floats(),
                false => Err(format!("{:?} and {:?} are not alike", tensor.shape(), x.shape())),
            }
        };
        let (mut new, gradients) = (nth(0)?, nth(1)?);
        let mut states = (2..N + 2).map(nth).collect::<Outcome<Vec<Vec<f64>>>>()?;
        for (element, (x, gradient)) in new.iter_mut().zip(gradients).enumerate() {
            let mut own = std::array::from_fn(|state| states[state][element]);
            *x = step(*x, gradient, &mut own);
            states.iter_mut().zip(own).for_each(|(state, own)| state[element] = own);
        }
        for (outputs, numbers) in outputs.iter_mut().zip([new].iter().chain(&states)) {
            outputs.push(Tensor::of_floats(x.kind(), x.shape().to_vec(), numbers)?.into());
        }
    }
    Ok(outputs.concat())
}

/// The rate of learning, and how many steps there were.
fn rate(args: &Args<'_>) -> Outcome<(f64, f64)> {
    Ok((args.tensor(0)?.number()?, args.tensor(1)?.number()?))
}

fn momentum(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (rate, steps) = rate(args)?;
    let (alpha, norm) = (args.float("alpha", 0.0), args.float("norm_coefficient", 0.0));
    let beta = if steps > 0.0 { args.float("beta", 0.0) } else { 1.0 };
    let ahead = match args.text("mode", "standard") {
        "standard" => false,
        "nesterov" => true,
        other => return Err(format!("there is no mode `{other}`")),
    };
    stepped(args, |x, gradient, [velocity]| {
        let gradient = norm * x + gradient;
        *velocity = alpha * *velocity + beta * gradient;
        x - rate * if ahead { gradient + alpha * *velocity } else { *velocity }
    })
}

fn adagrad(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (rate, steps) = rate(args)?;
    let rate = rate / (1.0 + steps * args.float("decay_factor", 0.0));
    let (epsilon, norm) = (args.float("epsilon", 1e-6), args.float("norm_coefficient", 0.0));
    stepped(args, |x, gradient, [squares]| {
        let gradient = norm * x + gradient;
        *squares += gradient * gradient;
        x - rate * gradient / (squares.sqrt() + epsilon)
    })
}

fn adam(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (rate, steps) = rate(args)?;
    let (alpha, beta) = (args.float("alpha", 0.9), args.float("beta", 0.999));
    let (epsilon, norm) = (args.float("epsilon", 1e-6), args.float("norm_coefficient", 0.0));
    let after = 1.0 - args.float("norm_coefficient_post", 0.0);
    let rate = match steps > 0.0 {
        true => rate * (1.0 - beta.powf(steps)).sqrt() / (1.0 - alpha.powf(steps)),
        false => rate,
    };
    stepped(args, |x, gradient, [velocity, squares]| {
        let gradient = norm * x + gradient;
        *velocity = alpha * *velocity + (1.0 - alpha) * gradient;
        *squares = beta * *squares + (1.0 - beta) * gradient * gradient;
        after * (x - rate * *velocity / (squares.sqrt() + epsilon))
    })
}
