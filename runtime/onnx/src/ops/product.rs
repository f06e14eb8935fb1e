use super::arithmetic::{add, broadcast, places};
use super::cast::range_of;
use super::shape::permuted;
use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::fast;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, Value, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "MatMul" => |args| matmul(args, args.tensor(0)?, args.tensor(1)?).map(one),
        "Gemm" => gemm,
        "MatMulInteger" => integers,
        "QLinearMatMul" => quantised,
        "Det" => determinants,
        _ => return None,
    })
}

/// The product of matrices, in batches ("numpy.matmul").
pub(crate) fn matmul(args: &Args<'_>, a: &Tensor, b: &Tensor) -> Outcome<Tensor> {
    if let (Some(x), Some(y)) = (fast::floats(a), fast::floats(b)) {
        let (shape, batch, sizes) = joined(a, b)?;
        let product = fast::product::pairs((x, &batch[0]), (y, &batch[1]), sizes, args.stop());
        return Tensor::new(shape, product);
    }
    let numbers = matmul_floats((a, &a.floats()?), (b, &b.floats()?))?;
    Tensor::of_floats(a.kind(), numbers.0, &numbers.1)
}

type Floats<'a> = (&'a Tensor, &'a [f64]);

/// The shape of a product; where its matrices are in either operand; their sizes.
type Joined = (Vec<usize>, [Vec<usize>; 2], (usize, usize, usize));

fn joined(a: &Tensor, b: &Tensor) -> Outcome<Joined> {
    let (a_shape, b_shape) = (matrix(a.shape(), true)?, matrix(b.shape(), false)?);
    let ([a_batch @ .., m, k], [b_batch @ .., inner, n]) = (&a_shape[..], &b_shape[..]) else {
        return Err("matrices must have dimensions".to_owned());
    };
    if k != inner {
        return Err(format!("the shapes {:?} and {:?} do not go together", a.shape(), b.shape()));
    }
    let batch = broadcast(a_batch, b_batch)?;
    let (of_a, of_b) = (places(a_batch, &batch)?, places(b_batch, &batch)?);
    let mut shape = batch;
    shape.extend([*m, *n]);
    count(&shape)?;
    bounds::work(&[of_a.len(), *m, *k, *n])?;
    // A vector's own dimension goes again.
    if b.rank() == 1 {
        shape.pop();
    }
    if a.rank() == 1 {
        shape.remove(shape.len() - if b.rank() == 1 { 1 } else { 2 });
    }
    Ok((shape, [of_a, of_b], (*m, *k, *n)))
}

fn matmul_floats((a, x): Floats<'_>, (b, y): Floats<'_>) -> Outcome<(Vec<usize>, Vec<f64>)> {
    let (shape, [of_a, of_b], (m, k, n)) = joined(a, b)?;
    let mut product = vec![0.0; count(&shape)?];
    for (at, (from_a, from_b)) in of_a.iter().zip(&of_b).enumerate() {
        let (x, y) = (&x[from_a * m * k..], &y[from_b * k * n..]);
        let to = &mut product[at * m * n..(at + 1) * m * n];
        multiply((x, y), (m, k, n), to);
    }
    Ok((shape, product))
}

fn multiply((x, y): (&[f64], &[f64]), (m, k, n): (usize, usize, usize), to: &mut [f64]) {
    for row in 0..m {
        for inner in 0..k {
            let factor = x[row * k + inner];
            let line = &y[inner * n..(inner + 1) * n];
            to[row * n..(row + 1) * n].iter_mut().zip(line).for_each(|(to, y)| *to += factor * y);
        }
    }
}

/// A vector is a row on the left and a column on the right.
fn matrix(shape: &[usize], left: bool) -> Outcome<Vec<usize>> {
    Ok(match (shape, left) {
        ([], _) => return Err("a number is no matrix".to_owned()),
        ([size], true) => vec![1, *size],
        ([size], false) => vec![*size, 1],
        (shape, _) => shape.to_vec(),
    })
}

