//! Changes to models and tensors, of their bytes and of what these say.

use super::super::*;

/// Numbers by chance, the same for the same seed (Steele and others, "SplitMix").
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const INTEGERS: [i64; 24] = [
    0,
    0,
    1,
    1,
    2,
    3,
    4,
    5,
    7,
    64,
    -1,
    -2,
    -3,
    -5,
    1 << 16,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    -(1 << 31),
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    i64::MIN + 1,
];

const FLOATS: [f32; 14] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    -1.0,
    2.0,
    3.7,
    1e30,
    -1e30,
    1e-30,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    -2.5,
];

/// Attributes that some operators have.
const NAMES: [&str; 40] = [
    "axis",
    "axes",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "group",
    "keepdims",
    "to",
    "perm",
    "mode",
    "blocksize",
    "num_outputs",
    "batch_dims",
    "ceil_mode",
    "auto_pad",
    "size",
    "k",
    "layout",
    "direction",
    "hidden_size",
    "num_groups",
    "shape",
    "epsilon",
    "clip",
    "antialias",
    "output_shape",
    "output_padding",
    "count_include_pad",
    "storage_order",
    "allowzero",
    "scale",
    "q_num_heads",
    "kv_num_heads",
    "is_causal",
    "num_scan_inputs",
    "dtype",
    "seed",
    "split",
    "block_size",
];

const WORDS: [&str; 12] = [
    "",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "reverse",
    "bidirectional",
    "cubic",
    "linear",
    "reflect",
    "...i,......->",
    "(a|b)*{1000}",
    "none",
];

/// A number near another one, or one that is known to hurt.
fn integer(old: i64, chance: &mut Chance) -> i64 {
    match chance.below(4) {
        0 => old.wrapping_add(chance.of(&[-1, 1, 2, -2])),
        1 => old.wrapping_neg(),
        _ => chance.of(&INTEGERS),
    }
}

fn bytes(all: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..=chance.below(3) {
        let at = chance.below(all.len());
        match chance.below(4) {
            0 if !all.is_empty() => all[at] ^= 1 << chance.below(8),
            1 if !all.is_empty() => all[at] = chance.of(&[0, 1, 0x7f, 0x80, 0xff, 10, 2]),
            2 if !all.is_empty() => drop(all.remove(at)),
            _ => all.insert(at, chance.next() as u8),
        }
    }
}

/// Adds a number, takes one away, or changes one.
fn list<T: Copy>(all: &mut Vec<T>, new: T, chance: &mut Chance) {
    let at = chance.below(all.len());
    match chance.below(5) {
        0 => all.insert(at.min(all.len()), new),
        1 if !all.is_empty() => drop(all.remove(at)),
        _ if !all.is_empty() => all[at] = new,
        _ => {}
    }
}

/// How many bits an element has, as a file's type of elements says.
fn bits(data_type: i32) -> usize {
    match data_type {
        1 | 6 | 12 => 32,
        4 | 5 | 10 | 16 => 16,
        7 | 11 | 13 => 64,
        21..=23 => 4,
        25 | 26 => 2,
        _ => 8,
    }
}

/// Elements as many as the shape says, where these are few.
fn filled(tensor: &mut proto::Tensor, chance: &mut Chance) {
    let all = tensor.dims.iter().try_fold(1i64, |all, dim| all.checked_mul(*dim));
    let Some(all) = all.and_then(|all| usize::try_from(all).ok()).filter(|all| *all < 4096) else {
        return;
    };
    let (name, dims, data_type) = (tensor.name.clone(), tensor.dims.clone(), tensor.data_type);
    *tensor = proto::Tensor { name, dims, data_type, ..Default::default() };
    match data_type {
        1 => tensor.float_data = (0..all).map(|_| chance.of(&FLOATS)).collect(),
        7 => tensor.int64_data = (0..all).map(|_| chance.of(&INTEGERS)).collect(),
        8 => tensor.string_data = (0..all).map(|_| chance.of(&WORDS).into()).collect(),
        _ => {
            let bytes = (all * bits(data_type)).div_ceil(8);
            tensor.raw_data = (0..bytes).map(|_| chance.next() as u8).collect();
        }
    }
}

fn tensor(tensor: &mut proto::Tensor, chance: &mut Chance) {
    match chance.below(6) {
        0 => {
            let new = integer(1, chance);
            list(&mut tensor.dims, new, chance);
        }
        1 | 2 => {
            // A size that can be had.
            let new = chance.of(&[0, 1, 2, 3, 5, 8]);
            list(&mut tensor.dims, new, chance);
            filled(tensor, chance);
        }
        3 => {
            tensor.data_type = i32::try_from(chance.below(28)).unwrap();
            filled(tensor, chance);
        }
        4 => filled(tensor, chance),
        _ => bytes(&mut tensor.raw_data, chance),
    }
}

