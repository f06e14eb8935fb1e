use emberbox_kernels::planes::Planes;

use super::{
    Activation, Bias, Finish, Level, Patches, Slide, Stop, Tiles, Window, buffer, dense, floats,
    pool, slide,
};
use crate::error::Outcome;
use crate::ops::conv as definition;
use crate::run::Args;
use crate::tensor::Tensor;

/// How many values a plane may be laid out to, and for each that it has.
const SLIDE_MIN: usize = 1 << 20;
const SLIDE_TIMES: usize = 64;

/// A convolution whose weights are known, and what follows it.
#[derive(Debug)]
pub(crate) struct Convolution {
    filters: usize,
    /// Channels of one group.
    each: usize,
    groups: usize,
    kernel: Vec<usize>,
    weights: Laid,
    /// One for each filter, or none.
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Activation,
}

#[derive(Debug)]
enum Laid {
    /// A group after the other.
    Groups(Vec<Tiles>),
    /// One channel and one filter in each group.
    Channels(Vec<f32>),
}

impl Convolution {
    /// Lays weights of f32 out, each filter times its factor; nothing where there is no kernel for
    /// them.
    pub(crate) fn new(w: &Tensor, groups: usize, factors: &[f32]) -> Option<Self> {
        let [filters, each, kernel @ ..] = w.shape() else { return None };
        let (filters, each) = (*filters, *each);
        let planar = matches!(kernel.len(), 1 | 2) && w.len() > 0;
        if !planar || groups == 0 || !filters.is_multiple_of(groups) {
            return None;
        }
        let values = floats(w)?;
        let scaled: Vec<f32>;
        let values = match factors {
            [] => values,
            factors => {
                let rows = values.chunks_exact(w.len() / filters).zip(factors);
                scaled = rows.flat_map(|(row, f)| row.iter().map(move |v| v * f)).collect();
                &scaled
            }
        };
        let weights = if each == 1 && groups == filters {
            Laid::Channels(values.to_vec())
        } else {
            let inner = w.len() / filters;
            let of =
                |rows: &[f32]| pool::current(|pool| Tiles::new(Level::detect(), pool, rows, inner));
            Laid::Groups(values.chunks_exact(w.len() / groups).map(of).collect())
        };
        let (kernel, bias) = (kernel.to_vec(), Vec::new());
        Some(Self { filters, each, groups, kernel, weights, bias, activation: Activation::None })
    }

    pub(crate) fn filters(&self) -> usize {
        self.filters
    }

    /// The shape of the weights.
    pub(crate) fn shape(&self) -> Vec<usize> {
        [self.filters, self.each].iter().chain(&self.kernel).copied().collect()
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.weights {
            Laid::Groups(all) => all.iter().map(Tiles::bytes).sum(),
            Laid::Channels(all) => size_of_val(all.as_slice()),
        }
    }

    /// Runs on input 0, then adds `sum` where it has the result's shape, then the activation;
    /// whether these two were applied.
    pub(crate) fn run(&self, args: &Args<'_>, sum: Option<&Tensor>) -> Outcome<(Tensor, bool)> {
        let x = args.tensor(0)?;
        let values = floats(x).ok_or_else(|| format!("F32 is expected, not {:?}", x.kind()))?;
        let [images, channels, spatial @ ..] = x.shape() else {
            return Err(format!("{:?} has no channels", x.shape()));
        };
        let (images, channels) = (*images, *channels);
        if channels != self.each * self.groups || spatial.len() != self.kernel.len() {
            let (each, groups) = (self.each, self.groups);
            return Err(format!(
                "{:?} does not fit filters of {each} channels in {groups} groups over {:?}",
                x.shape(),
                self.kernel
            ));
        }
        let window = definition::Window::of(args, spatial, self.kernel.clone())?;
        let plan = planar(&window)
            .ok_or_else(|| format!("pads of {:?} are not supported here", window.pads))?;
        let mut shape = vec![images, self.filters];
        shape.extend(&window.places);
        let mut y = buffer::take(crate::tensor::count(&shape)?);
        let fits = sum.is_none_or(|sum| sum.shape() == shape && floats(sum).is_some());
        let sum = sum.filter(|_| fits).and_then(floats);
        let activation = if fits { self.activation } else { Activation::None };
        let size = match *spatial {
            [width] => [1, width],
            [height, width] => [height, width],
            _ => return Err("there are one or two dimensions".to_owned()),
        };
        if values.is_empty() && !y.is_empty() {
            return Err(format!("{:?} has nothing in it", x.shape()));
        }
        if matches!(self.weights, Laid::Channels(_)) && !slides(size, plan) {
            return Err(format!("a window by {:?} leaps too far", window.strides));
        }
        if !y.is_empty() {
            self.fill((values, channels, size), plan, (sum, activation, args.stop()), &mut y);
        }
        Ok((Tensor::new(shape, y)?, fits))
    }

