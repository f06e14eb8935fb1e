//! Runs graphs, node after node.

use std::cell::Cell;

use crate::bounds::{self, Bounded, Limits};
use crate::error::{OnnxError, Outcome};
use crate::graph::{Attribute, Graph, Node};
use crate::tensor::{Tensor, Value};

/// One run of a model.
pub(crate) struct Run {
    /// Elements that nodes have given and that are still needed.
    live: Cell<usize>,
    elements_max: usize,
    /// What else it may take.
    _bounds: Bounded,
}

/// What an operator works on.
pub(crate) struct Args<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: Vec<Option<&'a Value>>,
    run: &'a Run,
    /// The values of the graph around it.
    values: &'a [Option<Value>],
}

/// The values of a graph that runs, and how many elements of each count as given by nodes.
struct Frame {
    values: Vec<Option<Value>>,
    held: Vec<usize>,
}

/// Values that an operator keeps between runs of its graph.
pub(crate) struct Held<'a> {
    run: &'a Run,
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

impl Run {
    pub(crate) fn new(limits: Limits) -> Self {
        let elements_max = limits.elements_max;
        Self { live: Cell::new(0), elements_max, _bounds: Bounded::by(limits) }
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
        let outputs = (node.op)(&args).map_err(at)?;
        let named = node.outputs.iter().zip(outputs);
        for (slot, value) in named.filter_map(|(slot, value)| Some(((*slot)?, value))) {
            frame.held[slot] = self.hold(&value).map_err(at)?;
            frame.values[slot] = Some(value);
        }
        for slot in &node.frees {
            frame.values[*slot] = None;
            self.release(std::mem::take(&mut frame.held[*slot]));
        }
        Ok(())
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

impl<'a> Args<'a> {
    /// An input that may be left out.
    pub(crate) fn value(&self, at: usize) -> Option<&'a Value> {
        self.inputs.get(at).copied().flatten()
    }

    /// A tensor that must be there.
    pub(crate) fn tensor(&self, at: usize) -> Outcome<&'a Tensor> {
        self.given(at)?.ok_or_else(|| format!("input {at} is missing"))
    }

    /// A tensor that may be left out.
    pub(crate) fn given(&self, at: usize) -> Outcome<Option<&'a Tensor>> {
        match self.value(at) {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => Ok(Some(tensor)),
            Some(Value::Optional(Some(inner))) => match &**inner {
                Value::Tensor(tensor) => Ok(Some(tensor)),
                _ => Err(format!("input {at} must be a tensor")),
            },
            Some(_) => Err(format!("input {at} must be a tensor")),
        }
    }

    /// All inputs, which must be tensors.
    pub(crate) fn tensors(&self) -> Outcome<Vec<&'a Tensor>> {
        (0..self.inputs.len()).map(|at| self.tensor(at)).collect()
    }

    pub(crate) fn sequence(&self, at: usize) -> Outcome<&'a [Value]> {
        match self.value(at) {
            Some(Value::Sequence(values)) => Ok(values),
            Some(Value::Optional(Some(inner))) => match &**inner {
                Value::Sequence(values) => Ok(values),
                _ => Err(format!("input {at} must be a sequence")),
            },
            _ => Err(format!("input {at} must be a sequence")),
        }
    }

    fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        self.node.attributes.get(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.maybe_int(name).unwrap_or(default)
    }

    pub(crate) fn maybe_int(&self, name: &str) -> Option<i64> {
        match self.attribute(name) {
            Some(Attribute::Int(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f64 {
        match self.attribute(name) {
            Some(Attribute::Float(value)) => f64::from(*value),
            _ => f64::from(default),
        }
    }

    pub(crate) fn text(&self, name: &str, default: &'static str) -> &'a str {
        match self.attribute(name) {
            Some(Attribute::Text(value)) => value,
            _ => default,
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        match self.attribute(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// Sizes, each the same where they are left out.
    pub(crate) fn sizes(
        &self,
        name: &str,
        (count, default): (usize, usize),
    ) -> Outcome<Vec<usize>> {
        let Some(values) = self.ints(name) else { return Ok(vec![default; count]) };
        if values.len() != count {
            return Err(format!("`{name}` has {} numbers, not {count}", values.len()));
        }
        let size =
            |size: &i64| usize::try_from(*size).map_err(|_error| format!("`{name}`: {size}"));
        values.iter().map(size).collect()
    }

    pub(crate) fn floats(&self, name: &str) -> Option<&'a [f32]> {
        match self.attribute(name) {
            Some(Attribute::Floats(values)) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Option<&'a [String]> {
        match self.attribute(name) {
            Some(Attribute::Texts(values)) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn constant(&self, name: &str) -> Option<&'a Tensor> {
        match self.attribute(name) {
            Some(Attribute::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    pub(crate) fn graph(&self, name: &str) -> Outcome<&'a Graph> {
        match self.attribute(name) {
            Some(Attribute::Graph(graph)) => Ok(graph),
            _ => Err(format!("the graph `{name}` is missing")),
        }
    }

    /// Counts what an operator keeps.
    pub(crate) fn holding(&self) -> Held<'a> {
        Held { run: self.run, elements: 0 }
    }

    /// Runs a graph of this node's.
    pub(crate) fn inner(&self, graph: &Graph, inputs: Vec<Option<Value>>) -> Outcome<Vec<Value>> {
        let mut held = self.holding();
        inputs.iter().flatten().try_for_each(|value| held.add(value))?;
        self.run.graph(graph, inputs, self.values).map_err(|error| error.to_string())
    }

    /// Numbers that newer versions have as an input and older ones as an attribute.
    pub(crate) fn listed(&self, name: &str, at: usize) -> Outcome<Option<Vec<i64>>> {
        match self.given(at)? {
            Some(tensor) => tensor.integers().map(Some),
            None => Ok(self.ints(name).map(<[i64]>::to_vec)),
        }
    }

    pub(crate) fn outputs(&self) -> usize {
        self.node.outputs.len()
    }
}
