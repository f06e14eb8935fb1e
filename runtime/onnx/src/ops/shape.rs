use super::arithmetic::{broadcast, places, walk};
use super::{Op, one};
use crate::error::Outcome;
use crate::fast;
use crate::run::Args;
use crate::tensor::stored::kind_of;
use crate::tensor::{Tensor, Value, as_size, axis_of, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Identity" => |args| match args.value(0) {
            Some(value) => Ok(vec![value.clone()]),
            None => Err("input 0 is missing".to_owned()),
        },
        "Shape" => shape_of,
        "Size" => |args| Ok(one(Tensor::scalar(args.tensor(0)?.len() as i64))),
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        "Expand" => expand,
        "Constant" => constant,
        "ConstantOfShape" => constant_of_shape,
        "Range" => range,
        "EyeLike" => eye,
        "DepthToSpace" => depth_to_space,
        "SpaceToDepth" => space_to_depth,
        _ => return None,
    })
}

fn shape_of(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let shape: Vec<i64> = args.tensor(0)?.shape().iter().map(|size| *size as i64).collect();
    let rank = shape.len() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(args.int("start", 0)), place(args.int("end", rank)));
    Ok(one(Tensor::vector(shape.get(start..end).unwrap_or_default().to_vec())))
}

/// One size may be -1, which is what is left; 0 is the size that was.
fn reshape(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let Some(wanted) = args.listed("shape", 1)? else {
        return Err("a shape is missing".to_owned());
    };
    x.reshaped(reshaped(x.shape(), &wanted, args.flag("allowzero"))?).map(one)
}

/// The shape that sizes stand for.
pub(crate) fn reshaped(of: &[usize], wanted: &[i64], keeps_zero: bool) -> Outcome<Vec<usize>> {
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, size) in wanted.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if !keeps_zero => *of.get(at).ok_or_else(|| format!("there is no size {at}"))?,
            size => as_size(*size)?,
        });
    }
    if let Some(at) = open {
        let others = count(&shape)?;
        shape[at] = count(of)?
            .checked_div(others)
            .ok_or_else(|| format!("what -1 stands for in {wanted:?} cannot be told for {of:?}"))?;
    }
    Ok(shape)
}

fn flatten(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axis = args.int("axis", 1);
    let rank = x.rank() as i64;
    let at = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok();
    let at =
        at.filter(|at| *at <= x.rank()).ok_or_else(|| format!("there is no dimension {axis}"))?;
    let (rows, columns) = x.shape().split_at(at);
    x.reshaped(vec![rows.iter().product(), columns.iter().product()]).map(one)
}

fn squeeze(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let drops: Vec<usize> = match args.listed("axes", 1)? {
        Some(axes) => x.axes(&axes)?,
        None => (0..x.rank()).filter(|at| x.shape()[*at] == 1).collect(),
    };
    let kept = x.shape().iter().enumerate().filter(|(at, _)| !drops.contains(at));
    x.reshaped(kept.map(|(_, size)| *size).collect()).map(one)
}

fn unsqueeze(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let Some(axes) = args.listed("axes", 1)? else { return Err("axes are missing".to_owned()) };
    let rank = x.rank() + axes.len();
    count(&vec![1; rank])?;
    let new = axes.into_iter().map(|axis| axis_of(axis, rank)).collect::<Outcome<Vec<usize>>>()?;
    let mut old = x.shape().iter();
    let sizes = (0..rank).map(|at| if new.contains(&at) { Some(1) } else { old.next().copied() });
    let shape: Option<Vec<usize>> = sizes.collect();
    x.reshaped(shape.ok_or_else(|| "an axis is named twice".to_owned())?).map(one)
}

/// The same elements with the dimensions in another order.
pub(crate) fn permuted(x: &Tensor, order: &[usize]) -> Outcome<Tensor> {
    let mut seen = vec![false; x.rank()];
    for at in order {
        match seen.get_mut(*at) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(format!("{order:?} is no order of {} dimensions", x.rank())),
        }
    }
    if order.len() != x.rank() {
        return Err(format!("{order:?} is no order of {} dimensions", x.rank()));
    }
    let own = strides(x.shape());
    let shape: Vec<usize> = order.iter().map(|at| x.shape()[*at]).collect();
    let steps: Vec<usize> = order.iter().map(|at| own[*at]).collect();
    if let Some(y) = fast::permuted(x, &shape, &steps) {
        return Ok(y);
    }
    let places = walk(&shape, &steps, x.len());
    x.take(shape, &places)
}