fn attribute(attribute: &mut proto::Attribute, chance: &mut Chance) {
    match chance.below(8) {
        0 => attribute.name = chance.of(&NAMES).to_owned(),
        1 => attribute.r#type = i32::try_from(chance.below(10)).unwrap(),
        _ => {}
    }
    attribute.i = integer(attribute.i, chance);
    attribute.f = chance.of(&FLOATS);
    let new = integer(attribute.ints.first().copied().unwrap_or(0), chance);
    list(&mut attribute.ints, new, chance);
    let new = chance.of(&FLOATS);
    list(&mut attribute.floats, new, chance);
    if chance.one_in(2) {
        attribute.s = chance.of(&WORDS).into();
    }
    if let Some(within) = &mut attribute.t {
        tensor(within, chance);
    }
    if let Some(within) = &mut attribute.g {
        graph(within, chance);
    }
}

fn node(node: &mut proto::Node, chance: &mut Chance) {
    match chance.below(8) {
        0 => {
            let (r#type, i) = (2, chance.of(&INTEGERS));
            let ints = vec![chance.of(&INTEGERS); chance.below(5)];
            let name = chance.of(&NAMES).to_owned();
            let r#type = if chance.one_in(2) { 7 } else { r#type };
            node.attribute.push(proto::Attribute { name, r#type, i, ints, ..Default::default() });
        }
        1 if !node.attribute.is_empty() => {
            node.attribute.remove(chance.below(node.attribute.len()));
        }
        2 if !node.input.is_empty() => {
            let (from, to) = (chance.below(node.input.len()), chance.below(node.input.len()));
            node.input[to] = node.input[from].clone();
        }
        3 if !node.input.is_empty() => {
            let at = chance.below(node.input.len());
            node.input[at].clear();
        }
        4 => drop(node.input.pop()),
        _ if !node.attribute.is_empty() => {
            let at = chance.below(node.attribute.len());
            attribute(&mut node.attribute[at], chance);
        }
        _ => {}
    }
}

fn graph(graph: &mut proto::Graph, chance: &mut Chance) {
    let (nodes, tensors) = (graph.node.len(), graph.initializer.len());
    match chance.below(4) {
        0 if tensors > 0 => tensor(&mut graph.initializer[chance.below(tensors)], chance),
        1 if nodes > 1 => {
            let (from, to) = (chance.below(nodes), chance.below(nodes));
            graph.node[to].op_type = graph.node[from].op_type.clone();
        }
        _ if nodes > 0 => node(&mut graph.node[chance.below(nodes)], chance),
        _ => {}
    }
}

/// A model that says something else.
pub(super) fn model(file: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut file = file.to_vec();
    if chance.one_in(4) {
        bytes(&mut file, chance);
        return file;
    }
    let Ok(mut model) = proto::Model::decode(&file[..]) else { return file };
    for _ in 0..=chance.below(3) {
        match (&mut model.graph, chance.one_in(12)) {
            (_, true) => {
                let version = chance.of(&[1, 5, 7, 8, 9, 10, 11, 12, 13, 18, 22, -1]);
                model.opset_import.iter_mut().for_each(|set| set.version = version);
            }
            (Some(within), false) => graph(within, chance),
            (None, false) => {}
        }
    }
    model.encode_to_vec()
}

/// A value that says something else.
pub(super) fn input(file: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut file = file.to_vec();
    match proto::Tensor::decode(&file[..]) {
        Ok(mut value) if !chance.one_in(4) => {
            (0..=chance.below(2)).for_each(|_| tensor(&mut value, chance));
            value.encode_to_vec()
        }
        _ => {
            bytes(&mut file, chance);
            file
        }
    }
}

/// Makes some inputs constants of the model, which it is then prepared for.
pub(super) fn fixed(
    file: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    chance: &mut Chance,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let Ok(mut model) = proto::Model::decode(&file[..]) else { return (file, inputs) };
    let Some(graph) = &mut model.graph else { return (file, inputs) };
    let (mut infos, mut left) = (Vec::new(), Vec::new());
    for (info, input) in std::mem::take(&mut graph.input).into_iter().zip(inputs) {
        match proto::Tensor::decode(&input[..]) {
            Ok(mut tensor) if !chance.one_in(3) => {
                tensor.name = info.name;
                graph.initializer.push(tensor);
            }
            _ => {
                infos.push(info);
                left.push(input);
            }
        }
    }
    graph.input = infos;
    (model.encode_to_vec(), left)
}
