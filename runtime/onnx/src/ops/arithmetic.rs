use emberbox_kernels::map::Binary;
use half::{bf16, f16};

use super::{Op, one};
use crate::error::Outcome;
use crate::fast;
use crate::run::Args;
use crate::tensor::{Data, Element, Kind, Tensor, Value, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Add" => |args| quick(args, (Binary::Add, add)),
        "Sub" => |args| quick(args, (Binary::Sub, sub)),
        "Mul" => |args| quick(args, (Binary::Mul, mul)),
        "Div" => |args| quick(args, (Binary::Div, div)),
        "Pow" => pow,
        "Mod" => modulo,
        "Max" => |args| fold(args, max),
        "Min" => |args| fold(args, min),
        "Sum" => |args| fold(args, add),
        "Mean" => mean,
        "PRelu" => parametric,
        "Where" => choose,
        "BitShift" => bit_shift,
        _ => return None,
    })
}

/// The shape that two shapes have together ("Broadcasting in ONNX").
pub(crate) fn broadcast(one: &[usize], other: &[usize]) -> Outcome<Vec<usize>> {
    let rank = one.len().max(other.len());
    let size =
        |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let sizes = (0..rank).map(|at| match (size(one, at), size(other, at)) {
        (a, b) if a == b => Ok(a),
        (1, b) => Ok(b),
        (a, 1) => Ok(a),
        _ => Err(format!("the shapes {one:?} and {other:?} do not go together")),
    });
    sizes.collect()
}

/// For each element of a broadcast shape its place in the smaller one.
pub(crate) fn places(from: &[usize], to: &[usize]) -> Outcome<Vec<usize>> {
    let all = count(to)?;
    let own = strides(from);
    let lead = to.len().checked_sub(from.len());
    let fits = |lead: &usize| from.iter().zip(&to[*lead..]).all(|(a, b)| a == b || *a == 1);
    let lead = lead.filter(fits).ok_or_else(|| format!("{from:?} does not fit {to:?}"))?;
    // How far a step along each dimension leads.
    let steps: Vec<usize> = (0..to.len())
        .map(|at| match at.checked_sub(lead) {
            Some(at) if from[at] != 1 => own[at],
            _ => 0,
        })
        .collect();
    Ok(walk(to, &steps, all))
}

/// Places of all elements of a shape, where a step along each dimension leads so far.
pub(crate) fn walk(shape: &[usize], steps: &[usize], all: usize) -> Vec<usize> {
    let mut places = Vec::with_capacity(all);
    let mut index = vec![0usize; shape.len()];
    let mut place = 0;
    for _ in 0..all {
        places.push(place);
        for at in (0..shape.len()).rev() {
            index[at] += 1;
            place += steps[at];
            if index[at] < shape[at] {
                break;
            }
            place -= steps[at] * shape[at];
            index[at] = 0;
        }
    }
    places
}

/// Puts two tensors together, element by element.
pub(crate) fn zip<T: Element, U: Element>(
    (one, other): (&Tensor, &Tensor),
    (x, y): (&[T], &[T]),
    act: impl Fn(&T, &T) -> U,
) -> Outcome<Tensor> {
    if one.shape() == other.shape() {
        let elements = x.iter().zip(y).map(|(x, y)| act(x, y)).collect();
        return Tensor::new(one.shape().to_vec(), elements);
    }
    let shape = broadcast(one.shape(), other.shape())?;
    let (of_one, of_other) = (places(one.shape(), &shape)?, places(other.shape(), &shape)?);
    let elements = of_one.iter().zip(&of_other).map(|(a, b)| act(&x[*a], &y[*b])).collect();
    Tensor::new(shape, elements)
}

/// A function of two numbers, for every type of them.
macro_rules! numeric {
    ($name:ident, |$x:ident, $y:ident| $float:expr, $integer:expr) => {
        pub(crate) fn $name(one: &Tensor, other: &Tensor) -> Outcome<Tensor> {
            macro_rules! integers {
                ($a:ident, $b:ident) => {
                    zip((one, other), ($a, $b), |$x, $y| {
                        let ($x, $y) = (*$x, *$y);
                        $integer
                    })
                };
            }
            macro_rules! floats {
                ($a:ident, $b:ident) => {
                    zip((one, other), ($a, $b), |$x, $y| {
                        let ($x, $y) = (*$x, *$y);
                        $float
                    })
                };
            }
            match (one.data(), other.data()) {
                (Data::F32(a), Data::F32(b)) => floats!(a, b),
                (Data::F64(a), Data::F64(b)) => floats!(a, b),
                (Data::F16(a), Data::F16(b)) => zip((one, other), (a, b), |$x, $y| {
                    let ($x, $y) = ($x.to_f32(), $y.to_f32());
                    f16::from_f32($float)
                }),
                (Data::Bf16(a), Data::Bf16(b)) => zip((one, other), (a, b), |$x, $y| {
                    let ($x, $y) = ($x.to_f32(), $y.to_f32());
                    bf16::from_f32($float)
                }),
                (Data::I8(a), Data::I8(b)) => integers!(a, b),
                (Data::I16(a), Data::I16(b)) => integers!(a, b),
                (Data::I32(a), Data::I32(b)) => integers!(a, b),
                (Data::I64(a), Data::I64(b)) => integers!(a, b),
                (Data::U8(a), Data::U8(b)) => integers!(a, b),
                (Data::U16(a), Data::U16(b)) => integers!(a, b),
                (Data::U32(a), Data::U32(b)) => integers!(a, b),
                (Data::U64(a), Data::U64(b)) => integers!(a, b),
                _ => Err(types(one, other)),
            }
        }
    };
}
numeric!(add, |x, y| x + y, x.wrapping_add(y));
numeric!(sub, |x, y| x - y, x.wrapping_sub(y));
numeric!(mul, |x, y| x * y, x.wrapping_mul(y));
numeric!(div, |x, y| x / y, if y == 0 { 0 } else { x.wrapping_div(y) });
numeric!(max, |x, y| if x.is_nan() || x > y { x } else { y }, x.max(y));
numeric!(min, |x, y| if x.is_nan() || x < y { x } else { y }, x.min(y));
numeric!(prelu, |x, y| if x < 0.0 { x * y } else { x }, if x > 0 { x } else { x.wrapping_mul(y) });
numeric!(remainder_towards_zero, |x, y| x % y, if y == 0 { 0 } else { x.wrapping_rem(y) });
// With the divisor's sign: where the first bits differ, the signs do. Not for types without one.
numeric!(remainder, |x, y| x - (x / y).floor() * y, {
    let rest = if y == 0 { 0 } else { x.wrapping_rem(y) };
    if rest != 0 && (rest ^ y).leading_zeros() == 0 { rest.wrapping_add(y) } else { rest }
});

