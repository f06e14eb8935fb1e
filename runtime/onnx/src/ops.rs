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

/// An operator, where there is one of this name.
pub(crate) fn find(domain: &str, name: &str) -> Option<Op> {
    if !domain.is_empty() {
        return None;
    }
    let families = [
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
    ];
    families.into_iter().find_map(|find| find(name))
}
