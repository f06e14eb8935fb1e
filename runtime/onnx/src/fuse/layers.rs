use emberbox_kernels::dense::Activation;
use emberbox_kernels::map::Binary;

use super::{Plan, Prepared, activation_of};
use crate::error::Outcome;
use crate::fast::conv::Convolution;
use crate::fast::product::Linear;
use crate::fast::{self, floats};
use crate::graph::{Attribute, Node};
use crate::ops::{self, Op};
use crate::run::Args;
use crate::source::Later;
use crate::tensor::{Kind, Tensor, Value};

/// Columns of a matrix that are laid out together.
const LANES: usize = 16;

/// Bytes that weights which were laid out may take for each byte of the constants, and besides: those
/// that several layers share are laid out for each.
const BYTES_A_BYTE: u64 = 2;
const BYTES_MIN: u64 = 1 << 20;

/// Lays known weights out, as long as there is room, and takes what follows a layer into it.
pub(super) fn prepare(plan: &mut Plan<'_>) {
    let stored = plan.constants.values().map(Tensor::bytes);
    let stored = stored.chain(plan.later.values().map(Later::bytes)).fold(0, u64::saturating_add);
    let mut left = stored.saturating_mul(BYTES_A_BYTE).saturating_add(BYTES_MIN);
    for at in 0..plan.nodes.len() {
        let kind = plan.nodes[at].as_ref().map_or("", |node| node.kind.as_str());
        let layer = match kind {
            "Conv" => convolution,
            "MatMul" | "Gemm" => linear,
            _ => continue,
        };
        let weights = plan.input(at, 1);
        let bytes = plan.shape(weights).map(laid_out).filter(|bytes| *bytes <= left);
        let Some(bytes) = bytes else { continue };
        if layer(plan, at).is_some() {
            left -= bytes;
            // It is in memory as it was laid out.
            weights.and_then(|slot| plan.later.get_mut(&slot)).into_iter().for_each(Later::forget);
        }
    }
}

/// Bytes that weights take at most when they are laid out: a product's matrix has columns that fill
/// whole vectors.
fn laid_out(weights: &[usize]) -> u64 {
    let elements = weights.iter().fold(1u64, |all, size| all.saturating_mul(*size as u64));
    let bytes = elements.saturating_mul(Kind::F32.bytes());
    let [first, second] = *weights else { return bytes };
    let columns = first.min(second).max(1);
    let whole = columns.next_multiple_of(LANES).div_ceil(columns);
    bytes.saturating_mul(whole as u64)
}

/// The operators of prepared nodes, by the name of the operator that they were.
fn find(prepared: &Prepared) -> Op {
    match prepared {
        Prepared::Convolution(_) => |args| {
            run(args, |layer, args, sum| match layer {
                Prepared::Convolution(layer) => Ok((layer.run(args, sum)?, layer.activation)),
                Prepared::Linear(_) => Err("is no convolution".to_owned()),
            })
        },
        Prepared::Linear(_) => |args| {
            run(args, |layer, args, sum| match layer {
                Prepared::Linear(layer) => {
                    Ok((layer.run(args.tensor(0)?, sum, args.stop())?, layer.activation))
                }
                Prepared::Convolution(_) => Err("is no product".to_owned()),
            })
        },
    }
}

type Ran = ((Tensor, bool), Activation);

