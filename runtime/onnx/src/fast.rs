//! Operators on f32 by the kernels. Each gives nothing where it does not apply: the definition of
//! the operator is then what runs.

use emberbox_kernels::dense::{
    Activation, Bias, Finish, Kind as Stored, Patches, Stop, Tiles, Weights, Window,
};
use emberbox_kernels::map::{Binary, Operand};
use emberbox_kernels::slide::Slide;
use emberbox_kernels::{Level, dense, map, pool, rows, slide};

use crate::error::Outcome;
use crate::tensor::{Data, Tensor};

/// Memory that is used again.
pub(crate) mod buffer;
/// Convolutions.
pub(crate) mod conv;
/// Products of matrices.
pub(crate) mod product;

/// The elements of a tensor of f32.
pub(crate) fn floats(x: &Tensor) -> Option<&[f32]> {
    x.elements()
}

/// A function of each number.
pub(crate) fn unary(x: &Tensor, activation: Activation) -> Outcome<Option<Tensor>> {
    let Some(values) = floats(x) else { return Ok(None) };
    let mut y = buffer::take(values.len());
    pool::current(|pool| map::unary((Level::detect(), pool), activation, values, &mut y));
    Tensor::new(x.shape().to_vec(), y).map(Some)
}

/// Two tensors of which one is repeated along the other, if at all.
pub(crate) fn binary(a: &Tensor, b: &Tensor, op: Binary) -> Outcome<Option<Tensor>> {
    let (Some(x), Some(y)) = (floats(a), floats(b)) else { return Ok(None) };
    if a.shape() == b.shape() {
        return paired((a, x), Operand::Same(y), op);
    }
    if let Some(neighbours) = repeats(b.shape(), a.shape()) {
        return paired((a, x), Operand::Channels(y, neighbours), op);
    }
    let Some(neighbours) = repeats(a.shape(), b.shape()) else { return Ok(None) };
    let turned = match op {
        Binary::Sub => Binary::SubFrom,
        Binary::Div => Binary::DivFrom,
        other => other,
    };
    paired((b, y), Operand::Channels(x, neighbours), turned)
}

fn paired((a, x): (&Tensor, &[f32]), b: Operand<'_>, op: Binary) -> Outcome<Option<Tensor>> {
    let mut y = buffer::take(x.len());
    if !x.is_empty() {
        pool::current(|pool| map::binary((Level::detect(), pool), op, x, b, &mut y));
    }
    Tensor::new(a.shape().to_vec(), y).map(Some)
}

/// Where a smaller shape is repeated along a larger one as a block: how many neighbours share a
/// value. `[c, 1, 1]` does it in `[n, c, h, w]`, each for `h w` of them, and `[d]` in `[n, d]`.
fn repeats(small: &[usize], large: &[usize]) -> Option<usize> {
    let lead = large.len().checked_sub(small.len())?;
    let ones = |sizes: &[usize]| sizes.iter().take_while(|size| **size == 1).count();
    let first = ones(small);
    let reversed: Vec<usize> = small.iter().rev().copied().collect();
    let last = small.len() - ones(&reversed).min(small.len() - first);
    if small.get(first..last)? != large.get(lead + first..lead + last)? {
        return None;
    }
    Some(large[lead + last..].iter().product())
}

/// Normalises rows: the last dimension, or all from one on.
pub(crate) fn layer_norm(
    x: &Tensor,
    (scale, bias): (&Tensor, Option<&Tensor>),
    (axis, epsilon): (usize, f64),
) -> Outcome<Option<Tensor>> {
    let width: usize = x.shape()[axis..].iter().product();
    let bias_values = bias.map(floats);
    let (Some(values), Some(weight)) = (floats(x), floats(scale)) else { return Ok(None) };
    let shaped = |of: &Tensor| of.shape() == &x.shape()[axis..];
    if width == 0 || !shaped(scale) || bias.is_some_and(|bias| !shaped(bias)) {
        return Ok(None);
    }
    let bias = match bias_values {
        Some(None) => return Ok(None),
        Some(bias) => bias,
        None => None,
    };
    let norm = rows::Norm { weight, bias, epsilon: epsilon as f32 };
    let mut y = buffer::take(values.len());
    pool::current(|pool| rows::layer_norm(Level::detect(), pool, values, norm, &mut y));
    Tensor::new(x.shape().to_vec(), y).map(Some)
}