    fn fill(
        &self,
        (x, channels, size): (&[f32], usize, [usize; 2]),
        window: Window,
        (sum, activation, stop): (Option<&[f32]>, Activation, Stop<'_>),
        y: &mut [f32],
    ) {
        let level = Level::detect();
        let tiles = match &self.weights {
            Laid::Groups(tiles) => tiles,
            Laid::Channels(weights) => {
                let first = if sum.is_some() { Activation::None } else { activation };
                let weighted = Slide::Weighted { weights, bias: &self.bias, activation: first };
                let planes = (channels, size, window);
                pool::current(|pool| slide::slide((level, pool), x, planes, weighted, y));
                if let Some(sum) = sum {
                    pool::current(|pool| add((level, pool), sum, activation, y));
                }
                return;
            }
        };
        let places = window.places[0] * window.places[1];
        let group = self.filters / self.groups;
        let part = self.each * size[0] * size[1];
        let images = x.chunks_exact(part).zip(y.chunks_exact_mut(group * places)).enumerate();
        for (at, (image, y)) in images {
            let of = at % self.groups;
            let bias = match self.bias.get(of * group..(of + 1) * group) {
                Some(bias) if !bias.is_empty() => Bias::Rows(bias),
                _ => Bias::None,
            };
            let sum = sum.map(|sum| &sum[at * group * places..][..group * places]);
            let finish = Finish { bias, sum, activation, stop };
            let patches = Patches { image, size: [self.each, size[0], size[1]], window };
            pool::current(|pool| dense::convolve((level, pool), &tiles[of], &patches, finish, y));
        }
    }
}

fn add(at: (Level, &pool::Pool), sum: &[f32], activation: Activation, y: &mut [f32]) {
    let mut both = buffer::take(y.len());
    super::map::binary(at, super::Binary::Add, y, super::Operand::Same(sum), &mut both);
    super::map::unary(at, activation, &both, y);
    buffer::give(both);
}

/// Whether a plane can be laid out for a window to slide over: with its padding it has not many more
/// values than are there and come of it.
pub(super) fn slides(size: [usize; 2], window: Window) -> bool {
    let there = size[0] * size[1] + window.places[0] * window.places[1];
    let most = SLIDE_MIN.max(there.saturating_mul(SLIDE_TIMES));
    Planes::of(size, window).is_some_and(|planes| planes.values() <= most)
}

/// A window over one or two dimensions, whose pads are no cuts.
pub(super) fn planar(window: &definition::Window) -> Option<Window> {
    let before = |at: usize| usize::try_from(window.pads[at].0).ok();
    let behind = window.pads.iter().all(|(_, behind)| *behind >= 0);
    let two = |all: &[usize], first: usize| match *all {
        [one] => Some([first, one]),
        [one, two] => Some([one, two]),
        _ => None,
    };
    let pads: Vec<usize> = (0..window.pads.len()).map(before).collect::<Option<_>>()?;
    behind.then_some(Window {
        kernel: two(&window.kernel, 1)?,
        stride: two(&window.strides, 1)?,
        dilation: two(&window.dilations, 1)?,
        before: two(&pads, 0)?,
        places: two(&window.places, 1)?,
    })
}
