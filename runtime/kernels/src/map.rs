//! Arithmetic value by value.

use std::ops::Range;

use crate::Level;
use crate::dense::{Activation, activate, put, take};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{LANES, Simd, dispatch};

/// Values that are worth another thread.
const PIECE_VALUES: usize = 1 << 14;

/// Of two values one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `b - a`.
    SubFrom,
    /// `a b`.
    Mul,
    /// `a / b`.
    Div,
    /// `b / a`.
    DivFrom,
}

/// The second operand.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// A value for each.
    Same(&'a [f32]),
    /// `[channels]`, each for so many neighbours: value `i` has that of `i / neighbours % channels`.
    Channels(&'a [f32], usize),
}

/// What to do with values.
#[derive(Clone, Copy)]
enum Op<'a> {
    One(Activation),
    Two(Binary, Operand<'a>),
}

/// `y = activation(x)`.
///
/// # Panics
/// When the sizes do not agree; here and below.
pub fn unary((level, pool): (Level, &Pool), activation: Activation, x: &[f32], y: &mut [f32]) {
    run((level, pool), Op::One(activation), x, y);
}

/// `y = a op b`.
pub fn binary((level, pool): (Level, &Pool), op: Binary, a: &[f32], b: Operand<'_>, y: &mut [f32]) {
    match b {
        Operand::Same(b) => assert_eq!(a.len(), b.len(), "b is not as large as a"),
        Operand::Channels(b, neighbours) => {
            let whole = a.len().checked_rem(b.len() * neighbours);
            assert!(whole.is_none_or(|rest| rest == 0), "b does not divide a");
            assert!(a.is_empty() || whole.is_some(), "b is empty");
        }
    }
    run((level, pool), Op::Two(op, b), a, y);
}

fn run((level, pool): (Level, &Pool), op: Op<'_>, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "y is not as large as x");
    let len = y.len();
    let out = Shared::new(y);
    pool.run(len.div_ceil(PIECE_VALUES), &|i| {
        let range = i * PIECE_VALUES..len.min((i + 1) * PIECE_VALUES);
        // SAFETY: the pieces are disjoint.
        unsafe { piece(level, op, x, (range, &out)) };
    });
}

dispatch! {
    unsafe fn piece(op: Op<'_>, x: &[f32], part: (Range<usize>, &Shared<'_, f32>)) = piece_body
}

