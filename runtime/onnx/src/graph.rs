//! A graph as it is run: nodes in their order, values by number.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use crate::error::{OnnxError, Outcome};
use crate::fuse::{self, Prepared};
use crate::ops::{self, Op};
use crate::proto;
use crate::source::Source;
use crate::tensor::stored::{self, Stored};
use crate::tensor::{Kind, Tensor};

/// How deep graphs may lie within graphs.
const DEPTH_MAX: usize = 16;
/// The set of operators that has no name, and its other name.
pub(crate) const STANDARD: &str = "";
const STANDARD_TOO: &str = "ai.onnx";
/// The type of an attribute that is a type.
const TYPE: i32 = 13;

/// A graph whose nodes are known, and in order.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// How many values there are.
    pub(crate) slots: usize,
    pub(crate) inputs: Vec<(String, usize)>,
    /// What each of them is.
    pub(crate) specs: Vec<Spec>,
    pub(crate) outputs: Vec<(String, usize)>,
    /// What each of them is.
    pub(crate) gives: Vec<Spec>,
    pub(crate) constants: Vec<(usize, Tensor)>,
    /// What it uses of the graph around it: the value's number there, and here.
    pub(crate) captures: Vec<(usize, usize)>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A tensor.
    Tensor,
    /// A list.
    Sequence,
    /// What may not be there.
    Optional,
}

impl Form {
    fn of(stored: Option<&proto::Type>) -> Self {
        match stored {
            Some(stored) if stored.sequence_type.is_some() => Self::Sequence,
            Some(stored) if stored.optional_type.is_some() => Self::Optional,
            _ => Self::Tensor,
        }
    }
}

/// What an input or an output is, as far as the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Whether it is a tensor.
    pub form: Form,
    /// The type of its elements.
    pub kind: Option<Kind>,
    /// Sizes of its dimensions, `None` where any size will do.
    pub shape: Option<Vec<Option<usize>>>,
}

impl Spec {
    fn of(info: &proto::ValueInfo) -> Self {
        let tensor = info.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
        let size =
            |dim: &proto::Dimension| dim.dim_value.and_then(|size| usize::try_from(size).ok());
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        Self {
            name: info.name.clone(),
            form: Form::of(info.r#type.as_ref()),
            kind: tensor.and_then(|tensor| stored::kind_of(i64::from(tensor.elem_type)).ok()),
            shape: shape.map(|shape| shape.dim.iter().map(size).collect()),
        }
    }

    /// Whether a tensor is of this type and shape.
    pub(crate) fn check(&self, tensor: &Tensor) -> Outcome<()> {
        let kind = self.kind.is_none_or(|kind| kind == tensor.kind());
        let shape = self.shape.as_ref().is_none_or(|shape| {
            let fits = |(wanted, size): (&Option<usize>, &usize)| wanted.is_none_or(|w| w == *size);
            shape.len() == tensor.rank() && shape.iter().zip(tensor.shape()).all(fits)
        });
        match kind && shape {
            true => Ok(()),
            false => {
                Err(format!("{self} is expected, not {:?} {:?}", tensor.kind(), tensor.shape()))
            }
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{kind:?}")?,
            None => f.write_str("a tensor")?,
        }
        let Some(shape) = &self.shape else { return Ok(()) };
        let size = |size: &Option<usize>| size.map_or("any".to_owned(), |size| size.to_string());
        let sizes: Vec<String> = shape.iter().map(size).collect();
        write!(f, " [{}]", sizes.join(", "))
    }
}

/// Refuses a file with too many nodes, before anything is made of them.
pub(crate) fn check_count(graph: &proto::Graph, max: usize) -> Result<(), OnnxError> {
    fn within(graph: &proto::Graph, depth: usize) -> usize {
        if depth > DEPTH_MAX {
            return 0;
        }
        let graphs =
            graph.node.iter().flat_map(|node| &node.attribute).filter_map(|a| a.g.as_ref());
        graph.node.len() + graphs.map(|graph| within(graph, depth + 1)).sum::<usize>()
    }
    let count = within(graph, 0);
    match count <= max {
        true => Ok(()),
        false => Err(OnnxError::Limit(format!("it has {count} nodes; {max} are allowed"))),
    }
}

/// One computation.
#[derive(Debug)]
pub(crate) struct Node {
    /// The operator's name.
    pub(crate) kind: String,
    /// For messages: its name, or what it is and gives.
    pub(crate) label: String,
    /// The version of its set of operators.
    pub(crate) version: i64,
    pub(crate) op: Op,
    /// What was made of its constants.
    pub(crate) prepared: Option<Prepared>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Option<usize>>,
    /// Values that nobody needs after it.
    pub(crate) frees: Vec<usize>,
}

/// What a node is told beside its inputs.
#[derive(Debug)]
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Tensor),
    Graph(Box<Graph>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

/// The versions of the sets of operators that a model uses.
pub(crate) type Versions = HashMap<String, i64>;

/// Where the tensors are that the file's messages came without: one place for each initializer of the
/// outermost graph.
pub(crate) struct LeftOut<'s> {
    pub(crate) source: &'s dyn Source,
    pub(crate) places: &'s [Option<Range<u64>>],
}

