use super::conv::{Window, groups, parts};
use super::grid::{Taps, linear};
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, as_size, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    (name == "DeformConv").then_some(deformed)
}

/// Where each point of a kernel looks: its own place, moved by an offset.
struct Deformed<'a> {
    window: &'a Window,
    spatial: &'a [usize],
    /// `[batch, groups * points * dimensions, places]`.
    offsets: &'a [f64],
    /// `[batch, groups * points, places]`.
    mask: Option<&'a [f64]>,
    groups: usize,
    points: usize,
    places: usize,
}

impl Deformed<'_> {
    /// For each group and point the elements that it is made of, the mask included.
    fn taps(&self, item: usize, place: usize) -> Vec<Taps> {
        let dims = self.spatial.len();
        let window = self.window;
        let (by_place, by_kernel) = (strides(&window.places), strides(&window.kernel));
        let tap = |(group, point): (usize, usize)| {
            let row = (item * self.groups + group) * self.points + point;
            let along = |dim: usize| {
                let start = place / by_place[dim] % window.places[dim] * window.strides[dim];
                let step = point / by_kernel[dim] % window.kernel[dim] * window.dilations[dim];
                let offset = self.offsets[(row * dims + dim) * self.places + place];
                (start + step) as f64 - window.pads[dim].0 as f64 + offset
            };
            let at: Vec<f64> = (0..dims).map(along).collect();
            let weight = self.mask.map_or(1.0, |mask| mask[row * self.places + place]);
            let mut taps = linear(&at, self.spatial);
            taps.iter_mut().for_each(|(_, of)| *of *= weight);
            taps
        };
        pairs(self.groups, self.points).map(tap).collect()
    }
}

/// A convolution whose kernel looks where it is told ("Deformable Convolutional Networks").
fn deformed(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, w, offsets) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let (batch, channels, spatial) = parts(x)?;
    let (filters, each, kernel) = parts(w)?;
    let groups = groups(args)?;
    let moved = as_size(args.int("offset_group", 1))?.max(1);
    let fits = each.checked_mul(groups) == Some(channels)
        && filters.is_multiple_of(groups)
        && channels.is_multiple_of(moved);
    if !fits {
        return Err(format!("{channels} channels do not fit filters of the shape {:?}", w.shape()));
    }
    let window = Window::of(args, spatial, kernel.to_vec())?;
    let (places, points) = (count(&window.places)?, count(kernel)?);
    let rows = count(&[batch, moved, points])?;
    let mask = args.given(4)?;
    let lengths = (count(&[rows, spatial.len(), places])?, count(&[rows, places])?);
    if offsets.len() != lengths.0 || mask.is_some_and(|mask| mask.len() != lengths.1) {
        return Err(format!("offsets of the shape {:?} or their mask do not fit", offsets.shape()));
    }
    let mut shape = vec![batch, filters];
    shape.extend(&window.places);
    let mut results = vec![0.0; count(&shape)?];
    let corners = count(&vec![2; spatial.len()])?;
    bounds::work(&[rows, places, corners, 1 + channels / moved])?;
    bounds::work(&[batch, places, points, filters, each])?;
    let (offsets, mask) = (offsets.floats()?, mask.map(Tensor::floats).transpose()?);
    let mask = mask.as_deref();
    let look = Deformed {
        window: &window,
        spatial,
        offsets: &offsets,
        mask,
        groups: moved,
        points,
        places,
    };
    let (numbers, weights) = (x.floats()?, w.floats()?);
    let bias = args.given(3)?.map(Tensor::floats).transpose()?.unwrap_or_default();
    let area: usize = spatial.iter().product();
    for (item, place) in pairs(batch, places) {
        let taps = look.taps(item, place);
        let value = |(channel, point): (usize, usize)| {
            let plane = (item * channels + channel) * area;
            let taps = &taps[channel / (channels / moved) * points + point];
            taps.iter().map(|(from, weight)| numbers[plane + from] * weight).sum::<f64>()
        };
        let column: Vec<f64> = pairs(channels, points).map(value).collect();
        for filter in 0..filters {
            let first = filter / (filters / groups) * each * points;
            let own = &weights[filter * each * points..(filter + 1) * each * points];
            let sum: f64 = own.iter().zip(&column[first..]).map(|(w, x)| w * x).sum();
            results[(item * filters + filter) * places + place] =
                sum + bias.get(filter).copied().unwrap_or(0.0);
        }
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}
