use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, as_size, count, count_parts, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Concat" => |args| concat(&args.tensors()?, args.int("axis", 1)).map(one),
        "Split" => split,
        "Slice" => slice,
        "Pad" => pad,
        "Tile" => tile,
        "Trilu" => triangle,
        "CenterCropPad" => center,
        _ => return None,
    })
}

/// A shape as what is before an axis, along it, and behind it.
pub(crate) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    let before = shape[..axis].iter().product();
    let behind = shape[axis + 1..].iter().product();
    (before, shape[axis], behind)
}

/// Tensors one behind the other along an axis.
pub(crate) fn concat(parts: &[&Tensor], axis: i64) -> Outcome<Tensor> {
    let first = parts.first().ok_or_else(|| "there is nothing to join".to_owned())?;
    let axis = first.axis(axis)?;
    let mut shape = first.shape().to_vec();
    shape[axis] = 0;
    for part in parts {
        let fits = part.rank() == shape.len()
            && (0..shape.len()).all(|at| at == axis || part.shape()[at] == shape[at]);
        if !fits {
            return Err(format!(
                "the shapes {:?} and {:?} do not go together",
                first.shape(),
                part.shape()
            ));
        }
        shape[axis] += part.shape()[axis];
    }
    let all = Tensor::joined(vec![parts.iter().map(|part| part.len()).sum()], parts)?;
    let (before, ..) = around(&shape, axis);
    bounds::work(&[before, parts.len()])?;
    let mut places = Vec::with_capacity(all.len());
    for row in 0..before {
        let mut start = 0;
        for part in parts {
            let each = part.len() / before.max(1);
            places.extend(start + row * each..start + (row + 1) * each);
            start += part.len();
        }
    }
    all.take(shape, &places)
}

/// What stands at some places along an axis.
pub(crate) fn chosen_along(x: &Tensor, axis: usize, chosen: &[usize]) -> Outcome<Tensor> {
    let (before, size, behind) = around(x.shape(), axis);
    let mut shape = x.shape().to_vec();
    shape[axis] = chosen.len();
    count(&shape)?;
    let places: Vec<usize> = (0..before)
        .flat_map(|row| chosen.iter().map(move |at| (row * size + at) * behind))
        .flat_map(|start| start..start + behind)
        .collect();
    x.take(shape, &places)
}

/// So much of a tensor along an axis.
pub(crate) fn part(x: &Tensor, axis: usize, (start, length): (usize, usize)) -> Outcome<Tensor> {
    let all = x.shape().get(axis).copied().unwrap_or(0);
    let end = start.checked_add(length).filter(|end| *end <= all && axis < x.rank());
    let end = end.ok_or_else(|| format!("{length} from {start} are not there of {all}"))?;
    chosen_along(x, axis, &(start..end).collect::<Vec<_>>())
}

fn split(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axis = x.axis(args.int("axis", 0))?;
    let size = x.shape()[axis];
    let sizes: Vec<usize> = match args.listed("split", 1)? {
        Some(sizes) => sizes.into_iter().map(as_size).collect::<Outcome<_>>()?,
        None => {
            let parts = args.int("num_outputs", args.outputs() as i64).max(1) as usize;
            count_parts(parts)?;
            let each = size.div_ceil(parts);
            (0..parts).map(|at| each.min(size.saturating_sub(at * each))).collect()
        }
    };
    count_parts(sizes.len())?;
    if sizes.iter().fold(0usize, |sum, part| sum.saturating_add(*part)) != size {
        return Err(format!("{sizes:?} are not {size} together"));
    }
    let mut start = 0;
    let mut parts = Vec::new();
    for length in sizes {
        parts.push(part(x, axis, (start, length))?.into());
        start += length;
    }
    Ok(parts)
}

fn slice(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let missing = || "starts or ends are missing".to_owned();
    let starts = args.listed("starts", 1)?.ok_or_else(missing)?;
    let ends = args.listed("ends", 2)?.ok_or_else(missing)?;
    let axes = args.listed("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = args.given(4)?.map(Tensor::integers).transpose()?;
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("there are not as many starts as ends, axes and steps".to_owned());
    }
    let own = strides(x.shape());
    let mut shape = x.shape().to_vec();
    // Along each dimension the places that are kept.
    let mut kept: Vec<Vec<usize>> = shape.iter().map(|size| (0..*size).collect()).collect();
    for (at, axis) in axes.iter().enumerate() {
        let axis = x.axis(*axis)?;
        let size = x.shape()[axis] as i64;
        kept[axis] = chosen(size, (starts[at], ends[at], steps[at]))?;
        shape[axis] = kept[axis].len();
    }
    let mut places = vec![0];
    for (kept, step) in kept.iter().zip(own) {
        places =
            places.iter().flat_map(|place| kept.iter().map(move |at| place + at * step)).collect();
    }
    x.take(shape, &places).map(one)
}

fn chosen(size: i64, (start, end, step): (i64, i64, i64)) -> Outcome<Vec<usize>> {
    if step == 0 {
        return Err("a step of 0 leads nowhere".to_owned());
    }
    let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let (mut at, end) = (place(start).clamp(low.max(0), high.max(0)), place(end).clamp(low, high));
    if step < 0 {
        at = place(start).clamp(-1, size - 1);
    }
    let mut places = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        places.push(usize::try_from(at).map_err(|_error| format!("there is no place {at}"))?);
        at = at.saturating_add(step);
    }
    Ok(places)
}

