use super::{Fact, weights};
use crate::ops::arithmetic::broadcast;
use crate::ops::conv::Window;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, as_size, axis_of, count};

/// Operators that change sizes dimension by dimension.
mod stretched;

/// Inputs, asked for by their places.
struct Inputs<'a> {
    args: &'a Args<'a>,
    facts: &'a [Option<Fact>],
}

/// What a node gives.
pub(super) fn of(args: &Args<'_>, facts: &[Option<Fact>]) -> Option<Vec<Fact>> {
    let inputs = Inputs { args, facts };
    let name = args.node.kind.as_str();
    let one = match name {
        "Shape" | "Size" => return inputs.shape_of(name),
        "Split" => return inputs.split(),
        "TopK" => return inputs.top(),
        "LSTM" | "GRU" | "RNN" => return inputs.recurrent(),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Max" | "Min" | "Sum" | "Mean"
        | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => inputs.together(None),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" => {
            inputs.together(Some(Kind::Bool))
        }
        "Where" => {
            let shape = broadcast(&inputs.at(1)?.shape, &inputs.at(2)?.shape).ok()?;
            let shape = broadcast(&inputs.at(0)?.shape, &shape).ok()?;
            Some(Fact::shaped(inputs.at(1)?.kind, shape))
        }
        "IsNaN" | "IsInf" | "Not" => inputs.same(Some(Kind::Bool)),
        "Cast" => inputs.same(Some(crate::tensor::stored::kind_of(args.int("to", 1)).ok()?)),
        "QuantizeLinear" => inputs.same(inputs.at(2).map(|zero| zero.kind)),
        "DequantizeLinear" => inputs.same(Some(inputs.at(1)?.kind)),
        "MatMul" | "Gemm" => inputs.product(),
        "Conv" | "MaxPool" | "AveragePool" | "LpPool" => inputs.windowed(),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let x = inputs.at(0)?;
            let spatial = x.shape.iter().enumerate();
            let shape = spatial.map(|(at, size)| if at < 2 { *size } else { 1 }).collect();
            Some(Fact::shaped(x.kind, shape))
        }
        "ArgMax" | "ArgMin" => inputs.reduced(Some(Kind::I64)),
        name if name.starts_with("Reduce") => inputs.reduced(None),
        "Gather" => inputs.gathered(),
        "GatherElements" => Some(Fact::shaped(inputs.at(0)?.kind, inputs.at(1)?.shape.clone())),
        "Concat" => inputs.joined(),
        _ if is_of_shape(name) => inputs.reshaped(name),
        _ if keeps_shape(name) => inputs.same(None),
        _ => None,
    };
    // Further outputs are rare, and then all is unknown.
    let others = args.node.outputs.iter().skip(1).any(Option::is_some);
    one.filter(|_| !others).map(|fact| vec![fact])
}

/// Operators that give what they are given, in another shape or in part.
fn is_of_shape(name: &str) -> bool {
    matches!(
        name,
        "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Transpose"
            | "Expand"
            | "Slice"
            | "Tile"
            | "Pad"
            | "ConstantOfShape"
            | "Resize"
            | "Upsample"
    )
}

/// Operators of each element, and normalisations.
fn keeps_shape(name: &str) -> bool {
    matches!(
        name,
        "Abs"
            | "Neg"
            | "Sign"
            | "Relu"
            | "Sqrt"
            | "Exp"
            | "Log"
            | "Reciprocal"
            | "Ceil"
            | "Floor"
            | "Round"
            | "Sin"
            | "Cos"
            | "Tan"
            | "Asin"
            | "Acos"
            | "Atan"
            | "Sinh"
            | "Cosh"
            | "Tanh"
            | "Asinh"
            | "Acosh"
            | "Atanh"
            | "Erf"
            | "Sigmoid"
            | "Softplus"
            | "Softsign"
            | "Mish"
            | "HardSwish"
            | "Elu"
            | "Celu"
            | "Selu"
            | "LeakyRelu"
            | "ThresholdedRelu"
            | "HardSigmoid"
            | "Gelu"
            | "Swish"
            | "Shrink"
            | "Clip"
            | "PRelu"
            | "Identity"
            | "Softmax"
            | "LogSoftmax"
            | "Hardmax"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "LayerNormalization"
            | "RMSNormalization"
            | "GroupNormalization"
            | "LpNormalization"
            | "MeanVarianceNormalization"
            | "LRN"
            | "Dropout"
            | "CumSum"
            | "Trilu"
            | "ScatterND"
            | "ScatterElements"
            | "ReverseSequence"
            | "RotaryEmbedding"
            | "BitwiseNot"
    )
}