/// Says that two types do not go together.
pub(crate) fn types(one: &Tensor, other: &Tensor) -> String {
    format!("{:?} and {:?} do not go together here", one.kind(), other.kind())
}

/// What makes one tensor of two.
type Act = fn(&Tensor, &Tensor) -> Outcome<Tensor>;

/// By the kernels, where both are f32.
fn quick(args: &Args<'_>, (op, act): (Binary, Act)) -> Outcome<Vec<Value>> {
    match fast::binary(args.tensor(0)?, args.tensor(1)?, op)? {
        Some(y) => Ok(one(y)),
        None => pair(args, act),
    }
}

fn pair(args: &Args<'_>, act: Act) -> Outcome<Vec<Value>> {
    act(args.tensor(0)?, args.tensor(1)?).map(one)
}

fn fold(args: &Args<'_>, act: Act) -> Outcome<Vec<Value>> {
    let all = args.tensors()?;
    let (first, rest) = all.split_first().ok_or_else(|| "there is no input".to_owned())?;
    let mut sum = (*first).clone();
    for next in rest {
        sum = act(&sum, next)?;
    }
    Ok(one(sum))
}

fn mean(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let count = args.inputs.len() as f64;
    let Some(Value::Tensor(sum)) = fold(args, add)?.pop() else {
        return Err("there is no input".to_owned());
    };
    let means: Vec<f64> = sum.floats()?.into_iter().map(|sum| sum / count).collect();
    Ok(one(Tensor::of_floats(sum.kind(), sum.shape().to_vec(), &means)?))
}

/// A slope for each channel, in older models, has no other dimension.
fn parametric(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, slope) = (args.tensor(0)?, args.tensor(1)?);
    if args.node.version < 7 && slope.rank() == 1 && x.rank() > 1 {
        let mut shape = vec![1; x.rank()];
        shape[1] = slope.len();
        return prelu(x, &slope.reshaped(shape)?).map(one);
    }
    prelu(x, slope).map(one)
}

/// The base's type is the power's.
fn pow(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (base, exponent) = (args.tensor(0)?, args.tensor(1)?);
    let kind = base.kind();
    if kind.is_float() || exponent.kind().is_float() {
        let (base, exponent) = (base.wide()?, exponent.wide()?);
        let (Some(x), Some(y)) = (base.elements(), exponent.elements()) else {
            return Err(types(&base, &exponent));
        };
        let power = zip((&base, &exponent), (x, y), |x: &f64, y: &f64| x.powf(*y))?;
        return Ok(one(power.cast(kind, true)?));
    }
    let (base, exponent) = (base.cast(Kind::I64, true)?, exponent.cast(Kind::I64, true)?);
    let (Some(x), Some(y)) = (base.elements(), exponent.elements()) else {
        return Err(types(&base, &exponent));
    };
    let power = zip((&base, &exponent), (x, y), |x: &i64, y: &i64| match u32::try_from(*y) {
        Ok(y) => x.wrapping_pow(y),
        Err(_) => i64::from(*x == 1),
    })?;
    Ok(one(power.cast(kind, true)?))
}

fn modulo(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let has_no_sign =
        matches!(args.tensor(0)?.kind(), Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64);
    let plain = args.flag("fmod") || has_no_sign;
    pair(args, if plain { remainder_towards_zero } else { remainder })
}

/// One or the other, as a condition says.
fn choose(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (condition, yes, no) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let flags = condition.flags()?;
    let shape = broadcast(&broadcast(condition.shape(), yes.shape())?, no.shape())?;
    let of_flags = places(condition.shape(), &shape)?;
    let (of_yes, of_no) = (places(yes.shape(), &shape)?, places(no.shape(), &shape)?);
    let both = Tensor::joined(vec![yes.len() + no.len()], &[yes, no])?;
    let chosen: Vec<usize> = of_flags
        .iter()
        .zip(of_yes.iter().zip(&of_no))
        .map(|(flag, (yes_at, no_at))| if flags[*flag] { *yes_at } else { yes.len() + no_at })
        .collect();
    Ok(one(both.take(shape, &chosen)?))
}

fn bit_shift(args: &Args<'_>) -> Outcome<Vec<Value>> {
    numeric!(left, |x, y| x * y, u32::try_from(y).ok().and_then(|y| x.checked_shl(y)).unwrap_or(0));
    numeric!(
        right,
        |x, y| x / y,
        u32::try_from(y).ok().and_then(|y| x.checked_shr(y)).unwrap_or(0)
    );
    match args.text("direction", "") {
        "LEFT" => pair(args, left),
        "RIGHT" => pair(args, right),
        other => Err(format!("there is no direction `{other}`")),
    }
}