/// A graph that is being read, and the names that it has not found in itself.
struct Scope<'v> {
    versions: &'v Versions,
    depth: usize,
    names: HashMap<String, usize>,
    slots: usize,
    wanted: Vec<(String, usize)>,
}

/// Reads the outermost graph of a model.
pub(crate) fn read(
    graph: &proto::Graph,
    versions: &Versions,
    left_out: &LeftOut<'_>,
) -> Result<Graph, OnnxError> {
    let (graph, wanted) = read_inner(graph, versions, 0, left_out)?;
    match wanted.first() {
        None => Ok(graph),
        Some((name, _)) => Err(OnnxError::Invalid(format!("nothing gives the value `{name}`"))),
    }
}

type Read = Result<(Graph, Vec<(String, usize)>), OnnxError>;

fn read_inner(
    graph: &proto::Graph,
    versions: &Versions,
    depth: usize,
    left_out: &LeftOut<'_>,
) -> Read {
    if depth > DEPTH_MAX {
        let reason = format!("graphs lie deeper than {DEPTH_MAX} within each other");
        return Err(OnnxError::Limit(reason));
    }
    let mut scope = Scope { versions, depth, names: HashMap::new(), slots: 0, wanted: Vec::new() };
    let (mut constants, mut later) = (Vec::new(), HashMap::new());
    for (at, stored) in graph.initializer.iter().enumerate() {
        let place = left_out.places.get(at).and_then(Option::as_ref);
        let bad = |why| OnnxError::Invalid(format!("initializer `{}`: {why}", stored.name));
        let slot = scope.define(&stored.name)?;
        match stored::read(stored, left_out.source, place).map_err(bad)? {
            Stored::Here(tensor) => constants.push((slot, tensor)),
            Stored::Later(tensor) => drop(later.insert(slot, tensor)),
        }
    }
    let (mut inputs, mut specs) = (Vec::new(), Vec::new());
    for input in &graph.input {
        // An initializer of the same name is its default.
        let slot = match scope.names.get(&input.name) {
            Some(slot) => *slot,
            None => scope.define(&input.name)?,
        };
        inputs.push((input.name.clone(), slot));
        specs.push(Spec::of(input));
    }
    let mut nodes = Vec::new();
    for node in &graph.node {
        nodes.push(scope.node(node)?);
    }
    let mut outputs = Vec::new();
    for output in &graph.output {
        outputs.push((output.name.clone(), scope.find(&output.name)));
    }
    let gives = graph.output.iter().map(Spec::of).collect();
    let Scope { slots, wanted, .. } = scope;
    let captures = Vec::new();
    let mut graph = Graph { nodes, slots, inputs, specs, outputs, gives, constants, captures };
    fuse::fuse(&mut graph, later).map_err(OnnxError::Invalid)?;
    graph.note_last_uses();
    Ok((graph, wanted))
}

