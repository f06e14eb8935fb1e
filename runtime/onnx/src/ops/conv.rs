use super::product::{centred, rescaled};
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::fast::conv::Convolution;
use crate::fast::floats;
use crate::run::Args;
use crate::tensor::{ELEMENTS_MAX, Kind, Tensor, Value, as_size, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Conv" => conv,
        "ConvInteger" => integers,
        "QLinearConv" => quantised,
        "ConvTranspose" => transposed,
        _ => return None,
    })
}

/// How a window goes over the spatial dimensions.
pub(crate) struct Window {
    pub(crate) kernel: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    pub(crate) dilations: Vec<usize>,
    /// Before and behind the input.
    pub(crate) pads: Vec<(i64, i64)>,
    /// How many places it has.
    pub(crate) places: Vec<usize>,
}

impl Window {
    /// From a node's attributes.
    pub(crate) fn of(args: &Args<'_>, input: &[usize], kernel: Vec<usize>) -> Outcome<Self> {
        let dims = input.len();
        if kernel.len() != dims || kernel.contains(&0) {
            return Err(format!("the kernel {kernel:?} does not fit {dims} dimensions"));
        }
        let (strides, dilations) = (steps(args, "strides", dims)?, steps(args, "dilations", dims)?);
        count(&kernel)?;
        let mut pads = Vec::with_capacity(dims);
        let mut places = Vec::with_capacity(dims);
        for dim in 0..dims {
            let spans = ((kernel[dim] - 1) * dilations[dim] + 1) as i64;
            let (size, stride) = (input[dim] as i64, strides[dim] as i64);
            let (before, behind) = pads_of(args, (dim, dims), (size, stride, spans))?;
            let room = size + before + behind - spans;
            if room < 0 {
                return Err(format!(
                    "a kernel that spans {spans} is larger than its input of {size}"
                ));
            }
            // A window that begins behind the input has no place.
            let begins = (room + stride - 1) / stride * stride < size + before;
            let one_more = args.flag("ceil_mode") && room % stride != 0 && begins;
            pads.push((before, behind));
            places.push((room / stride + 1 + i64::from(one_more)) as usize);
        }
        Ok(Self { kernel, strides, dilations, pads, places })
    }

    /// Calls with each point of the kernel that lies in the input, for one place of the window: the
    /// point's number and the place in the input.
    pub(crate) fn visit(&self, place: usize, input: &[usize], mut act: impl FnMut(usize, usize)) {
        let dims = input.len();
        let (by_place, by_input) = (strides(&self.places), strides(input));
        let start: Vec<i64> = (0..dims)
            .map(|dim| {
                let at = place / by_place[dim] % self.places[dim];
                (at * self.strides[dim]) as i64 - self.pads[dim].0
            })
            .collect();
        let by_kernel = strides(&self.kernel);
        let from = |point: usize| {
            let along = |dim: usize| {
                let step = point / by_kernel[dim] % self.kernel[dim] * self.dilations[dim];
                let at = usize::try_from(start[dim] + step as i64).ok()?;
                (at < input[dim]).then_some(at * by_input[dim])
            };
            (0..dims).map(along).sum::<Option<usize>>()
        };
        for point in 0..self.kernel.iter().product() {
            from(point).into_iter().for_each(|from| act(point, from));
        }
    }
}

/// Sizes from 1 on, none of which is so large that it cannot be reckoned with.
fn steps(args: &Args<'_>, name: &str, dims: usize) -> Outcome<Vec<usize>> {
    let steps = args.sizes(name, (dims, 1))?;
    match steps.iter().find(|step| !(1..=ELEMENTS_MAX).contains(*step)) {
        Some(step) => Err(format!("`{name}`: {step} is not from 1 to {ELEMENTS_MAX}")),
        None => Ok(steps),
    }
}

/// What is put before and behind one dimension.
fn pads_of(
    args: &Args<'_>,
    (dim, dims): (usize, usize),
    (size, stride, spans): (i64, i64, i64),
) -> Outcome<(i64, i64)> {
    let total = || (((size + stride - 1) / stride - 1) * stride + spans - size).max(0);
    Ok(match args.text("auto_pad", "NOTSET") {
        "SAME_UPPER" => (total() / 2, total() - total() / 2),
        "SAME_LOWER" => (total() - total() / 2, total() / 2),
        "VALID" => (0, 0),
        _ => match args.ints("pads") {
            Some(pads) if pads.iter().any(|pad| pad.unsigned_abs() > ELEMENTS_MAX as u64) => {
                return Err(format!("the pads {pads:?} are too large"));
            }
            Some(pads) if pads.len() == 2 * dims => (pads[dim], pads[dims + dim]),
            Some(pads) => {
                return Err(format!("{} pads are there for {dims} dimensions", pads.len()));
            }
            None => (0, 0),
        },
    })
}

