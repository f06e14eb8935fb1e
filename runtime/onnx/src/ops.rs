//! Operators, by their names in the specification ("ONNX Operators", "ONNX-ML Operators").

use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value};

/// Sums, products and the like, with broadcasting.
pub(crate) mod arithmetic;
/// Between types, and quantised numbers.
mod cast;
/// Graphs within graphs, sequences, and what may not be there.
mod control;
/// Convolutions.
pub(crate) mod conv;
/// Losses.
mod loss;
/// Attention, and where a token stands.
mod attention;
/// Other sizes, by interpolation.
mod resize;
/// Recurrent layers.
mod recurrent;
/// Products by the names of dimensions.
mod einsum;
/// What is found among elements.
mod search;
/// Picking elements by numbers, and putting them.
mod gather;
/// Comparisons, and bits.
mod logic;
/// Functions of one number.
pub(crate) mod math;
/// Normalisations.
mod norm;
/// Pooling.
mod pool;
/// What undoes pooling and cutting into blocks.
mod fold;
/// Places in a tensor by grids.
mod grid;
/// Convolutions that look where they are told.
mod deform;
/// Regions of images.
mod region;
/// Frequencies of signals.
mod signal;
/// Texts.
mod text;
/// Counts of sequences of items.
mod grams;
/// Numbers by chance.
mod random;
/// Labels and single features.
mod features;
/// Trees of decisions.
mod trees;
/// Steps of optimisers.
mod learn;
/// Products of matrices.
mod product;
/// Many numbers to one.
mod reduce;
/// Other shapes.
mod shape;
/// Slices, and what is put around them.
mod slice;

pub(crate) use arithmetic::walk;
pub(crate) use shape::reshaped;

/// What a node does with its inputs.
pub(crate) type Op = fn(&Args<'_>) -> Outcome<Vec<Value>>;

/// One tensor as an operator's outputs.
pub(crate) fn one(tensor: Tensor) -> Vec<Value> {
    vec![tensor.into()]
}

/// Every pair of two numbers below these, the second one going faster.
fn pairs(first: usize, second: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..first).flat_map(move |one| (0..second).map(move |other| (one, other)))
}

/// Finds operators of a theme by their names.
type Find = fn(&str) -> Option<Op>;

/// The standard operators.
const STANDARD: [Find; 27] = [
    arithmetic::find,
    logic::find,
    math::find,
    cast::find,
    shape::find,
    slice::find,
    gather::find,
    reduce::find,
    product::find,
    conv::find,
    pool::find,
    norm::find,
    loss::find,
    attention::find,
    resize::find,
    recurrent::find,
    einsum::find,
    search::find,
    control::find,
    fold::find,
    grid::find,
    deform::find,
    region::find,
    signal::find,
    text::find,
    grams::find,
    random::find,
];

/// An operator, where there is one of this name.
pub(crate) fn find(domain: &str, name: &str) -> Option<Op> {
    let families: &[Find] = match domain {
        "" => &STANDARD,
        "ai.onnx.ml" => &[features::find, trees::find],
        "ai.onnx.preview.training" => &[learn::find],
        _ => return None,
    };
    families.iter().find_map(|find| find(name))
}
