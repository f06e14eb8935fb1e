use super::arithmetic::{broadcast, types, zip};
use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Data, Tensor, Value, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Equal" => |args| compare(args, |ordering| ordering == Some(Equal)),
        "Less" => |args| compare(args, |ordering| ordering == Some(Less)),
        "Greater" => |args| compare(args, |ordering| ordering == Some(Greater)),
        "LessOrEqual" => |args| compare(args, |ordering| matches!(ordering, Some(Less | Equal))),
        "GreaterOrEqual" => {
            |args| compare(args, |ordering| matches!(ordering, Some(Greater | Equal)))
        }
        "And" => |args| flags(args, |x, y| x && y),
        "Or" => |args| flags(args, |x, y| x || y),
        "Xor" => |args| flags(args, |x, y| x != y),
        "Not" => not,
        "BitwiseAnd" => |args| bits(args, |x, y| x & y),
        "BitwiseOr" => |args| bits(args, |x, y| x | y),
        "BitwiseXor" => |args| bits(args, |x, y| x ^ y),
        "BitwiseNot" => bits_not,
        "IsNaN" => |args| test(args, |_, x| x.is_nan()),
        "IsInf" => |args| test(args, is_infinite),
        _ => return None,
    })
}

use std::cmp::Ordering::{self, Equal, Greater, Less};

fn compare(args: &Args<'_>, holds: fn(Option<Ordering>) -> bool) -> Outcome<Vec<Value>> {
    let (x, y) = (args.tensor(0)?, args.tensor(1)?);
    let longest = |of: &Tensor| {
        of.elements::<String>().and_then(|all| all.iter().map(String::len).max()).unwrap_or(0)
    };
    let all = count(&broadcast(x.shape(), y.shape())?)?;
    bounds::work(&[all, longest(x).min(longest(y))])?;
    macro_rules! compared {
        ($($variant:ident),*) => {
            match (x.data(), y.data()) {
                $((Data::$variant(a), Data::$variant(b)) => {
                    zip((x, y), (a, b), |a, b| holds(a.partial_cmp(b)))
                })*
                _ => Err(types(x, y)),
            }
        };
    }
    compared!(F32, F64, F16, Bf16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, Text).map(one)
}

fn flags(args: &Args<'_>, act: fn(bool, bool) -> bool) -> Outcome<Vec<Value>> {
    let (x, y) = (args.tensor(0)?, args.tensor(1)?);
    zip((x, y), (x.flags()?, y.flags()?), |x, y| act(*x, *y)).map(one)
}

fn not(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    Tensor::new(x.shape().to_vec(), x.flags()?.iter().map(|x| !x).collect()).map(one)
}

/// Bits are the same in a wider type.
fn bits(args: &Args<'_>, act: fn(i64, i64) -> i64) -> Outcome<Vec<Value>> {
    let (x, y) = (args.tensor(0)?, args.tensor(1)?);
    if x.kind() != y.kind() || x.kind().is_float() {
        return Err(types(x, y));
    }
    let wide = |tensor: &Tensor| Tensor::new(tensor.shape().to_vec(), tensor.integers()?);
    let (wide_x, wide_y) = (wide(x)?, wide(y)?);
    let (Some(a), Some(b)) = (wide_x.elements(), wide_y.elements()) else {
        return Err(types(x, y));
    };
    let both = zip((&wide_x, &wide_y), (a, b), |x: &i64, y: &i64| act(*x, *y))?;
    Tensor::of_integers(x.kind(), both.shape().to_vec(), &both.integers()?).map(one)
}

fn bits_not(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let turned: Vec<i64> = x.integers()?.into_iter().map(|x| !x).collect();
    Tensor::of_integers(x.kind(), x.shape().to_vec(), &turned).map(one)
}

fn test(args: &Args<'_>, holds: fn(&Args<'_>, f64) -> bool) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let flags = x.floats()?.into_iter().map(|x| holds(args, x)).collect();
    Tensor::new(x.shape().to_vec(), flags).map(one)
}

fn is_infinite(args: &Args<'_>, x: f64) -> bool {
    let (positive, negative) = (args.int("detect_positive", 1), args.int("detect_negative", 1));
    x.is_infinite() && if x > 0.0 { positive != 0 } else { negative != 0 }
}
