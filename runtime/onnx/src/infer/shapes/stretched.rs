use super::Inputs;
use crate::infer::Fact;
use crate::tensor::{as_size, axis_of};

impl Inputs<'_> {
    /// Operators that change sizes dimension by dimension.
    pub(super) fn stretched(&self, name: &str) -> Option<Fact> {
        let x = self.at(0)?;
        let numbers =
            |at: usize| self.value(at)?.map(|tensor| tensor.integers().ok()).unwrap_or_default();
        let rank = x.shape.len();
        let mut shape = x.shape.clone();
        match name {
            "Tile" => {
                for (size, times) in shape.iter_mut().zip(numbers(1)?) {
                    *size = size.checked_mul(as_size(times).ok()?)?;
                }
            }
            "Pad" => {
                let name = if self.args.has("paddings") { "paddings" } else { "pads" };
                let pads = self.listed(name, 1)??;
                let axes: Vec<usize> = match self.listed("", 3)? {
                    Some(axes) => {
                        axes.iter().map(|a| axis_of(*a, rank).ok()).collect::<Option<_>>()?
                    }
                    None => (0..rank).collect(),
                };
                for (i, axis) in axes.iter().enumerate() {
                    let more = pads.get(i)?.checked_add(*pads.get(axes.len() + i)?)?;
                    shape[*axis] =
                        usize::try_from((shape[*axis] as i64).checked_add(more)?).ok()?;
                }
            }
            "Slice" => {
                let (starts, ends) = (self.listed("starts", 1)??, self.listed("ends", 2)??);
                let axes = self.listed("axes", 3)?;
                let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
                let steps = self.listed("", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
                for (i, axis) in axes.iter().enumerate() {
                    let axis = axis_of(*axis, rank).ok()?;
                    let bounds = (*starts.get(i)?, *ends.get(i)?, *steps.get(i)?);
                    shape[axis] = sliced(shape[axis], bounds)?;
                }
            }
            "Resize" | "Upsample" => {
                let at = if name == "Upsample" { 1 } else { 2 };
                if self.args.has("axes") || self.args.node.version < 10 {
                    return None;
                }
                if let Some(sizes) = numbers(3) {
                    shape = sizes.iter().map(|s| as_size(*s).ok()).collect::<Option<_>>()?;
                } else {
                    let scales = self.value(at)??.floats().ok()?;
                    let scaled = |(size, scale): (&usize, f64)| (*size as f64 * scale).floor();
                    shape = shape.iter().zip(scales).map(|pair| scaled(pair) as usize).collect();
                }
            }
            _ => return None,
        }
        Some(Fact::shaped(x.kind, shape))
    }
}

/// How many elements from start to end there are.
fn sliced(size: usize, (start, end, step): (i64, i64, i64)) -> Option<usize> {
    let size = i64::try_from(size).ok()?;
    let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = match step {
        1.. => (place(start).clamp(0, size), place(end).clamp(0, size)),
        0 => return None,
        _ => (place(start).clamp(-1, size - 1), place(end).clamp(-1, size - 1)),
    };
    let span = if step > 0 { end - start } else { start - end };
    usize::try_from((span.max(0) as u64).div_ceil(step.unsigned_abs())).ok()
}
