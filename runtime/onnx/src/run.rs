//! Runs graphs, node after node.

use std::cell::Cell;

use crate::bounds::{self, Bounded, Limits};
use crate::error::{OnnxError, Outcome};
use crate::fast;
use crate::graph::{Graph, Node};
use crate::infer::{self, Fact};
use crate::tensor::Value;

/// What an element takes in memory, as a rule.
const ELEMENT_BYTES: u64 = 4;
/// Steps that operators may count, besides, for each operation; and at least.
const STEPS_AN_OPERATION: u64 = 16;
const STEPS_MIN: u64 = 1 << 26;

/// What operators work on.
mod args;

pub(crate) use args::{Args, kernel_of};

/// What a run may take.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Nodes, those of loops each time.
    pub nodes: u64,
    /// Floating-point operations and moved elements; see [`Cost`](crate::Cost).
    pub operations: u64,
    /// Bytes of the values that live at the same time.
    pub bytes: u64,
    /// Asked before every node, and within large ones: whether to end.
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl Default for Bounds<'_> {
    fn default() -> Self {
        Self { nodes: 10_000_000, operations: 1 << 44, bytes: 4 << 30, stop: None }
    }
}

/// One run.
pub(crate) struct Run<'b> {
    bounds: Bounds<'b>,
    operations: Cell<u64>,
    /// Elements that nodes have given and that are still needed.
    live: Cell<usize>,
    elements_max: usize,
    /// What operators count by themselves.
    _bounds: Bounded,
}

/// The values of a graph that runs, and how many elements of each count as given by nodes.
struct Frame {
    values: Vec<Option<Value>>,
    held: Vec<usize>,
}

/// Values that an operator keeps between runs of its graph.
pub(crate) struct Held<'a> {
    run: &'a Run<'a>,
    elements: usize,
}

impl Held<'_> {
    /// One more of them.
    pub(crate) fn add(&mut self, value: &Value) -> Outcome<()> {
        self.elements += self.run.hold(value)?;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.run.release(self.elements);
    }
}

/// A copy; that of a list takes time.
fn copied(value: &Value) -> Outcome<Value> {
    if !matches!(value, Value::Tensor(_)) {
        bounds::work(&[value.weight()?])?;
    }
    Ok(value.clone())
}

