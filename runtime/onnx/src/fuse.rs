//! Fewer and faster nodes for the same graph: what follows from constants is computed when the graph is
//! read, known patterns become one operator, and weights are laid out once, together with what
//! follows a product or a convolution.

use std::collections::HashMap;

use emberbox_kernels::dense::Activation;

use crate::error::Outcome;
use crate::fast::conv::Convolution;
use crate::fast::product::Linear;
use crate::graph::{Attribute, Graph, Node};
use crate::source::Later;
use crate::tensor::Tensor;

/// What follows from constants.
mod constants;
/// Several nodes that are one operator.
mod patterns;
/// Products and convolutions, with what follows them.
mod layers;

pub(crate) use constants::known;

/// What a node needs at each run, made once.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// A convolution with known weights.
    Convolution(Box<Convolution>),
    /// A product with a known matrix.
    Linear(Box<Linear>),
}

impl Prepared {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Convolution(layer) => layer.bytes() as u64,
            Self::Linear(layer) => layer.bytes() as u64,
        }
    }
}

/// A graph whose nodes are being replaced.
struct Plan<'a> {
    graph: &'a mut Graph,
    /// Nodes that are still there.
    nodes: Vec<Option<Node>>,
    constants: HashMap<usize, Tensor>,
    /// Those that are still in the file.
    later: HashMap<usize, Later<'a>>,
    /// How often each value is used, by outputs and graphs within too.
    uses: Vec<u32>,
    /// Who makes each value.
    makers: Vec<Option<usize>>,
    /// Who uses it, the last one.
    users: Vec<Option<usize>>,
}

/// Replaces what can be replaced. What a graph gives stays the same.
pub(crate) fn fuse<'a>(graph: &'a mut Graph, mut later: HashMap<usize, Later<'a>>) -> Outcome<()> {
    // What a caller can replace is no constant.
    let given = graph.inputs.iter().filter_map(|(_, slot)| Some((*slot, later.remove(slot)?)));
    for (slot, tensor) in given {
        graph.constants.push((slot, tensor.take()?));
    }
    constants::fold(graph, &mut later);
    let mut plan = Plan::of(graph, later);
    patterns::join(&mut plan);
    layers::prepare(&mut plan);
    plan.finish()
}

impl<'a> Plan<'a> {
    fn of(graph: &'a mut Graph, later: HashMap<usize, Later<'a>>) -> Self {
        let nodes: Vec<Option<Node>> =
            std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
        let constants = constants::of(graph);
        let slots = graph.slots;
        let (uses, makers, users) = (vec![0; slots], vec![None; slots], vec![None; slots]);
        let mut plan = Self { graph, nodes, constants, later, uses, makers, users };
        plan.count();
        plan
    }

    fn count(&mut self) {
        for (_, slot) in &self.graph.outputs {
            self.uses[*slot] += 1;
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            for slot in node.used() {
                self.uses[slot] += 1;
                self.users[slot] = Some(at);
            }
            for slot in node.outputs.iter().flatten() {
                self.makers[*slot] = Some(at);
            }
        }
    }

    /// The one node that uses what node `at` gives.
    fn only_user(&self, at: usize) -> Option<usize> {
        let slot = self.output(at)?;
        let user = self.users[slot].filter(|_| self.uses[slot] == 1)?;
        self.nodes[user].is_some().then_some(user)
    }

    /// What a node gives, where it is one value.
    fn output(&self, at: usize) -> Option<usize> {
        let node = self.nodes[at].as_ref()?;
        let others = node.outputs.iter().skip(1).flatten().any(|slot| self.uses[*slot] > 0);
        node.outputs.first().copied().flatten().filter(|_| !others)
    }

    /// A node, where it is of this operator.
    fn is(&self, at: usize, kind: &str) -> Option<&Node> {
        self.nodes[at].as_ref().filter(|node| node.kind == kind && node.prepared.is_none())
    }

    /// Who makes a value, where it is of this operator.
    fn maker(&self, slot: usize, kind: &str) -> Option<usize> {
        let at = self.makers[slot]?;
        self.is(at, kind).map(|_| at)
    }

    /// An input's value.
    fn input(&self, at: usize, input: usize) -> Option<usize> {
        self.nodes[at].as_ref()?.inputs.get(input).copied().flatten()
    }

    fn constant(&self, slot: Option<usize>) -> Option<&Tensor> {
        let slot = slot?;
        self.constants.get(&slot).or_else(|| self.later.get(&slot)?.tensor())
    }