fn gemm(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let turned = |at: usize, name: &str| -> Outcome<Tensor> {
        let x = args.tensor(at)?;
        if args.flag(name) { permuted(x, &[1, 0]) } else { Ok(x.clone()) }
    };
    let (a, b) = (turned(0, "transA")?, turned(1, "transB")?);
    let kind = a.kind();
    let (shape, mut product) = matmul_floats((&a, &a.floats()?), (&b, &b.floats()?))?;
    let (alpha, beta) = (args.float("alpha", 1.0), args.float("beta", 1.0));
    product.iter_mut().for_each(|number| *number *= alpha);
    let Some(c) = args.given(2)? else { return Tensor::of_floats(kind, shape, &product).map(one) };
    if broadcast(&shape, c.shape())? != shape {
        return Err(format!("{:?} is larger than the product's {shape:?}", c.shape()));
    }
    let product = Tensor::of_floats(Kind::F64, shape, &product)?;
    let scaled: Vec<f64> = c.floats()?.into_iter().map(|c| c * beta).collect();
    let sum = add(&product, &Tensor::of_floats(Kind::F64, c.shape().to_vec(), &scaled)?)?;
    sum.cast(kind, true).map(one)
}

fn determinants(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let [batch @ .., size, columns] = x.shape() else {
        return Err(format!("{:?} is no matrix", x.shape()));
    };
    if size != columns {
        return Err(format!("a matrix of {size} by {columns} has no determinant"));
    }
    let all = count(batch)?;
    bounds::work(&[all, *size, *size, *size])?;
    let mut numbers = x.floats()?;
    let matrix = |at: usize| at * size * size;
    let found: Vec<f64> =
        (0..all).map(|at| determinant(&mut numbers[matrix(at)..matrix(at + 1)], *size)).collect();
    Tensor::of_floats(x.kind(), batch.to_vec(), &found).map(one)
}

/// By elimination, each time with the largest number that is left in a column.
fn determinant(matrix: &mut [f64], size: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..size {
        let magnitude = |row: &usize| matrix[row * size + column].abs();
        let best = (column..size).max_by(|a, b| magnitude(a).total_cmp(&magnitude(b)));
        let best = best.unwrap_or(column);
        if best != column {
            (0..size).for_each(|at| matrix.swap(best * size + at, column * size + at));
            product = -product;
        }
        let pivot = matrix[column * size + column];
        product *= pivot;
        if pivot == 0.0 {
            return 0.0;
        }
        for row in column + 1..size {
            let factor = matrix[row * size + column] / pivot;
            (column..size).for_each(|at| {
                matrix[row * size + at] -= factor * matrix[column * size + at];
            });
        }
    }
    product
}

/// Numbers less their zero point, which is one for all, or one for each row or column.
pub(crate) fn centred(x: &Tensor, zero: Option<&Tensor>, by_row: bool) -> Outcome<Tensor> {
    let wide = x.wide()?;
    let Some(zero) = zero else { return Ok(wide) };
    let mut zero = zero.wide()?;
    if by_row && zero.rank() == 1 && zero.len() > 1 {
        zero = zero.reshaped(vec![zero.len(), 1])?;
    }
    super::arithmetic::sub(&wide, &zero)
}

fn integers(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let a = centred(args.tensor(0)?, args.given(2)?, true)?;
    let b = centred(args.tensor(1)?, args.given(3)?, false)?;
    matmul(args, &a, &b)?.cast(Kind::I32, true).map(one)
}

fn quantised(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let a = centred(args.tensor(0)?, Some(args.tensor(2)?), true)?;
    let b = centred(args.tensor(3)?, Some(args.tensor(5)?), false)?;
    let product = matmul(args, &a, &b)?;
    let scale = |at: usize| args.tensor(at).and_then(|scale| scale.wide());
    let (a_scale, b_scale, y_scale) = (scale(1)?, scale(4)?, scale(6)?);
    let factor = super::arithmetic::div(&super::arithmetic::mul(&a_scale, &b_scale)?, &y_scale)?;
    rescaled(&super::arithmetic::mul(&product, &factor)?, args.tensor(7)?).map(one)
}

/// Rounded, around a zero point, within its type.
pub(crate) fn rescaled(x: &Tensor, zero: &Tensor) -> Outcome<Tensor> {
    let kind = zero.kind();
    let (low, high) =
        range_of(kind).ok_or_else(|| format!("{kind:?} is no type of quantised numbers"))?;
    let rounded = super::math::map(x, f64::round_ties_even)?;
    let sum = add(&rounded, &zero.wide()?)?;
    super::math::map(&sum, |x| x.clamp(low, high))?.cast(kind, true)
}