impl Inputs<'_> {
    fn at(&self, at: usize) -> Option<&Fact> {
        self.facts.get(at)?.as_ref()
    }

    /// An input that is there and known, or `None` inside where it is left out.
    fn value(&self, at: usize) -> Option<Option<&Tensor>> {
        match self.args.node.inputs.get(at).copied().flatten() {
            None => Some(None),
            Some(_) => self.at(at)?.value.as_ref().map(Some),
        }
    }

    /// Numbers that are an input, or else an attribute; `None` inside where they are neither.
    fn listed(&self, name: &str, at: usize) -> Option<Option<Vec<i64>>> {
        match self.value(at)? {
            Some(tensor) => tensor.integers().ok().map(Some),
            None => Some(self.args.ints(name).map(<[i64]>::to_vec)),
        }
    }

    fn same(&self, kind: Option<Kind>) -> Option<Fact> {
        let x = self.at(0)?;
        Some(Fact::shaped(kind.unwrap_or(x.kind), x.shape.clone()))
    }

    fn together(&self, kind: Option<Kind>) -> Option<Fact> {
        let mut shape = Vec::new();
        for at in 0..self.facts.len() {
            shape = broadcast(&shape, &self.at(at)?.shape).ok()?;
        }
        Some(Fact::shaped(kind.unwrap_or(self.at(0)?.kind), shape))
    }

    fn shape_of(&self, name: &str) -> Option<Vec<Fact>> {
        let shape: Vec<i64> = self
            .at(0)?
            .shape
            .iter()
            .map(|size| i64::try_from(*size).ok())
            .collect::<Option<_>>()?;
        if name == "Size" {
            let all = shape.iter().try_fold(1i64, |all, size| all.checked_mul(*size))?;
            return Some(vec![Fact::of(&Tensor::scalar(all))]);
        }
        let rank = i64::try_from(shape.len()).ok()?;
        let place =
            |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (place(self.args.int("start", 0)), place(self.args.int("end", rank)));
        let kept = shape.get(start..end).unwrap_or_default().to_vec();
        Some(vec![Fact::of(&Tensor::vector(kept))])
    }

    fn product(&self) -> Option<Fact> {
        let a = self.at(0)?;
        let shape = match (&self.args.node.prepared, self.args.node.kind.as_str()) {
            (Some(_), _) => {
                let mut shape = a.shape.clone();
                *shape.last_mut()? = *weights(self.args, self.facts)?.get(1)?;
                shape
            }
            (None, "Gemm") => {
                let b = &self.at(1)?.shape;
                let turned = |name: &str| usize::from(self.args.flag(name));
                vec![*a.shape.get(turned("transA"))?, *b.get(1 - turned("transB"))?]
            }
            (None, _) => multiplied(&a.shape, &self.at(1)?.shape)?,
        };
        Some(Fact::shaped(a.kind, shape))
    }

    fn windowed(&self) -> Option<Fact> {
        let x = self.at(0)?;
        let spatial = x.shape.get(2..)?;
        let (channels, kernel) = if self.args.node.kind == "Conv" {
            let weights = weights(self.args, self.facts)?;
            (*weights.first()?, weights.get(2..)?.to_vec())
        } else {
            (*x.shape.get(1)?, self.args.sizes("kernel_shape", (spatial.len(), 0)).ok()?)
        };
        let window = Window::of(self.args, spatial, kernel).ok()?;
        let mut shape = vec![*x.shape.first()?, channels];
        shape.extend(window.places);
        Some(Fact::shaped(x.kind, shape))
    }

    fn reduced(&self, kind: Option<Kind>) -> Option<Fact> {
        let x = self.at(0)?;
        let rank = x.shape.len();
        let named = match kind {
            Some(_) => Some(vec![self.args.int("axis", 0)]),
            None => self.listed("axes", 1)?,
        };
        let axes: Vec<usize> = match named {
            Some(axes) if !axes.is_empty() => {
                axes.iter().map(|axis| axis_of(*axis, rank).ok()).collect::<Option<_>>()?
            }
            _ if self.args.flag("noop_with_empty_axes") => Vec::new(),
            _ => (0..rank).collect(),
        };
        let keeps = self.args.int("keepdims", 1) != 0;
        let sizes = x.shape.iter().enumerate();
        let kept = sizes.filter_map(|(at, size)| match (axes.contains(&at), keeps) {
            (false, _) => Some(*size),
            (true, true) => Some(1),
            (true, false) => None,
        });
        Some(Fact::shaped(kind.unwrap_or(x.kind), kept.collect()))
    }

    fn gathered(&self) -> Option<Fact> {
        let (x, indices) = (self.at(0)?, self.at(1)?);
        let axis = axis_of(self.args.int("axis", 0), x.shape.len()).ok()?;
        let mut shape = x.shape[..axis].to_vec();
        shape.extend(&indices.shape);
        shape.extend(&x.shape[axis + 1..]);
        Some(Fact::shaped(x.kind, shape))
    }

    fn joined(&self) -> Option<Fact> {
        let first = self.at(0)?;
        let axis = axis_of(self.args.maybe_int("axis")?, first.shape.len()).ok()?;
        let mut shape = first.shape.clone();
        for at in 1..self.facts.len() {
            shape[axis] = shape[axis].checked_add(*self.at(at)?.shape.get(axis)?)?;
        }
        Some(Fact::shaped(first.kind, shape))
    }

    fn split(&self) -> Option<Vec<Fact>> {
        let x = self.at(0)?;
        let axis = axis_of(self.args.int("axis", 0), x.shape.len()).ok()?;
        let parts = self.args.outputs();
        let sizes: Vec<usize> = match (self.value(1)?, self.args.ints("split")) {
            (Some(sizes), _) => sizes.sizes().ok()?,
            (None, Some(sizes)) => sizes.iter().map(|s| as_size(*s).ok()).collect::<Option<_>>()?,
            (None, None) => {
                let each = x.shape[axis].div_ceil(parts.max(1));
                let left = |at: usize| x.shape[axis].saturating_sub(at * each).min(each);
                (0..parts).map(left).collect()
            }
        };
        let part = |size: usize| {
            let mut shape = x.shape.clone();
            shape[axis] = size;
            Fact::shaped(x.kind, shape)
        };
        (sizes.len() == parts).then(|| sizes.into_iter().map(part).collect())
    }

    fn top(&self) -> Option<Vec<Fact>> {
        let x = self.at(0)?;
        let axis = axis_of(self.args.int("axis", -1), x.shape.len()).ok()?;
        let count = match self.value(1)? {
            Some(count) => count.integer().ok()?,
            None => self.args.maybe_int("k")?,
        };
        let mut shape = x.shape.clone();
        shape[axis] = as_size(count).ok()?.min(shape[axis]);
        Some(vec![Fact::shaped(x.kind, shape.clone()), Fact::shaped(Kind::I64, shape)])
    }

    fn recurrent(&self) -> Option<Vec<Fact>> {
        let (x, weights) = (self.at(0)?, self.at(2)?);
        let [directions, _, hidden] = *weights.shape else { return None };
        let [steps, batch, _] = *x.shape else { return None };
        let last = Fact::shaped(x.kind, vec![directions, batch, hidden]);
        let all = Fact::shaped(x.kind, vec![steps, directions, batch, hidden]);
        Some(vec![all, last.clone(), last])
    }

    fn reshaped(&self, name: &str) -> Option<Fact> {
        let x = self.at(0)?;
        let listed = |attribute: &str, at: usize| self.listed(attribute, at)?;
        let shape = match name {
            "Reshape" => {
                crate::ops::reshaped(&x.shape, &listed("shape", 1)?, self.args.flag("allowzero"))
                    .ok()?
            }
            "Flatten" => {
                let (axis, rank) = (self.args.int("axis", 1), x.shape.len());
                let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
                let at = usize::try_from(axis).ok().filter(|at| *at <= rank)?;
                vec![count(&x.shape[..at]).ok()?, count(&x.shape[at..]).ok()?]
            }
            "Squeeze" => {
                let drops: Vec<usize> = match listed("axes", 1) {
                    Some(axes) => axes
                        .iter()
                        .map(|a| axis_of(*a, x.shape.len()).ok())
                        .collect::<Option<_>>()?,
                    None if self.args.node.inputs.get(1).copied().flatten().is_some() => {
                        return None;
                    }
                    None => (0..x.shape.len()).filter(|at| x.shape[*at] == 1).collect(),
                };
                let kept = x.shape.iter().enumerate().filter(|(at, _)| !drops.contains(at));
                kept.map(|(_, size)| *size).collect()
            }
            "Unsqueeze" => {
                let axes = listed("axes", 1)?;
                let rank = x.shape.len() + axes.len();
                count(&vec![1; rank]).ok()?;
                let new: Vec<usize> =
                    axes.iter().map(|a| axis_of(*a, rank).ok()).collect::<Option<_>>()?;
                let mut old = x.shape.iter();
                let size = |at| if new.contains(&at) { Some(1) } else { old.next().copied() };
                (0..rank).map(size).collect::<Option<_>>()?
            }
            "Transpose" => {
                let rank = x.shape.len();
                let order: Vec<usize> = match self.args.ints("perm") {
                    Some(order) => {
                        order.iter().map(|a| axis_of(*a, rank).ok()).collect::<Option<_>>()?
                    }
                    None => (0..rank).rev().collect(),
                };
                order.iter().map(|at| x.shape[*at]).collect()
            }
            "Expand" => {
                let wanted: Option<Vec<usize>> =
                    listed("", 1)?.iter().map(|s| as_size(*s).ok()).collect();
                broadcast(&x.shape, &wanted?).ok()?
            }
            "ConstantOfShape" => {
                let value = self.args.constant("value").map_or(Kind::F32, Tensor::kind);
                let sizes: Option<Vec<usize>> =
                    x.value.as_ref()?.integers().ok()?.iter().map(|s| as_size(*s).ok()).collect();
                return Some(Fact::shaped(value, sizes?));
            }
            _ => return self.stretched(name),
        };
        Some(Fact::shaped(x.kind, shape))
    }
}

/// The shape of a product of matrices.
fn multiplied(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (rows, columns) = (a.len().checked_sub(2), b.len().checked_sub(2));
    let mut shape = broadcast(&a[..rows.unwrap_or(0)], &b[..columns.unwrap_or(0)]).ok()?;
    shape.extend(rows.map(|at| a[at]));
    shape.extend(columns.map(|at| b[at + 1]));
    Some(shape)
}
