use super::conv::Window;
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::fast;
use crate::run::Args;
use crate::tensor::{Tensor, Value, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "MaxPool" => max,
        "AveragePool" => average,
        "LpPool" => power,
        "GlobalAveragePool" => |args| match quick_mean(args)? {
            Some(y) => Ok(one(y)),
            None => global(args, |all| all.iter().sum::<f64>() / all.len() as f64),
        },
        "GlobalMaxPool" => |args| global(args, |all| all.iter().copied().fold(f64::MIN, f64::max)),
        "GlobalLpPool" => |args| {
            let p = args.int("p", 2) as f64;
            global(args, move |all| all.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
        },
        _ => return None,
    })
}

/// Batch times channels, spatial dimensions, and the window over them.
fn windowed<'a>(args: &Args<'a>) -> Outcome<(&'a Tensor, usize, Window)> {
    let x = args.tensor(0)?;
    let [batch, channels, spatial @ ..] = x.shape() else {
        return Err(format!("{:?} has no channels", x.shape()));
    };
    let kernel = args.sizes("kernel_shape", (spatial.len(), 0))?;
    let window = Window::of(args, spatial, kernel)?;
    count(&shape_of(x, &window))?;
    let points = window.kernel.iter().product();
    bounds::work(&[batch * channels, count(&window.places)?, points, spatial.len()])?;
    Ok((x, batch * channels, window))
}

fn shape_of(x: &Tensor, window: &Window) -> Vec<usize> {
    x.shape()[..2].iter().chain(&window.places).copied().collect()
}

fn max(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, planes, window) = windowed(args)?;
    let is_plain = args.outputs() == 1 && x.rank() == 4;
    if is_plain && let Some(y) = fast::largest(x, &window, &shape_of(x, &window))? {
        return Ok(one(y));
    }
    let (spatial, numbers) = (&x.shape()[2..], x.floats()?);
    let (area, places) = (spatial.iter().product::<usize>(), count(&window.places)?);
    let by_columns = args.flag("storage_order");
    let own = strides(spatial);
    let index = |place: usize| {
        if !by_columns {
            return place;
        }
        let mut stride = 1;
        (0..spatial.len()).fold(0, |sum, dim| {
            let at = place / own[dim] % spatial[dim];
            let sum = sum + at * stride;
            stride *= spatial[dim];
            sum
        })
    };
    let (mut found, mut indices) = (Vec::new(), Vec::new());
    for (plane, place) in pairs(planes, places) {
        let mut best: Option<usize> = None;
        window.visit(place, spatial, |_, from| {
            let at = plane * area + from;
            if best.is_none_or(|best| numbers[at] > numbers[best] || numbers[at].is_nan()) {
                best = Some(at);
            }
        });
        let best = best.ok_or_else(|| "a window has nothing in it".to_owned())?;
        found.push(best);
        indices.push((plane * area + index(best - plane * area)) as i64);
    }
    let shape = shape_of(x, &window);
    Ok(vec![x.take(shape.clone(), &found)?.into(), Tensor::new(shape, indices)?.into()])
}

fn average(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let counts_pads = args.flag("count_include_pad");
    let (x, planes, window) = windowed(args)?;
    let spatial = &x.shape()[2..];
    let by_place = strides(&window.places);
    // How much of a window lies in the input with its pads.
    let padded = |place: usize| -> f64 {
        let along = |dim: usize| {
            let start = (place / by_place[dim] % window.places[dim] * window.strides[dim]) as i64;
            let end = spatial[dim] as i64 + window.pads[dim].0 + window.pads[dim].1;
            let points = 0..window.kernel[dim];
            points.filter(|at| start + ((at * window.dilations[dim]) as i64) < end).count()
        };
        (0..spatial.len()).map(along).product::<usize>() as f64
    };
    pooled((x, planes, &window), |all, place| {
        let count = if counts_pads { padded(place) } else { all.len() as f64 };
        all.iter().sum::<f64>() / count
    })
}

fn power(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, planes, window) = windowed(args)?;
    let p = args.int("p", 2) as f64;
    pooled((x, planes, &window), |all, _| {
        all.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p)
    })
}

fn pooled(
    (x, planes, window): (&Tensor, usize, &Window),
    act: impl Fn(&[f64], usize) -> f64,
) -> Outcome<Vec<Value>> {
    let (spatial, numbers) = (&x.shape()[2..], x.floats()?);
    let (area, places) = (spatial.iter().product::<usize>(), count(&window.places)?);
    let mut results = Vec::with_capacity(planes * places);
    let mut set = Vec::new();
    for (plane, place) in pairs(planes, places) {
        set.clear();
        window.visit(place, spatial, |_, from| set.push(numbers[plane * area + from]));
        results.push(act(&set, place));
    }
    Tensor::of_floats(x.kind(), shape_of(x, window), &results).map(one)
}

fn quick_mean(args: &Args<'_>) -> Outcome<Option<Tensor>> {
    let x = args.tensor(0)?;
    if x.rank() < 2 {
        return Ok(None);
    }
    let mut shape = x.shape().to_vec();
    shape[2..].fill(1);
    fast::mean_of_rest(x, 2, shape)
}

fn global(args: &Args<'_>, act: impl Fn(&[f64]) -> f64) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    super::reduce::over(x, &axes, true, act).map(one)
}