impl Scope<'_> {
    /// A value that is given here.
    fn define(&mut self, name: &str) -> Result<usize, OnnxError> {
        let slot = self.slot();
        match self.names.insert(name.to_owned(), slot) {
            None => Ok(slot),
            Some(_) => Err(OnnxError::Invalid(format!("two things give the value `{name}`"))),
        }
    }

    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }

    /// A value that is used: one that was given, or one from the graph around this one.
    fn find(&mut self, name: &str) -> usize {
        if let Some(slot) = self.names.get(name) {
            return *slot;
        }
        let slot = self.slot();
        self.names.insert(name.to_owned(), slot);
        self.wanted.push((name.to_owned(), slot));
        slot
    }

    fn node(&mut self, node: &proto::Node) -> Result<Node, OnnxError> {
        let label = label(node);
        let domain = if node.domain == STANDARD_TOO { STANDARD } else { &node.domain };
        let version = self.versions.get(domain).copied().unwrap_or(1);
        let op = ops::find(domain, &node.op_type).ok_or_else(|| OnnxError::Unsupported {
            node: label.clone(),
            op: node.op_type.clone(),
            domain: if domain.is_empty() { STANDARD_TOO } else { domain }.to_owned(),
            version,
        })?;
        let bad = |reason: String| OnnxError::Node { node: label.clone(), reason };
        let inputs = node.input.iter();
        let inputs = inputs.map(|name| (!name.is_empty()).then(|| self.find(name))).collect();
        let mut attributes = BTreeMap::new();
        for stored in &node.attribute {
            if stored.r#type == TYPE {
                // Of values that are not there; the values themselves say enough.
                continue;
            }
            let attribute = match &stored.g {
                Some(graph) => Attribute::Graph(Box::new(self.graph(graph)?)),
                None => attribute(stored)
                    .map_err(|why| bad(format!("attribute `{}`: {why}", stored.name)))?,
            };
            attributes.insert(stored.name.clone(), attribute);
        }
        let mut outputs = Vec::new();
        for name in &node.output {
            outputs.push(if name.is_empty() { None } else { Some(self.define(name)?) });
        }
        let (kind, frees) = (node.op_type.clone(), Vec::new());
        Ok(Node { kind, label, version, op, prepared: None, attributes, inputs, outputs, frees })
    }

    /// A graph within this one.
    fn graph(&mut self, graph: &proto::Graph) -> Result<Graph, OnnxError> {
        let nothing = LeftOut { source: &[].as_slice(), places: &[] };
        let (mut graph, wanted) = read_inner(graph, self.versions, self.depth + 1, &nothing)?;
        graph.captures =
            wanted.into_iter().map(|(name, inner)| (self.find(&name), inner)).collect();
        Ok(graph)
    }
}

fn label(node: &proto::Node) -> String {
    match (node.name.as_str(), node.output.first()) {
        ("", Some(output)) => format!("{} of `{output}`", node.op_type),
        ("", None) => node.op_type.clone(),
        (name, _) => format!("{} `{name}`", node.op_type),
    }
}

fn attribute(stored: &proto::Attribute) -> Outcome<Attribute> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match stored.r#type {
        1 => Attribute::Float(stored.f),
        2 => Attribute::Int(stored.i),
        3 => Attribute::Text(text(&stored.s)),
        4 => match &stored.t {
            Some(tensor) => Attribute::Tensor(stored::here(tensor)?),
            None => return Err("its tensor is missing".to_owned()),
        },
        6 => Attribute::Floats(stored.floats.clone()),
        7 => Attribute::Ints(stored.ints.clone()),
        8 => Attribute::Texts(stored.strings.iter().map(|bytes| text(bytes)).collect()),
        other => return Err(format!("attributes of the type {other} are not supported")),
    })
}

impl Graph {
    /// Bytes of constants and of what was made of them.
    pub(crate) fn bytes(&self) -> u64 {
        let constants = self.constants.iter().map(|(_, tensor)| tensor.bytes());
        let prepared = self.nodes.iter().filter_map(|node| node.prepared.as_ref());
        constants.chain(prepared.map(Prepared::bytes)).fold(0, u64::saturating_add)
    }

    /// After which node each value is not needed any more.
    pub(crate) fn note_last_uses(&mut self) {
        let mut seen = vec![false; self.slots];
        for (_, slot) in &self.outputs {
            seen[*slot] = true;
        }
        for node in self.nodes.iter_mut().rev() {
            let touched = node.touched();
            let last =
                touched.into_iter().filter(|slot| !std::mem::replace(&mut seen[*slot], true));
            node.frees = last.collect();
        }
    }
}

impl Node {
    /// All values that it uses or gives.
    pub(crate) fn touched(&self) -> Vec<usize> {
        let own = self.inputs.iter().chain(&self.outputs).flatten().copied();
        own.chain(self.captured()).collect()
    }

    /// Values that graphs within it use.
    pub(crate) fn captured(&self) -> impl Iterator<Item = usize> {
        let within = self.attributes.values().filter_map(|attribute| match attribute {
            Attribute::Graph(graph) => Some(graph.captures.iter().map(|(outer, _)| *outer)),
            _ => None,
        });
        within.flatten()
    }
}