/// Where a place beyond the edge comes from; `None`: from nowhere.
fn mirrored(mode: &str, at: i64, size: i64) -> Option<i64> {
    if (0..size).contains(&at) {
        return Some(at);
    }
    match mode {
        "edge" if size > 0 => Some(at.clamp(0, size - 1)),
        "wrap" if size > 0 => Some(at.rem_euclid(size)),
        "reflect" if size > 1 => {
            let period = 2 * (size - 1);
            let at = at.rem_euclid(period);
            Some(if at < size { at } else { period - at })
        }
        "reflect" if size == 1 => Some(0),
        _ => None,
    }
}

fn pad(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let name = if args.has("paddings") { "paddings" } else { "pads" };
    let pads = args.listed(name, 1)?.ok_or_else(|| "pads are missing".to_owned())?;
    let axes = match args.given(3)? {
        Some(axes) => x.axes(&axes.integers()?)?,
        None => (0..x.rank()).collect::<Vec<usize>>(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads are there for {} dimensions", pads.len(), axes.len()));
    }
    let mut around = vec![(0i64, 0i64); x.rank()];
    for (at, axis) in axes.iter().enumerate() {
        around[*axis] = (pads[at], pads[axes.len() + at]);
    }
    let fill = match args.given(2)? {
        Some(fill) => fill.cast(x.kind(), true)?,
        None => Tensor::of_floats(x.kind(), vec![1], &[args.float("value", 0.0)])
            .or_else(|_texts| Ok::<_, String>(Tensor::vector(vec![String::new()])))?,
    };
    padded(x, &around, (args.text("mode", "constant"), &fill)).map(one)
}

/// A tensor with more around it, or less where that is negative.
pub(crate) fn padded(
    x: &Tensor,
    around: &[(i64, i64)],
    (mode, fill): (&str, &Tensor),
) -> Outcome<Tensor> {
    let sizes = x.shape().iter().zip(around).map(|(size, (before, behind))| {
        let size = (*size as i64).saturating_add(*before).saturating_add(*behind);
        as_size(size)
    });
    let shape: Vec<usize> = sizes.collect::<Outcome<_>>()?;
    let all = count(&shape)?;
    let (own, new) = (strides(x.shape()), strides(&shape));
    // The fill stands behind the elements.
    let both = Tensor::joined(vec![x.len() + fill.len()], &[x, fill])?;
    let place = |at: usize| {
        let mut place = 0;
        for dim in 0..shape.len() {
            let index = ((at / new[dim] % shape[dim]) as i64).saturating_sub(around[dim].0);
            match mirrored(mode, index, x.shape()[dim] as i64) {
                Some(from) => place += from as usize * own[dim],
                None => return x.len(),
            }
        }
        place
    };
    let places: Vec<usize> = (0..all).map(place).collect();
    if fill.len() == 0 && places.contains(&x.len()) {
        return Err("there is nothing to fill with".to_owned());
    }
    both.take(shape, &places)
}

fn tile(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let times = args.tensor(1)?.sizes()?;
    if times.len() != x.rank() {
        return Err(format!("{} numbers are there for {} dimensions", times.len(), x.rank()));
    }
    let shape: Vec<usize> =
        x.shape().iter().zip(&times).map(|(size, times)| size.saturating_mul(*times)).collect();
    let all = count(&shape)?;
    let (own, new) = (strides(x.shape()), strides(&shape));
    let place = |at: usize| {
        (0..shape.len()).map(|dim| at / new[dim] % x.shape()[dim] * own[dim]).sum::<usize>()
    };
    let places: Vec<usize> = (0..all).map(place).collect();
    x.take(shape, &places).map(one)
}

/// What lies above a diagonal or below it; the rest is zero.
fn triangle(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let [.., rows, columns] = *x.shape() else {
        return Err("it must have two dimensions or more".to_owned());
    };
    let shift = args.given(1)?.map(Tensor::integer).transpose()?.unwrap_or(0);
    let upper = args.int("upper", 1) != 0;
    let zero = Tensor::of_integers(x.kind(), vec![1], &[0])?;
    let both = Tensor::joined(vec![x.len() + 1], &[x, &zero])?;
    let keeps = |at: usize| {
        let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
        let distance = column - row;
        if upper { distance >= shift } else { distance <= shift }
    };
    let places: Vec<usize> = (0..x.len()).map(|at| if keeps(at) { at } else { x.len() }).collect();
    both.take(x.shape().to_vec(), &places).map(one)
}

/// Cut or padded to a size, around the middle.
fn center(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let sizes = args.tensor(1)?.sizes()?;
    let axes: Vec<usize> = match args.ints("axes") {
        Some(axes) => x.axes(axes)?,
        None => (0..x.rank()).collect(),
    };
    if axes.len() != sizes.len() {
        return Err(format!("{} sizes are there for {} dimensions", sizes.len(), axes.len()));
    }
    let mut around = vec![(0i64, 0i64); x.rank()];
    for (axis, size) in axes.into_iter().zip(sizes) {
        let more = size as i64 - x.shape()[axis] as i64;
        // The odd one is behind when it is added, and before when it is cut.
        let before = if more >= 0 { more / 2 } else { -(-more / 2) };
        around[axis] = (before, more - before);
    }
    let fill = Tensor::of_integers(x.kind(), vec![1], &[0])?;
    padded(x, &around, ("constant", &fill)).map(one)
}