impl<'b> Run<'b> {
    pub(crate) fn new(bounds: Bounds<'b>) -> Self {
        let elements_max = usize::try_from(bounds.bytes / ELEMENT_BYTES).unwrap_or(usize::MAX);
        let steps_max = bounds.operations.saturating_mul(STEPS_AN_OPERATION).max(STEPS_MIN);
        let limits = Limits { nodes_max: bounds.nodes, steps_max, elements_max };
        let (operations, live) = (Cell::new(0), Cell::new(0));
        Self { bounds, operations, live, elements_max, _bounds: Bounded::by(limits) }
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// Runs one node by itself.
    pub(crate) fn alone(
        node: &Node,
        inputs: &[Option<Value>],
        bounds: Bounds<'_>,
    ) -> Outcome<Vec<Value>> {
        let run = Run::new(bounds);
        let inputs = inputs.iter().map(Option::as_ref).collect();
        (node.op)(&Args { node, inputs, run: &run, values: &[] })
    }

    /// Counts a value as needed; gives its elements.
    fn hold(&self, value: &Value) -> Outcome<usize> {
        let weight = value.weight()?;
        bounds::work(&[weight])?;
        let live = self.live.get().saturating_add(weight);
        if live > self.elements_max {
            let most = self.elements_max;
            return Err(format!("{live} elements that are still needed are more than {most}"));
        }
        self.live.set(live);
        Ok(weight)
    }

    fn release(&self, elements: usize) {
        self.live.set(self.live.get().saturating_sub(elements));
    }

    /// Runs a graph on values for its inputs.
    pub(crate) fn graph(
        &self,
        graph: &Graph,
        inputs: Vec<Option<Value>>,
        around: &[Option<Value>],
    ) -> Result<Vec<Value>, OnnxError> {
        let mut frame = Frame::of(graph, inputs, around)?;
        for node in &graph.nodes {
            self.node(node, &mut frame)?;
        }
        let output = |(name, slot): &(String, usize)| {
            let value = frame.values[*slot].as_ref();
            let missing = || OnnxError::Invalid(format!("nothing gives the output `{name}`"));
            copied(value.ok_or_else(missing)?).map_err(OnnxError::Limit)
        };
        let outputs = graph.outputs.iter().map(output).collect();
        self.release(frame.held.iter().fold(0, |sum, held| sum.saturating_add(*held)));
        outputs
    }

    fn node(&self, node: &Node, frame: &mut Frame) -> Result<(), OnnxError> {
        let at = |reason: String| OnnxError::Node { node: node.label.clone(), reason };
        entered()?;
        let values = &frame.values;
        let inputs = node.inputs.iter().map(|slot| values[(*slot)?].as_ref()).collect();
        let args = Args { node, inputs, run: self, values };
        let known = self.admit(&args)?;
        let outputs = (node.op)(&args);
        if self.stopped() {
            // What was left out is not to be seen.
            return Err(OnnxError::Stopped);
        }
        let outputs = outputs.map_err(at)?;
        if !known {
            // Its rule is not known: what it gave says what it took.
            let mut given = 0u64;
            for value in &outputs {
                given = given.saturating_add(value.weight().map_err(at)? as u64);
            }
            self.spend(given.saturating_mul(4))?;
        }
        let named = node.outputs.iter().zip(outputs);
        for (slot, value) in named.filter_map(|(slot, value)| Some(((*slot)?, value))) {
            frame.held[slot] = self.hold(&value).map_err(at)?;
            frame.values[slot] = Some(value);
        }
        for slot in &node.frees {
            frame.values[*slot].take().into_iter().for_each(fast::recycle);
            self.release(std::mem::take(&mut frame.held[*slot]));
        }
        Ok(())
    }

    /// Checks what a node will take before it takes it; whether that is known.
    fn admit(&self, args: &Args<'_>) -> Result<bool, OnnxError> {
        if self.stopped() {
            return Err(OnnxError::Stopped);
        }
        let fact = |value: &Option<&Value>| match value {
            Some(Value::Tensor(tensor)) => Some(Fact::of(tensor)),
            _ => None,
        };
        let inputs: Vec<Option<Fact>> = args.inputs.iter().map(fact).collect();
        let Some(outputs) = infer::outputs(args, &inputs) else { return Ok(false) };
        let live = (self.live.get() as u64).saturating_mul(ELEMENT_BYTES);
        let bytes = outputs.iter().map(Fact::bytes).fold(live, u64::saturating_add);
        if bytes > self.bounds.bytes {
            return Err(self.too_large(args.node, bytes));
        }
        self.spend(infer::operations(args, &inputs, &outputs))?;
        Ok(true)
    }

    fn spend(&self, operations: u64) -> Result<(), OnnxError> {
        let spent = self.operations.get().saturating_add(operations);
        let max = self.bounds.operations;
        if spent > max {
            let reason = format!("{spent} operations are more than {max}");
            return Err(OnnxError::Limit(reason));
        }
        self.operations.set(spent);
        Ok(())
    }

    fn too_large(&self, node: &Node, bytes: u64) -> OnnxError {
        let max = self.bounds.bytes;
        OnnxError::Limit(format!(
            "{}: its values take {bytes} bytes; {max} are allowed",
            node.label
        ))
    }

    fn stopped(&self) -> bool {
        self.bounds.stop.is_some_and(|stop| stop())
    }
}

/// Takes a node, or a graph that may have none.
fn entered() -> Result<(), OnnxError> {
    match bounds::node() {
        true => Ok(()),
        false => Err(OnnxError::Limit("it runs for too long".to_owned())),
    }
}

impl Frame {
    fn of(
        graph: &Graph,
        inputs: Vec<Option<Value>>,
        around: &[Option<Value>],
    ) -> Result<Self, OnnxError> {
        entered()?;
        bounds::work(&[graph.slots]).map_err(OnnxError::Limit)?;
        let mut values: Vec<Option<Value>> = vec![None; graph.slots];
        for (slot, tensor) in &graph.constants {
            values[*slot] = Some(tensor.clone().into());
        }
        for (outer, inner) in &graph.captures {
            let captured = around.get(*outer).and_then(Option::as_ref);
            values[*inner] = captured.map(copied).transpose().map_err(OnnxError::Limit)?;
        }
        for ((_, slot), value) in graph.inputs.iter().zip(inputs) {
            // Without a value an input keeps its default.
            values[*slot] = value.or(values[*slot].take());
        }
        Ok(Self { values, held: vec![0; graph.slots] })
    }
}