/// Input 0 through the layer, and input 1 added.
fn run(
    args: &Args<'_>,
    layer: fn(&Prepared, &Args<'_>, Option<&Tensor>) -> Outcome<Ran>,
) -> Outcome<Vec<Value>> {
    let sum = args.given(1)?;
    let prepared = args.node.prepared.as_ref().ok_or_else(|| "was not prepared".to_owned())?;
    let ((y, finished), activation) = layer(prepared, args, sum)?;
    let Some(sum) = sum.filter(|_| !finished) else { return Ok(ops::one(y)) };
    // A sum of another shape: the operators themselves, one after the other.
    let both = match fast::binary(&y, sum, Binary::Add)? {
        Some(both) => both,
        None => ops::arithmetic::add(&y, sum)?,
    };
    match fast::unary(&both, activation)? {
        Some(y) => Ok(ops::one(y)),
        None => Err("F32 is expected".to_owned()),
    }
}

/// What follows a layer, as far as the layer can do it.
struct Follow {
    gone: Vec<usize>,
    bias: Vec<f32>,
    sum: Option<usize>,
    activation: Activation,
}

impl Follow {
    /// Goes on from node `at`; `bias` says what a constant that is added is for each output.
    fn of(
        plan: &Plan<'_>,
        at: usize,
        bias: Vec<f32>,
        as_bias: &dyn Fn(&Tensor) -> Option<Vec<f32>>,
    ) -> Self {
        let mut follow = Self { gone: vec![at], bias, sum: None, activation: Activation::None };
        let mut last = at;
        while let Some(next) = plan.only_user(last) {
            if !follow.take(plan, (last, next), as_bias) {
                break;
            }
            follow.gone.push(next);
            last = next;
            if follow.activation != Activation::None {
                break;
            }
        }
        follow
    }

    fn take(
        &mut self,
        plan: &Plan<'_>,
        (last, next): (usize, usize),
        as_bias: &dyn Fn(&Tensor) -> Option<Vec<f32>>,
    ) -> bool {
        let Some(node) = plan.nodes[next].as_ref() else { return false };
        if node.prepared.is_some() {
            return false;
        }
        if node.kind != "Add" {
            let Some(activation) = activation_of(plan, next) else { return false };
            self.activation = activation;
            // What it works on is its first input, and not one of its bounds.
            return plan.input(next, 0) == plan.output(last);
        }
        let other = plan.output(last).and_then(|slot| plan.other(next, slot));
        let Some(other) = other.filter(|_| self.sum.is_none()) else { return false };
        match plan.constant(Some(other)) {
            Some(constant) => {
                let Some(more) = as_bias(constant) else { return false };
                match self.bias.is_empty() {
                    true => self.bias = more,
                    false => self.bias.iter_mut().zip(&more).for_each(|(bias, more)| *bias += more),
                }
            }
            None => self.sum = Some(other),
        }
        true
    }

    /// Puts the layer where the last node was.
    fn put(self, plan: &mut Plan<'_>, x: usize, (prepared, like): (Prepared, Node)) -> Option<()> {
        let last = *self.gone.last()?;
        let outputs = plan.nodes[last].as_ref()?.outputs.clone();
        let mut node = like;
        node.op = find(&prepared);
        node.prepared = Some(prepared);
        node.inputs = vec![Some(x), self.sum];
        node.outputs = outputs.into_iter().take(1).collect();
        plan.replace(&self.gone, last, node);
        Some(())
    }
}

/// The same node without its constants.
fn like(node: &Node) -> Node {
    let mut like = node.renamed(&node.kind, node.op, Vec::new());
    for (name, attribute) in &node.attributes {
        let kept = match attribute {
            Attribute::Int(value) => Attribute::Int(*value),
            Attribute::Text(text) => Attribute::Text(text.clone()),
            Attribute::Ints(values) => Attribute::Ints(values.clone()),
            _ => continue,
        };
        like.attributes.insert(name.clone(), kept);
    }
    like
}

fn convolution(plan: &mut Plan<'_>, at: usize) -> Option<()> {
    let node = plan.is(at, "Conv")?;
    let x = plan.input(at, 0)?;
    let w = plan.constant(plan.input(at, 1))?.clone();
    let groups = match node.attributes.get("group") {
        Some(Attribute::Int(groups)) => usize::try_from(*groups).ok()?,
        _ => 1,
    };
    let filters = *w.shape().first()?;
    let mut bias = match plan.input(at, 2) {
        None => Vec::new(),
        slot => floats(plan.constant(slot)?)?.to_vec(),
    };
    if !bias.is_empty() && bias.len() != filters {
        return None;
    }
    let rank = w.rank();
    // A normalisation by constants scales filters and shifts what they give.
    let mut factors = Vec::new();
    let normal = plan.only_user(at).filter(|next| plan.input(*next, 0) == plan.output(at));
    let normal = normal.and_then(|next| Some((next, scales(plan, next, filters)?)));
    if let Some((_, (scale, shift))) = &normal {
        let before = if bias.is_empty() { vec![0.0; filters] } else { bias };
        let all = before.iter().zip(scale).zip(shift);
        bias = all.map(|((bias, scale), shift)| bias * scale + shift).collect();
        factors.clone_from(scale);
    }
    let mut layer = Convolution::new(&w, groups, &factors)?;
    let by_channel = |constant: &Tensor| {
        // `[filters, 1, 1]`, with a dimension for the batch or without.
        let own = constant.shape();
        let lead = own.len().checked_sub(rank - 1)?;
        let fits = own[..lead].iter().all(|size| *size == 1)
            && own[lead] == filters
            && own[lead + 1..].iter().all(|size| *size == 1);
        floats(constant).filter(|_| fits && lead <= 1).map(<[f32]>::to_vec)
    };
    let like = like(plan.nodes[at].as_ref()?);
    let mut follow = match &normal {
        None => Follow::of(plan, at, bias, &by_channel),
        Some((next, _)) => Follow::of(plan, *next, bias, &by_channel),
    };
    if normal.is_some() {
        follow.gone.insert(0, at);
    }
    layer.bias = std::mem::take(&mut follow.bias);
    layer.activation = follow.activation;
    follow.put(plan, x, (Prepared::Convolution(Box::new(layer)), like))
}

/// Factor and shift of each channel, of a normalisation by constants.
fn scales(plan: &Plan<'_>, at: usize, filters: usize) -> Option<(Vec<f32>, Vec<f32>)> {
    let node = plan.is(at, "BatchNormalization")?;
    if matches!(node.attributes.get("training_mode"), Some(Attribute::Int(mode)) if *mode != 0) {
        return None;
    }
    plan.output(at)?;
    let epsilon = match node.attributes.get("epsilon") {
        Some(Attribute::Float(epsilon)) => *epsilon,
        _ => 1e-5,
    };
    let of = |input: usize| {
        floats(plan.constant(plan.input(at, input))?).filter(|all| all.len() == filters)
    };
    let (scale, bias, mean, variance) = (of(1)?, of(2)?, of(3)?, of(4)?);
    let factor = |(scale, variance): (&f32, &f32)| scale / (variance + epsilon).sqrt();
    let factors: Vec<f32> = scale.iter().zip(variance).map(factor).collect();
    let shift = |((bias, mean), factor): ((&f32, &f32), &f32)| bias - mean * factor;
    let shifts = bias.iter().zip(mean).zip(&factors).map(shift).collect();
    Some((factors, shifts))
}

fn linear(plan: &mut Plan<'_>, at: usize) -> Option<()> {
    let node = plan.nodes[at].as_ref().filter(|node| node.prepared.is_none())?;
    let x = plan.input(at, 0)?;
    if plan.is_constant(x) {
        return None;
    }
    let is_gemm = node.kind == "Gemm";
    let one = |name: &str| match node.attributes.get(name) {
        Some(Attribute::Float(value)) => *value == 1.0,
        _ => true,
    };
    let set =
        |name: &str| matches!(node.attributes.get(name), Some(Attribute::Int(flag)) if *flag != 0);
    if is_gemm && !(one("alpha") && one("beta") && !set("transA")) {
        return None;
    }
    let turned = is_gemm && set("transB");
    let mut layer = Linear::new(plan.constant(plan.input(at, 1))?, turned)?;
    let columns = layer.columns();
    let by_column = |constant: &Tensor| {
        let fits = constant.shape().last() == Some(&columns)
            && constant.len() == columns
            && constant.rank() <= 1;
        floats(constant).filter(|_| fits).map(<[f32]>::to_vec)
    };
    let bias = match plan.input(at, 2).filter(|_| is_gemm) {
        None => Vec::new(),
        slot => by_column(plan.constant(slot)?)?,
    };
    let like = like(node);
    let mut follow = Follow::of(plan, at, bias, &by_column);
    layer.bias = std::mem::take(&mut follow.bias);
    layer.activation = follow.activation;
    follow.put(plan, x, (Prepared::Linear(Box::new(layer)), like))
}
