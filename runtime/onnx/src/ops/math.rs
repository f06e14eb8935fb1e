use emberbox_kernels::dense::Activation;

use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::fast;
use crate::run::Args;
use crate::tensor::{Data, Kind, Tensor, Value};

pub(super) fn find(name: &str) -> Option<Op> {
    if activation_named(name) {
        return Some(quick);
    }
    defined(name)
}

/// Operators that the kernels have.
fn activation_named(name: &str) -> bool {
    matches!(
        name,
        "Relu"
            | "Clip"
            | "LeakyRelu"
            | "Sigmoid"
            | "Tanh"
            | "Erf"
            | "Gelu"
            | "HardSwish"
            | "HardSigmoid"
            | "Swish"
    )
}

/// By the kernels, where the numbers are f32.
fn quick(args: &Args<'_>) -> Outcome<Vec<Value>> {
    if let Some(activation) = kernel_of(args)?
        && let Some(y) = fast::unary(args.tensor(0)?, activation)?
    {
        return Ok(one(y));
    }
    match defined(&args.node.kind) {
        Some(op) => op(args),
        None => Err("is not defined".to_owned()),
    }
}

/// The kernel of a node, where there is one for its attributes.
pub(crate) fn kernel_of(args: &Args<'_>) -> Outcome<Option<Activation>> {
    Ok(Some(match args.node.kind.as_str() {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::Leaky(args.float("alpha", 0.01) as f32),
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "Erf" => Activation::Erf,
        "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => {
            let (alpha, beta) = (args.float("alpha", 0.2), args.float("beta", 0.5));
            Activation::HardSigmoid(alpha as f32, beta as f32)
        }
        "Swish" if args.float("alpha", 1.0) == 1.0 => Activation::Silu,
        "Gelu" if args.text("approximate", "none") == "tanh" => Activation::GeluTanh,
        "Gelu" => Activation::Gelu,
        "Clip" => {
            let (low, high) = bounds(args)?;
            // With crossed bounds the definition decides.
            if low > high {
                return Ok(None);
            }
            Activation::Clip(low as f32, high as f32)
        }
        _ => return Ok(None),
    }))
}