/// Batch, channels and spatial dimensions.
pub(crate) fn parts(x: &Tensor) -> Outcome<(usize, usize, &[usize])> {
    match x.shape() {
        [batch, channels, spatial @ ..] => Ok((*batch, *channels, spatial)),
        shape => Err(format!("{shape:?} has no channels")),
    }
}

pub(crate) fn groups(args: &Args<'_>) -> Outcome<usize> {
    usize::try_from(args.int("group", 1))
        .ok()
        .filter(|group| *group > 0)
        .ok_or_else(|| "there must be a group".to_owned())
}

/// A convolution of numbers in f64.
fn convolved(args: &Args<'_>, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Outcome<Tensor> {
    let (batch, channels, spatial) = parts(x)?;
    let (filters, each, kernel) = parts(w)?;
    let groups = groups(args)?;
    if Some(channels) != each.checked_mul(groups) || !filters.is_multiple_of(groups) {
        return Err(format!("{channels} channels do not fit filters of {each} in {groups} groups"));
    }
    let window = Window::of(args, spatial, kernel.to_vec())?;
    let (places, points) = (count(&window.places)?, kernel.iter().product::<usize>());
    let area: usize = spatial.iter().product();
    let mut shape = vec![batch, filters];
    shape.extend(&window.places);
    let (numbers, weights) = (x.floats()?, w.floats()?);
    let bias = bias.map(Tensor::floats).transpose()?.unwrap_or_else(|| vec![0.0; filters]);
    if bias.len() != filters {
        return Err(format!("{} biases are there for {filters} filters", bias.len()));
    }
    let mut results = vec![0.0; count(&shape)?];
    bounds::work(&[places, points, spatial.len()])?;
    bounds::work(&[batch, filters, places, each, points])?;
    for place in 0..places {
        let mut seen = Vec::with_capacity(points);
        window.visit(place, spatial, |point, from| seen.push((point, from)));
        for (item, filter) in pairs(batch, filters) {
            let first = filter / (filters / groups) * each;
            let mut sum = bias[filter];
            for channel in 0..each {
                let input = &numbers[(item * channels + first + channel) * area..];
                let weights = &weights[(filter * each + channel) * points..];
                sum += seen.iter().map(|(point, from)| weights[*point] * input[*from]).sum::<f64>();
            }
            results[(item * filters + filter) * places + place] = sum;
        }
    }
    Tensor::of_floats(Kind::F64, shape, &results)
}

fn conv(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, w) = (args.tensor(0)?, args.tensor(1)?);
    if let (Kind::F32, Some(mut plan)) = (x.kind(), Convolution::new(w, groups(args)?, &[]))
        && args.given(2)?.is_none_or(|bias| bias.len() == plan.filters())
    {
        plan.bias = args.given(2)?.and_then(floats).unwrap_or_default().to_vec();
        return plan.run(args, None).map(|(y, _)| one(y));
    }
    convolved(args, x, args.tensor(1)?, args.given(2)?)?.cast(x.kind(), true).map(one)
}

/// A zero point for each filter.
fn by_filter(zero: Option<&Tensor>, w: &Tensor) -> Outcome<Option<Tensor>> {
    let Some(zero) = zero else { return Ok(None) };
    if zero.len() <= 1 {
        return Ok(Some(zero.clone()));
    }
    // One for each filter, which the first dimension counts.
    let behind = w.rank().saturating_sub(1);
    let shape = [zero.len()].into_iter().chain(std::iter::repeat_n(1, behind));
    zero.reshaped(shape.collect()).map(Some)
}

fn integers(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = centred(args.tensor(0)?, args.given(2)?, false)?;
    let w = args.tensor(1)?;
    let w = centred(w, by_filter(args.given(3)?, w)?.as_ref(), false)?;
    convolved(args, &x, &w, None)?.cast(Kind::I32, true).map(one)
}

fn quantised(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = centred(args.tensor(0)?, Some(args.tensor(2)?), false)?;
    let w = args.tensor(3)?;
    let w = centred(w, by_filter(Some(args.tensor(5)?), w)?.as_ref(), false)?;
    let sum = convolved(args, &x, &w, args.given(8)?)?;
    let (x_scale, y_scale) = (args.tensor(1)?.number()?, args.tensor(6)?.number()?);
    let factors: Vec<f64> =
        args.tensor(4)?.floats()?.into_iter().map(|w_scale| x_scale * w_scale / y_scale).collect();
    let mut shape = vec![1; sum.rank()];
    if factors.len() > 1 {
        shape[1] = factors.len();
    }
    let factors = Tensor::of_floats(Kind::F64, shape, &factors)?;
    rescaled(&super::arithmetic::mul(&sum, &factors)?, args.tensor(7)?).map(one)
}

