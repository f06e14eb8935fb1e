use std::collections::HashMap;

use crate::graph::{Graph, Node};
use crate::run::Run;
use crate::tensor::{Tensor, Value};

/// Elements of all inputs together of an operator whose result may be larger than they are.
const ELEMENTS_MAX: usize = 1 << 12;

/// Computes the nodes whose inputs are all known, and makes their results constants. What fails is left
/// to the run, which says so.
pub(super) fn fold(graph: &mut Graph) {
    let given: Vec<usize> = graph.inputs.iter().map(|(_, slot)| *slot).collect();
    let known = graph.constants.iter().filter(|(slot, _)| !given.contains(slot));
    let mut known: HashMap<usize, Tensor> = known.cloned().collect();
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        match folded(&node, &known) {
            Some((slot, tensor)) => {
                known.insert(slot, tensor.clone());
                graph.constants.push((slot, tensor));
            }
            None => graph.nodes.push(node),
        }
    }
}

fn folded(node: &Node, constants: &HashMap<usize, Tensor>) -> Option<(usize, Tensor)> {
    let [Some(slot)] = node.outputs[..] else { return None };
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        inputs.push(match input {
            Some(slot) => Some(Value::Tensor(constants.get(slot)?.clone())),
            None => None,
        });
    }
    Some((slot, known(node, &inputs)?))
}

/// What a node gives on values that are known, where it is worth to be computed when it is read.
pub(crate) fn known(node: &Node, inputs: &[Option<Value>]) -> Option<Tensor> {
    let elements: usize = inputs
        .iter()
        .flatten()
        .map(|value| if let Value::Tensor(tensor) = value { tensor.len() } else { 0 })
        .sum();
    let worth = match node.kind.as_str() {
        // As large as what they are given.
        "Constant" | "Identity" | "Cast" | "Reshape" | "Transpose" | "Unsqueeze" | "Squeeze"
        | "Flatten" | "DequantizeLinear" | "Neg" | "Sqrt" | "Reciprocal" | "Shape" | "Size" => true,
        "Concat" | "Slice" | "Gather" | "Add" | "Sub" | "Mul" | "Div" | "Pow" | "ReduceProd"
        | "Floor" | "Ceil" | "Equal" | "Where" | "Range" | "ConstantOfShape" | "Expand" => {
            elements <= ELEMENTS_MAX && is_small(node, inputs)
        }
        _ => false,
    };
    if !worth || node.prepared.is_some() {
        return None;
    }
    match Run::alone(node, inputs).ok()?.pop()? {
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