#[inline(always)]
unsafe fn piece_body<S: Simd>(
    s: S,
    op: Op<'_>,
    x: &[f32],
    (range, out): (Range<usize>, &Shared<'_, f32>),
) {
    // SAFETY: the caller's promise.
    let y = unsafe { out.part(range.clone()) };
    let x = &x[range.clone()];
    match op {
        Op::One(activation) => {
            let mut at = 0;
            while at < y.len() {
                put(s, activate(s, activation, take(s, x, at)), y, at);
                at += LANES;
            }
        }
        Op::Two(op, Operand::Same(b)) => same(s, op, x, &b[range], y),
        Op::Two(op, Operand::Channels(b, 1)) => {
            let (mut at, mut from) = (0, range.start % b.len());
            while at < y.len() {
                let count = (b.len() - from).min(y.len() - at);
                same(s, op, &x[at..at + count], &b[from..from + count], &mut y[at..at + count]);
                (at, from) = (at + count, 0);
            }
        }
        Op::Two(op, Operand::Channels(b, neighbours)) => {
            let (mut at, mut channel) = (0, range.start / neighbours);
            let mut left = neighbours - range.start % neighbours;
            while at < y.len() {
                let count = left.min(y.len() - at);
                let b = s.splat(b[channel % b.len()]);
                let (x, y) = (&x[at..at + count], &mut y[at..at + count]);
                let mut lane = 0;
                while lane < count {
                    put(s, apply(s, op, take(s, x, lane), b), y, lane);
                    lane += LANES;
                }
                (at, channel, left) = (at + count, channel + 1, neighbours);
            }
        }
    }
}

#[inline(always)]
fn same<S: Simd>(s: S, op: Binary, a: &[f32], b: &[f32], y: &mut [f32]) {
    let mut at = 0;
    while at < y.len() {
        put(s, apply(s, op, take(s, a, at), take(s, b, at)), y, at);
        at += LANES;
    }
}

#[inline(always)]
fn apply<S: Simd>(s: S, op: Binary, a: S::F, b: S::F) -> S::F {
    match op {
        Binary::Add => s.add(a, b),
        Binary::Sub => s.sub(a, b),
        Binary::SubFrom => s.sub(b, a),
        Binary::Mul => s.mul(a, b),
        Binary::Div => s.div(a, b),
        Binary::DivFrom => s.div(b, a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    type Expect = fn(f32, f32) -> f32;

    #[test]
    fn operands_meet_where_they_should() {
        let ops: [(Binary, Expect); 6] = [
            (Binary::Add, |a, b| a + b),
            (Binary::Sub, |a, b| a - b),
            (Binary::SubFrom, |a, b| b - a),
            (Binary::Mul, |a, b| a * b),
            (Binary::Div, |a, b| a / b),
            (Binary::DivFrom, |a, b| b / a),
        ];
        for level in Level::available() {
            for op in ops {
                let sizes = [(1, 1, 5), (7, 1, 3_000), (3, 11, 2_000), (2, 20_000, 1)];
                sizes.into_iter().for_each(|size| check(level, op, size));
            }
        }
    }

    fn check(
        level: Level,
        (op, expect): (Binary, Expect),
        (channels, neighbours, rounds): (usize, usize, usize),
    ) {
        let above = |len: usize, seed| noise(len, seed).iter().map(|v| v + 3.0).collect();
        let a: Vec<f32> = above(channels * neighbours * rounds, 1);
        let b: Vec<f32> = above(channels, 2);
        let all: Vec<f32> = (0..a.len()).map(|i| b[i / neighbours % channels]).collect();
        let wanted: Vec<f32> = a.iter().zip(&all).map(|(a, b)| expect(*a, *b)).collect();
        let pool = Pool::new(2);
        for b in [Operand::Same(&all), Operand::Channels(&b, neighbours)] {
            let mut y = vec![f32::NAN; a.len()];
            binary((level, &pool), op, &a, b, &mut y);
            assert_close(&y, &wanted, 1e-6, &format!("{level:?} {op:?}"));
        }
    }

    #[test]
    fn functions_have_their_values() {
        let x: Vec<f32> = noise(100, 3).iter().map(|v| v * 6.0).chain([0.0, 8.0, -8.0]).collect();
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let table: [(Activation, &dyn Fn(f32) -> f32); 9] = [
            (Activation::None, &|x| x),
            (Activation::Relu, &|x| x.max(0.0)),
            (Activation::Clip(-1.0, 2.0), &|x| x.clamp(-1.0, 2.0)),
            (Activation::Leaky(0.1), &|x| if x > 0.0 { x } else { x * 0.1 }),
            (Activation::Sigmoid, &sigmoid),
            (Activation::Silu, &|x| x * sigmoid(x)),
            (Activation::Tanh, &|x| x.tanh()),
            (Activation::HardSwish, &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            (Activation::HardSigmoid(0.2, 0.5), &|x| (x * 0.2 + 0.5).clamp(0.0, 1.0)),
        ];
        for level in Level::available() {
            for (activation, expect) in &table {
                let wanted: Vec<f32> = x.iter().map(|x| expect(*x)).collect();
                let mut y = vec![f32::NAN; x.len()];
                unary((level, &Pool::new(1)), *activation, &x, &mut y);
                assert_close(&y, &wanted, 1e-6, &format!("{level:?} {activation:?}"));
            }
            let mut y = [f32::NAN; 5];
            let x = [0.0, 0.5, -0.5, 1.0, -3.0];
            unary((level, &Pool::new(1)), Activation::Erf, &x, &mut y);
            let wanted = [0.0, 0.520_499_9, -0.520_499_9, 0.842_700_8, -0.999_977_9];
            assert_close(&y, &wanted, 1e-6, "erf");
        }
    }
}