fn transpose(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let order = match args.ints("perm") {
        Some(order) => x.axes(order)?,
        None => (0..x.rank()).rev().collect(),
    };
    permuted(x, &order).map(one)
}

/// The same elements, again and again, as a shape has them.
pub(crate) fn expanded(x: &Tensor, shape: &[usize]) -> Outcome<Tensor> {
    x.take(shape.to_vec(), &places(x.shape(), shape)?)
}

fn expand(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let shape = broadcast(x.shape(), &args.tensor(1)?.sizes()?)?;
    expanded(x, &shape).map(one)
}

fn constant(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let tensor = if let Some(tensor) = args.constant("value") {
        tensor.clone()
    } else if args.has("value_float") {
        Tensor::scalar(args.float("value_float", 0.0) as f32)
    } else if let Some(value) = args.maybe_int("value_int") {
        Tensor::scalar(value)
    } else if args.has("value_string") {
        Tensor::scalar(args.text("value_string", "").to_owned())
    } else if let Some(values) = args.floats("value_floats") {
        Tensor::vector(values.to_vec())
    } else if let Some(values) = args.ints("value_ints") {
        Tensor::vector(values.to_vec())
    } else if let Some(values) = args.texts("value_strings") {
        Tensor::vector(values.to_vec())
    } else {
        return Err("its value is missing".to_owned());
    };
    Ok(one(tensor))
}

fn constant_of_shape(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let shape = args.tensor(0)?.sizes()?;
    let elements = count(&shape)?;
    let zero = Tensor::vector(vec![0f32]);
    let value = args.constant("value").unwrap_or(&zero);
    if value.len() != 1 {
        return Err(format!("its value has {} elements, not one", value.len()));
    }
    value.take(shape, &vec![0; elements]).map(one)
}

fn range(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (start, limit, delta) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let steps = ((limit.number()? - start.number()?) / delta.number()?).ceil().max(0.0);
    if steps.is_nan() {
        return Err("a step of 0 leads nowhere".to_owned());
    }
    let steps = count(&[steps as usize])?;
    if start.kind().is_float() {
        let (start_at, delta) = (start.number()?, delta.number()?);
        let numbers: Vec<f64> = (0..steps).map(|at| start_at + at as f64 * delta).collect();
        return Tensor::of_floats(start.kind(), vec![steps], &numbers).map(one);
    }
    let (start_at, delta) = (start.integer()?, delta.integer()?);
    let numbers: Vec<i64> =
        (0..steps as i64).map(|at| start_at.wrapping_add(at.wrapping_mul(delta))).collect();
    Tensor::of_integers(start.kind(), vec![steps], &numbers).map(one)
}

fn eye(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let kind = args.maybe_int("dtype").map_or(Ok(x.kind()), kind_of)?;
    let [rows, columns] = *x.shape() else { return Err("it must have two dimensions".to_owned()) };
    let shift = args.int("k", 0);
    let is_one = |at: usize| shift.saturating_add((at / columns) as i64) == (at % columns) as i64;
    let numbers: Vec<i64> = (0..rows * columns).map(|at| i64::from(is_one(at))).collect();
    Tensor::of_integers(kind, x.shape().to_vec(), &numbers).map(one)
}

/// Batch, channels, height and width, and the size of a block.
fn blocks(args: &Args<'_>) -> Outcome<([usize; 4], usize)> {
    let [n, c, h, w] = *args.tensor(0)?.shape() else {
        return Err("it must have four dimensions".to_owned());
    };
    let block = usize::try_from(args.int("blocksize", 0)).ok().filter(|block| *block > 0);
    Ok(([n, c, h, w], block.ok_or_else(|| "the size of a block is missing".to_owned())?))
}

fn depth_to_space(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let ([n, c, h, w], b) = blocks(args)?;
    let x = args.tensor(0)?;
    let depth = b.checked_mul(b).map_or(0, |blocks| c / blocks);
    let (split, order): (_, [usize; 6]) = match args.text("mode", "DCR") {
        "CRD" => (vec![n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        _ => (vec![n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2]),
    };
    permuted(&x.reshaped(split)?, &order)?.reshaped(vec![n, depth, h * b, w * b]).map(one)
}

fn space_to_depth(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let ([n, c, h, w], b) = blocks(args)?;
    let split = args.tensor(0)?.reshaped(vec![n, c, h / b, b, w / b, b])?;
    permuted(&split, &[0, 3, 5, 1, 2, 4])?.reshaped(vec![n, c * b * b, h / b, w / b]).map(one)
}