    fn is_constant(&self, slot: usize) -> bool {
        self.constants.contains_key(&slot) || self.later.contains_key(&slot)
    }

    /// A constant's shape, which is known before it is read.
    fn shape(&self, slot: Option<usize>) -> Option<&[usize]> {
        let slot = slot?;
        let here = self.constants.get(&slot).map(Tensor::shape);
        here.or_else(|| self.later.get(&slot).map(Later::shape))
    }

    /// A constant that is one number.
    fn scalar(&self, slot: Option<usize>) -> Option<f64> {
        self.shape(slot).filter(|shape| shape.iter().all(|size| *size == 1))?;
        self.constant(slot)?.number().ok()
    }

    /// Of a node's two inputs the one that is not the constant, and the constant.
    fn beside_constant(&self, at: usize) -> Option<(usize, usize)> {
        let (first, second) = (self.input(at, 0)?, self.input(at, 1)?);
        match (self.is_constant(first), self.is_constant(second)) {
            (false, true) => Some((first, second)),
            (true, false) => Some((second, first)),
            _ => None,
        }
    }

    /// As [`Plan::beside_constant`], where the constant is this number.
    fn beside(&self, at: usize, number: f64) -> Option<usize> {
        let (value, constant) = self.beside_constant(at)?;
        let found = self.scalar(Some(constant))?;
        ((found - number).abs() <= 1e-5 * number.abs()).then_some(value)
    }

    /// Of a node's two inputs the one that is not `slot`.
    fn other(&self, at: usize, slot: usize) -> Option<usize> {
        let (first, second) = (self.input(at, 0)?, self.input(at, 1)?);
        match (first == slot, second == slot) {
            (true, false) => Some(second),
            (false, true) => Some(first),
            _ => None,
        }
    }

    /// Puts a node in the place of several, where the last of them was.
    fn replace(&mut self, gone: &[usize], at: usize, node: Node) {
        for gone in gone {
            self.nodes[*gone] = None;
        }
        for slot in node.outputs.iter().flatten() {
            self.makers[*slot] = Some(at);
        }
        for slot in node.inputs.iter().flatten() {
            self.users[*slot] = Some(at);
        }
        self.nodes[at] = Some(node);
    }

    /// Leaves out the constants that nobody uses any more, and reads the others.
    fn finish(self) -> Outcome<()> {
        let Self { graph, nodes, later, .. } = self;
        graph.nodes = nodes.into_iter().flatten().collect();
        let mut used = vec![false; graph.slots];
        for (_, slot) in graph.outputs.iter().chain(&graph.inputs) {
            used[*slot] = true;
        }
        for node in &graph.nodes {
            node.used().into_iter().for_each(|slot| used[slot] = true);
        }
        graph.constants.retain(|(slot, _)| used[*slot]);
        for (slot, tensor) in later.into_iter().filter(|(slot, _)| used[*slot]) {
            graph.constants.push((slot, tensor.take()?));
        }
        Ok(())
    }
}

impl Node {
    /// All values that it uses, graphs within it too.
    fn used(&self) -> Vec<usize> {
        let own = self.inputs.iter().flatten().copied();
        own.chain(self.captured()).collect()
    }

    /// Another operator on other inputs, with the same name in messages.
    fn renamed(&self, kind: &str, op: crate::ops::Op, inputs: Vec<Option<usize>>) -> Self {
        Self {
            kind: kind.to_owned(),
            label: self.label.clone(),
            version: self.version,
            op,
            prepared: None,
            attributes: std::collections::BTreeMap::new(),
            inputs,
            outputs: self.outputs.iter().take(1).copied().collect(),
            frees: Vec::new(),
        }
    }

    fn with(mut self, name: &str, attribute: Attribute) -> Self {
        self.attributes.insert(name.to_owned(), attribute);
        self
    }
}

/// An activation that follows a layer, by its node's own attributes and constants.
fn activation_of(plan: &Plan<'_>, at: usize) -> Option<Activation> {
    let node = plan.nodes[at].as_ref()?;
    let mut inputs: Vec<Option<crate::tensor::Value>> = Vec::new();
    for slot in node.inputs.iter().skip(1) {
        inputs.push(match slot {
            Some(_) => Some(plan.constant(*slot)?.clone().into()),
            None => None,
        });
    }
    crate::run::kernel_of(node, &inputs)
}
