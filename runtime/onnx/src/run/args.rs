use emberbox_kernels::dense::{Activation, Stop};

use super::{Bounds, Held, Run};
use crate::error::Outcome;
use crate::graph::{Attribute, Graph, Node};
use crate::tensor::{Tensor, Value};

/// What an operator works on.
pub(crate) struct Args<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: Vec<Option<&'a Value>>,
    pub(super) run: &'a Run<'a>,
    /// The values of the graph around it.
    pub(super) values: &'a [Option<Value>],
}

/// The kernel of an activation whose inputs but the first are known.
pub(crate) fn kernel_of(node: &Node, rest: &[Option<Value>]) -> Option<Activation> {
    let run = Run::new(Bounds::default());
    let inputs = std::iter::once(None).chain(rest.iter().map(Option::as_ref)).collect();
    let args = Args { node, inputs, run: &run, values: &[] };
    crate::ops::math::kernel_of(&args).ok()?
}

impl<'a> Args<'a> {
    /// Counts what an operator keeps.
    pub(crate) fn holding(&self) -> Held<'a> {
        Held { run: self.run, elements: 0 }
    }

    /// For questions about a node's attributes.
    pub(crate) fn about(node: &'a Node, run: &'a Run<'a>) -> Self {
        Self { node, inputs: Vec::new(), run, values: &[] }
    }

    /// Whether the run is to end: asked within large products.
    pub(crate) fn stop(&self) -> Stop<'a> {
        Stop(self.run.bounds.stop)
    }

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