/// Probabilities along the last dimension. A row of nothing but minus infinity has none.
pub(crate) fn softmax(x: &Tensor) -> Outcome<Option<Tensor>> {
    let (Some(values), Some(width)) = (floats(x), x.shape().last()) else { return Ok(None) };
    if *width == 0 {
        return Ok(None);
    }
    let mut y = buffer::take(values.len());
    pool::current(|pool| rows::softmax(Level::detect(), pool, values, *width, &mut y));
    Tensor::new(x.shape().to_vec(), y).map(Some)
}

/// The largest of each window. A window with nothing in it but padding is for the definition.
pub(crate) fn largest(
    x: &Tensor,
    window: &crate::ops::conv::Window,
    shape: &[usize],
) -> Outcome<Option<Tensor>> {
    let (Some(values), Some(plan)) = (floats(x), conv::planar(window)) else { return Ok(None) };
    let size = [x.shape()[2], x.shape()[3]];
    // Every window, the first one and the last one too, has something in it.
    let sees = |i: usize| {
        let last = (plan.places[i] - 1).saturating_mul(plan.stride[i]);
        plan.before[i] < plan.kernel[i]
            && plan.kernel[i] <= size[i]
            && last < size[i] + plan.before[i]
    };
    // NaN is for the definition as well; it is looked for, since the kernel may lose it.
    if !(sees(0) && sees(1) && conv::slides(size, plan))
        || window.dilations.iter().any(|d| *d > 1)
        || values.iter().any(|v| v.is_nan())
    {
        return Ok(None);
    }
    let mut y = buffer::take(shape.iter().product());
    let planes = (x.shape()[1], size, plan);
    pool::current(|pool| {
        slide::slide((Level::detect(), pool), values, planes, Slide::Largest, &mut y)
    });
    Tensor::new(shape.to_vec(), y).map(Some)
}

/// The mean of all that comes after the first dimensions.
pub(crate) fn mean_of_rest(x: &Tensor, dims: usize, shape: Vec<usize>) -> Outcome<Option<Tensor>> {
    let Some(values) = floats(x) else { return Ok(None) };
    let each: usize = x.shape()[dims..].iter().product();
    if each == 0 {
        return Ok(None);
    }
    // In lanes, which keeps the error of long sums small and the sums fast.
    let mean = |row: &[f32]| {
        let (whole, rest) = row.as_chunks::<16>();
        let mut lanes = [0f32; 16];
        for chunk in whole {
            lanes.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
        }
        let sum = lanes.iter().map(|v| f64::from(*v)).sum::<f64>();
        ((sum + rest.iter().map(|v| f64::from(*v)).sum::<f64>()) / each as f64) as f32
    };
    Tensor::new(shape, values.chunks_exact(each).map(mean).collect()).map(Some)
}

/// The same elements with the dimensions in another order, by runs of neighbours.
pub(crate) fn permuted(x: &Tensor, shape: &[usize], steps: &[usize]) -> Option<Tensor> {
    let values = floats(x)?;
    // Trailing dimensions that stay together are one run.
    let mut run = 1;
    let mut dims = shape.len();
    while dims > 0 && steps[dims - 1] == run {
        run *= shape[dims - 1];
        dims -= 1;
    }
    let mut y = buffer::take(values.len());
    if values.is_empty() {
        return Tensor::new(shape.to_vec(), y).ok();
    }
    let (shape_of_runs, steps) = (&shape[..dims], &steps[..dims]);
    let (inner, inner_step) = match (shape_of_runs.last(), steps.last()) {
        (Some(size), Some(step)) => (*size, *step),
        _ => (1, 0),
    };
    let outer = dims.saturating_sub(1);
    let places = crate::ops::walk(
        &shape_of_runs[..outer],
        &steps[..outer],
        shape_of_runs[..outer].iter().product(),
    );
    for (place, out) in places.into_iter().zip(y.chunks_exact_mut(inner * run)) {
        if run == 1 {
            let from = values[place..].iter().step_by(inner_step.max(1));
            out.iter_mut().zip(from).for_each(|(out, value)| *out = *value);
        } else {
            for (at, out) in out.chunks_exact_mut(run).enumerate() {
                out.copy_from_slice(&values[place + at * inner_step..][..run]);
            }
        }
    }
    Tensor::new(shape.to_vec(), y).ok()
}

/// Gives a value's memory back where nobody else has it.
pub(crate) fn recycle(value: crate::tensor::Value) {
    if let crate::tensor::Value::Tensor(tensor) = value
        && let Data::F32(values) = tensor.into_data()
        && let Ok(values) = std::sync::Arc::try_unwrap(values)
    {
        buffer::give(values);
    }
}
