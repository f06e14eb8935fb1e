//! What nodes give and cost, from shapes alone: before anything is computed, and before memory is
//! taken. Sources: the operators' definitions in the specification.

use crate::fuse::{Prepared, known};
use crate::graph::{Graph, Node};
use crate::run::{Args, Bounds, Run};
use crate::tensor::{Kind, Tensor, Value};

/// What operators cost.
mod cost;
/// What shapes operators give.
mod shapes;

pub(crate) use cost::operations;

/// Elements of what is kept as a value.
const VALUES_MAX: usize = 1 << 10;

/// What is known of a tensor.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<usize>,
    /// Its elements, where they are few and do not depend on data.
    pub(crate) value: Option<Tensor>,
}

/// What a run costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations, and moved elements, as far as shapes tell.
    pub operations: u64,
    /// Bytes of all values that live at the same time, without the weights.
    pub bytes: u64,
    /// Whether shapes told everything; else what there is beyond depends on data.
    pub exact: bool,
}

impl Fact {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let value = (tensor.len() <= VALUES_MAX).then(|| tensor.clone());
        Self { kind: tensor.kind(), shape: tensor.shape().to_vec(), value }
    }

    pub(crate) fn shaped(kind: Kind, shape: Vec<usize>) -> Self {
        Self { kind, shape, value: None }
    }

    /// Elements; a shape that cannot be has as many as there can be.
    pub(crate) fn len(&self) -> u64 {
        let sizes = self.shape.iter().map(|size| *size as u64);
        sizes.fold(1, u64::saturating_mul)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.len().saturating_mul(self.kind.bytes())
    }
}

/// What a node gives, where its rule is known and its inputs are.
pub(crate) fn outputs(args: &Args<'_>, inputs: &[Option<Fact>]) -> Option<Vec<Fact>> {
    if let Some(tensor) = of_values(args.node, inputs) {
        return Some(vec![Fact::of(&tensor)]);
    }
    shapes::of(args, inputs)
}

/// A result that follows from values: shapes are computed with in graphs.
fn of_values(node: &Node, inputs: &[Option<Fact>]) -> Option<Tensor> {
    if matches!(node.kind.as_str(), "Shape" | "Size") {
        return None;
    }
    let mut values = Vec::with_capacity(inputs.len());
    for (slot, fact) in node.inputs.iter().zip(inputs) {
        values.push(match (slot, fact) {
            (None, _) => None,
            (Some(_), fact) => Some(Value::Tensor(fact.as_ref()?.value.clone()?)),
        });
    }
    let small = values
        .iter()
        .flatten()
        .all(|value| matches!(value, Value::Tensor(t) if t.len() <= VALUES_MAX));
    if !small { None } else { known(node, &values) }
}

/// What a whole graph costs on inputs of these shapes.
pub(crate) fn cost(graph: &Graph, given: &[Option<Fact>]) -> Cost {
    let mut facts: Vec<Option<Fact>> = vec![None; graph.slots];
    for (slot, tensor) in &graph.constants {
        facts[*slot] = Some(Fact::of(tensor));
    }
    let mut is_constant = vec![false; graph.slots];
    graph.constants.iter().for_each(|(slot, _)| is_constant[*slot] = true);
    for ((_, slot), fact) in graph.inputs.iter().zip(given) {
        facts[*slot] = fact.clone().or(facts[*slot].take());
    }
    let mut cost = Cost { exact: true, ..Cost::default() };
    let mut live: u64 = given.iter().flatten().map(Fact::bytes).sum();
    cost.bytes = live;
    let run = Run::new(Bounds::default());
    for node in &graph.nodes {
        let inputs: Vec<Option<Fact>> =
            node.inputs.iter().map(|slot| slot.and_then(|slot| facts[slot].clone())).collect();
        let args = Args::about(node, &run);
        let found = outputs(&args, &inputs);
        let Some(found) = found else {
            cost.exact = false;
            continue;
        };
        cost.operations = cost.operations.saturating_add(operations(&args, &inputs, &found));
        for (slot, fact) in node.outputs.iter().zip(found) {
            live = live.saturating_add(fact.bytes());
            if let Some(slot) = slot {
                facts[*slot] = Some(fact);
            }
        }
        cost.bytes = cost.bytes.max(live);
        for slot in &node.frees {
            let gone = facts[*slot].take().map_or(0, |fact| fact.bytes());
            live = live.saturating_sub(if is_constant[*slot] { 0 } else { gone });
        }
    }
    cost
}

/// The shape of a layer's weights, laid out or not.
fn weights(args: &Args<'_>, inputs: &[Option<Fact>]) -> Option<Vec<usize>> {
    match &args.node.prepared {
        Some(Prepared::Convolution(layer)) => Some(layer.shape()),
        Some(Prepared::Linear(layer)) => Some(layer.shape()),
        None => Some(inputs.get(1)?.as_ref()?.shape.clone()),
    }
}
