use std::collections::{HashMap, HashSet};

use crate::graph::{Attribute, Graph, Node};
use crate::run::{Bounds, Run};
use crate::source::Later;
use crate::tensor::{Tensor, Value};

/// Elements of all inputs together of an operator whose result may be larger than they are.
const ELEMENTS_MAX: usize = 1 << 12;

/// Bytes that results may take for each byte of the file's own tensors, and besides: numbers of four
/// bits that become f32 and are then turned take sixteen times as many.
const BYTES_A_BYTE: u64 = 16;
const BYTES_MIN: u64 = 1 << 24;
/// What a tensor takes at least.
const TENSOR_BYTES: u64 = 128;
/// For an operator whose result may be larger than its inputs.
const SMALL: Bounds<'static> =
    Bounds { nodes: 1, operations: 1 << 20, bytes: (ELEMENTS_MAX as u64) << 6, stop: None };
/// Operators whose results are as large as what they are given.
const AS_LARGE: [&str; 13] = [
    "Constant",
    "Identity",
    "Reshape",
    "Transpose",
    "Unsqueeze",
    "Squeeze",
    "Flatten",
    "DequantizeLinear",
    "Neg",
    "Sqrt",
    "Reciprocal",
    "Shape",
    "Size",
];
/// Operators that are computed where there is little to compute.
const SMALL_ONES: [&str; 16] = [
    "Concat",
    "Slice",
    "Gather",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "ReduceProd",
    "Floor",
    "Ceil",
    "Equal",
    "Where",
    "Range",
    "ConstantOfShape",
    "Expand",
];
/// The type of texts, which take more than the numbers that they are made of.
const TEXT: i64 = 8;

/// What is known of a graph. What has a default can be given by the caller, and is no constant.
pub(super) fn of(graph: &Graph) -> HashMap<usize, Tensor> {
    let given: HashSet<usize> = graph.inputs.iter().map(|(_, slot)| *slot).collect();
    let known = graph.constants.iter().filter(|(slot, _)| !given.contains(slot));
    known.cloned().collect()
}

/// Computes the nodes whose inputs are all known, and makes their results constants. What fails is left
/// to the run, which says so, and so is what would take too much memory.
pub(super) fn fold(graph: &mut Graph, later: &mut HashMap<usize, Later<'_>>) {
    let mut known = of(graph);
    let stored = known.values().map(Tensor::bytes).chain(later.values().map(Later::bytes));
    let stored = stored.fold(0, u64::saturating_add);
    let mut left = stored.saturating_mul(BYTES_A_BYTE).saturating_add(BYTES_MIN);
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let Some((slot, tensor)) = folded(&node, &known, later, left) else {
            graph.nodes.push(node);
            continue;
        };
        match node.kind.as_str() {
            "Constant" => left = left.saturating_add(tensor.bytes().saturating_mul(BYTES_A_BYTE)),
            _ => left = left.saturating_sub(tensor.bytes().max(TENSOR_BYTES)),
        }
        for slot in node.inputs.iter().flatten() {
            later.get_mut(slot).into_iter().for_each(Later::forget);
        }
        known.insert(slot, tensor.clone());
        graph.constants.push((slot, tensor));
    }
}

fn folded(
    node: &Node,
    constants: &HashMap<usize, Tensor>,
    later: &HashMap<usize, Later<'_>>,
    bytes_max: u64,
) -> Option<(usize, Tensor)> {
    let [Some(slot)] = node.outputs[..] else { return None };
    let mut bytes = 0u64;
    for slot in node.inputs.iter().flatten() {
        let size = constants.get(slot).map(Tensor::bytes);
        bytes = bytes.saturating_add(size.or_else(|| later.get(slot).map(Later::bytes))?);
    }
    if bytes > bytes_max || !is_folded(&node.kind) {
        return None;
    }
    let value = |slot: &Option<usize>| {
        let Some(slot) = slot else { return Some(None) };
        let tensor = constants.get(slot).or_else(|| later.get(slot)?.tensor())?;
        Some(Some(Value::Tensor(tensor.clone())))
    };
    let inputs = node.inputs.iter().map(value).collect::<Option<Vec<_>>>()?;
    Some((slot, known(node, &inputs)?))
}

fn is_folded(kind: &str) -> bool {
    kind == "Cast" || AS_LARGE.contains(&kind) || SMALL_ONES.contains(&kind)
}

/// What a node gives on values that are known, where it is worth to be computed when it is read.
pub(crate) fn known(node: &Node, inputs: &[Option<Value>]) -> Option<Tensor> {
    let elements: usize = inputs
        .iter()
        .flatten()
        .map(|value| if let Value::Tensor(tensor) = value { tensor.len() } else { 0 })
        .sum();
    let whole = Bounds::default();
    let (worth, bounds) = match node.kind.as_str() {
        "Cast" => {
            (!matches!(node.attributes.get("to"), Some(Attribute::Int(to)) if *to == TEXT), whole)
        }
        kind if AS_LARGE.contains(&kind) => (true, whole),
        kind if SMALL_ONES.contains(&kind) => {
            (elements <= ELEMENTS_MAX && is_small(node, inputs), SMALL)
        }
        _ => (false, SMALL),
    };
    if !worth || node.prepared.is_some() {
        return None;
    }
    match Run::alone(node, inputs, bounds).ok()?.pop()? {
        Value::Tensor(tensor) => Some(tensor),
        _ => None,
    }
}

/// Whether what an operator makes out of numbers is not large either.
fn is_small(node: &Node, inputs: &[Option<Value>]) -> bool {
    let of = |at: usize| match inputs.get(at) {
        Some(Some(Value::Tensor(tensor))) => tensor.floats().ok(),
        _ => None,
    };
    let numbers = |at: usize| of(at).unwrap_or_default();
    match node.kind.as_str() {
        "ConstantOfShape" => numbers(0).iter().product::<f64>() <= ELEMENTS_MAX as f64,
        "Expand" => numbers(1).iter().product::<f64>() <= ELEMENTS_MAX as f64,
        "Range" => match (numbers(0).first(), numbers(1).first(), numbers(2).first()) {
            (Some(start), Some(end), Some(step)) => {
                ((end - start) / step).abs() <= ELEMENTS_MAX as f64
            }
            _ => false,
        },
        _ => true,
    }
}