fn defined(name: &str) -> Option<Op> {
    Some(match name {
        "Abs" => |args| signed(args, i64::wrapping_abs, f64::abs),
        "Neg" => |args| signed(args, i64::wrapping_neg, |x| -x),
        "Sign" => |args| signed(args, i64::signum, |x| if x == 0.0 { 0.0 } else { x.signum() }),
        "Relu" => |args| signed(args, |x| x.max(0), |x| if x > 0.0 { x } else { x.min(0.0) * 0.0 }),
        "Sqrt" => |args| each(args, f64::sqrt),
        "Exp" => |args| each(args, f64::exp),
        "Log" => |args| each(args, f64::ln),
        "Reciprocal" => |args| each(args, f64::recip),
        "Ceil" => |args| each(args, f64::ceil),
        "Floor" => |args| each(args, f64::floor),
        "Round" => |args| each(args, f64::round_ties_even),
        "Sin" => |args| each(args, f64::sin),
        "Cos" => |args| each(args, f64::cos),
        "Tan" => |args| each(args, f64::tan),
        "Asin" => |args| each(args, f64::asin),
        "Acos" => |args| each(args, f64::acos),
        "Atan" => |args| each(args, f64::atan),
        "Sinh" => |args| each(args, f64::sinh),
        "Cosh" => |args| each(args, f64::cosh),
        "Tanh" => |args| each(args, f64::tanh),
        "Asinh" => |args| each(args, f64::asinh),
        "Acosh" => |args| each(args, f64::acosh),
        "Atanh" => |args| each(args, f64::atanh),
        "Erf" => |args| each(args, erf),
        "Sigmoid" => |args| each(args, sigmoid),
        "Softplus" => |args| each(args, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "Softsign" => |args| each(args, |x| x / (1.0 + x.abs())),
        "Mish" => |args| each(args, |x| x * x.exp().ln_1p().tanh()),
        "HardSwish" => |args| each(args, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Elu" | "Celu" | "Selu" | "LeakyRelu" | "ThresholdedRelu" | "HardSigmoid" | "Gelu"
        | "Swish" | "Shrink" => return activation(name),
        "Clip" => clip,
        _ => return None,
    })
}

fn activation(name: &str) -> Option<Op> {
    Some(match name {
        "Elu" => |args| {
            with(
                args,
                [("alpha", 1.0), ("", 0.0)],
                |x, [a, _]| {
                    if x < 0.0 { a * x.exp_m1() } else { x }
                },
            )
        },
        "Celu" => |args| {
            with(args, [("alpha", 1.0), ("", 0.0)], |x, [a, _]| {
                x.max(0.0) + (a * (x / a).exp_m1()).min(0.0)
            })
        },
        "Selu" => |args| {
            with(args, [("alpha", 1.673_263_2), ("gamma", 1.050_701)], |x, [alpha, gamma]| {
                gamma * if x > 0.0 { x } else { alpha * x.exp_m1() }
            })
        },
        "LeakyRelu" => |args| {
            with(args, [("alpha", 0.01), ("", 0.0)], |x, [a, _]| if x < 0.0 { a * x } else { x })
        },
        "ThresholdedRelu" => {
            |args| with(args, [("alpha", 1.0), ("", 0.0)], |x, [a, _]| if x > a { x } else { 0.0 })
        }
        "HardSigmoid" => |args| {
            with(args, [("alpha", 0.2), ("beta", 0.5)], |x, [a, b]| (a * x + b).clamp(0.0, 1.0))
        },
        "Swish" => |args| with(args, [("alpha", 1.0), ("", 0.0)], |x, [a, _]| x * sigmoid(a * x)),
        "Shrink" => |args| {
            with(args, [("lambd", 0.5), ("bias", 0.0)], |x, [lambda, bias]| match x {
                x if x < -lambda => x + bias,
                x if x > lambda => x - bias,
                _ => 0.0,
            })
        },
        "Gelu" => |args| match args.text("approximate", "none") {
            "tanh" => each(args, gelu_by_tanh),
            _ => each(args, |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
        },
        _ => return None,
    })
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu_by_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// The error function, by its series near zero and its continued fraction farther out (Abramowitz and
/// Stegun, 7.1.6 and 7.1.14).
pub(crate) fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size > 6.0 {
        return x.signum();
    }
    if size < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-17 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = size;
    for n in (1..=60).rev() {
        fraction = size + f64::from(n) / 2.0 / fraction;
    }
    let rest = (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt());
    x.signum() * (1.0 - rest)
}

/// What a function of one number takes.
const FUNCTION_STEPS: usize = 16;

/// The same for each number; integers stay what they are.
pub(crate) fn map(x: &Tensor, act: impl Fn(f64) -> f64) -> Outcome<Tensor> {
    let shape = x.shape().to_vec();
    bounds::work(&[x.len(), FUNCTION_STEPS])?;
    match x.data() {
        Data::F32(all) => {
            Tensor::new(shape, all.iter().map(|x| act(f64::from(*x)) as f32).collect())
        }
        Data::F64(all) => Tensor::new(shape, all.iter().map(|x| act(*x)).collect()),
        _ => {
            let numbers: Vec<f64> = x.floats()?.into_iter().map(act).collect();
            Tensor::of_floats(x.kind(), shape, &numbers)
        }
    }
}

fn each(args: &Args<'_>, act: fn(f64) -> f64) -> Outcome<Vec<Value>> {
    map(args.tensor(0)?, act).map(one)
}

fn with<const N: usize>(
    args: &Args<'_>,
    named: [(&str, f32); N],
    act: fn(f64, [f64; N]) -> f64,
) -> Outcome<Vec<Value>> {
    let numbers = named.map(|(name, default)| args.float(name, default));
    map(args.tensor(0)?, |x| act(x, numbers)).map(one)
}

/// Functions that integers have too.
fn signed(args: &Args<'_>, whole: fn(i64) -> i64, real: fn(f64) -> f64) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    if x.kind().is_float() {
        return map(x, real).map(one);
    }
    if matches!(x.kind(), Kind::U64) {
        // None of the functions changes a number without a sign, but for its sign.
        let numbers: Vec<i64> = x.floats()?.into_iter().map(|x| real(x) as i64).collect();
        return Tensor::of_integers(x.kind(), x.shape().to_vec(), &numbers).map(one);
    }
    let numbers: Vec<i64> = x.integers()?.into_iter().map(whole).collect();
    Tensor::of_integers(x.kind(), x.shape().to_vec(), &numbers).map(one)
}

/// The lower bound comes first, as an input or an attribute.
fn bounds(args: &Args<'_>) -> Outcome<(f64, f64)> {
    let bound = |at: usize, name: &str, default: f32| -> Outcome<f64> {
        match args.given(at)? {
            Some(bound) if bound.len() == 1 => bound.number(),
            Some(_) => Err(format!("input {at} must be one number")),
            None => Ok(if args.has(name) { args.float(name, 0.0) } else { f64::from(default) }),
        }
    };
    Ok((bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?))
}

fn clip(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let (low, high) = bounds(args)?;
    if x.kind().is_float() {
        return map(x, |x| if x.is_nan() { x } else { x.max(low).min(high) }).map(one);
    }
    let numbers: Vec<i64> =
        x.integers()?.into_iter().map(|x| x.max(low as i64).min(high as i64)).collect();
    Tensor::of_integers(x.kind(), x.shape().to_vec(), &numbers).map(one)
}