fn transposed(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, w) = (args.tensor(0)?, args.tensor(1)?);
    let (batch, channels, spatial) = parts(x)?;
    let (of_channels, each, kernel) = parts(w)?;
    let groups = groups(args)?;
    if channels != of_channels || !channels.is_multiple_of(groups) || kernel.len() != spatial.len()
    {
        return Err(format!("{channels} channels do not fit filters of the shape {:?}", w.shape()));
    }
    let filters = count(&[each, groups])?;
    let grown = Grown::of(args, spatial, kernel)?;
    let mut shape = vec![batch, filters];
    shape.extend(&grown.shape);
    let (area, points) = (spatial.iter().product::<usize>(), kernel.iter().product::<usize>());
    let grown_area = count(&grown.shape)?;
    let mut results = vec![0.0; count(&shape)?];
    let (numbers, weights) = (x.floats()?, w.floats()?);
    bounds::work(&[area, points, batch, channels, each.max(spatial.len())])?;
    for (place, point) in pairs(area, points) {
        let Some(to) = grown.place(place, point) else { continue };
        for (item, channel) in pairs(batch, channels) {
            let number = numbers[(item * channels + channel) * area + place];
            let first = channel / (channels / groups) * each;
            for filter in 0..each {
                let weight = weights[(channel * each + filter) * points + point];
                results[(item * filters + first + filter) * grown_area + to] += number * weight;
            }
        }
    }
    if let Some(bias) = args.given(2)? {
        let bias = bias.floats()?;
        for (at, number) in results.iter_mut().enumerate() {
            *number += bias.get(at / grown_area.max(1) % filters).copied().unwrap_or(0.0);
        }
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}

/// Where a transposed convolution puts things.
struct Grown {
    input: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Left out at the beginning.
    before: Vec<i64>,
    shape: Vec<usize>,
}

impl Grown {
    fn of(args: &Args<'_>, input: &[usize], kernel: &[usize]) -> Outcome<Self> {
        let dims = input.len();
        let (strides, dilations) = (steps(args, "strides", dims)?, steps(args, "dilations", dims)?);
        let more = args.sizes("output_padding", (dims, 0))?;
        let named = args.ints("output_shape");
        if named.is_some_and(|named| named.len() < dims) || more.iter().any(|x| *x > ELEMENTS_MAX) {
            return Err(format!("the output's shape or padding does not fit {dims} dimensions"));
        }
        let mode = args.text("auto_pad", "NOTSET");
        let (mut before, mut shape) = (Vec::new(), Vec::new());
        for dim in 0..dims {
            let spans = (kernel[dim] as i64 - 1) * dilations[dim] as i64 + 1;
            let stride = strides[dim] as i64;
            let full = stride * (input[dim] as i64 - 1) + more[dim] as i64 + spans;
            let wanted = match (named, mode) {
                (Some(named), _) => Some(*named.get(named.len() - dims + dim).unwrap_or(&0)),
                (None, "SAME_UPPER" | "SAME_LOWER") => Some(input[dim] as i64 * stride),
                (None, _) => None,
            };
            let wanted = wanted.map(as_size).transpose()?.map(|size| size as i64);
            // What is beyond the wanted size is left out, of an odd number one more before or behind.
            let beyond = full.saturating_sub(wanted.unwrap_or(full)).max(0);
            let (first, size) = match (wanted, mode) {
                (Some(size), "SAME_UPPER") => (beyond / 2, size),
                (Some(size), _) => (beyond - beyond / 2, size),
                (None, _) => {
                    let (first, last) = pads_of(args, (dim, dims), (1, 1, 1))?;
                    (first, full - first - last)
                }
            };
            before.push(first);
            shape.push(as_size(size)?);
        }
        Ok(Self {
            input: input.to_vec(),
            kernel: kernel.to_vec(),
            strides,
            dilations,
            before,
            shape,
        })
    }

    fn place(&self, place: usize, point: usize) -> Option<usize> {
        let (by_input, by_kernel) = (strides(&self.input), strides(&self.kernel));
        let by_output = strides(&self.shape);
        let mut to = 0;
        for dim in 0..self.input.len() {
            let at = place / by_input[dim] % self.input[dim] * self.strides[dim];
            let along = point / by_kernel[dim] % self.kernel[dim] * self.dilations[dim];
            let at = (at + along) as i64 - self.before[dim];
            if at < 0 || at >= self.shape[dim] as i64 {
                return None;
            }
            to += at as usize * by_output[dim];
        }
        Some(to)
    }
}
