//! What one run may take, counted on the thread that runs it.
//!
//! Operators ask before they take memory ([`elements_max`], through `tensor::count`) and before they
//! work for longer than their elements tell ([`work`]). Outside of a run only sizes are bounded.

use std::cell::Cell;

use crate::error::Outcome;
use crate::tensor::ELEMENTS_MAX;

/// What one run of a graph may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most nodes, those of loops each time.
    pub(crate) nodes_max: u64,
    /// Most steps of all nodes; a step is about a multiplication, or a number that is copied.
    pub(crate) steps_max: u64,
    /// Most elements of one tensor, and of all that nodes have given and that are still needed. Texts
    /// count with their bytes.
    pub(crate) elements_max: usize,
}

/// Of a file's own tensors, which take no more memory than the file has.
const READING: Limits =
    Limits { nodes_max: u64::MAX, steps_max: u64::MAX, elements_max: ELEMENTS_MAX };

thread_local! {
    /// What may still be taken.
    static LEFT: Cell<Limits> = const { Cell::new(READING) };
}

/// Limits that hold on this thread until it is dropped.
pub(crate) struct Bounded {
    before: Limits,
}

impl Bounded {
    pub(crate) fn by(limits: Limits) -> Self {
        let elements_max = limits.elements_max.min(ELEMENTS_MAX);
        Self { before: LEFT.replace(Limits { elements_max, ..limits }) }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        LEFT.set(self.before);
    }
}

/// Most elements of a tensor.
pub(crate) fn elements_max() -> usize {
    LEFT.get().elements_max
}

/// How many nodes may still be taken: another number at each of them.
pub(crate) fn nodes_left() -> u64 {
    LEFT.get().nodes_max
}

/// Takes one node; whether there was one.
pub(crate) fn node() -> bool {
    let left = LEFT.get();
    let Some(nodes_max) = left.nodes_max.checked_sub(1) else { return false };
    LEFT.set(Limits { nodes_max, ..left });
    true
}

/// Takes as many steps as these numbers multiplied; a loop that is never entered counts as one step.
pub(crate) fn work(factors: &[usize]) -> Outcome<()> {
    let steps = factors.iter().fold(1usize, |steps, factor| steps.saturating_mul((*factor).max(1)));
    let steps = u64::try_from(steps).unwrap_or(u64::MAX);
    let left = LEFT.get();
    let Some(steps_max) = left.steps_max.checked_sub(steps) else {
        return Err(format!("{steps} more steps are over the limit of the run"));
    };
    LEFT.set(Limits { steps_max, ..left });
    Ok(())
}

/// Asks for texts of these lengths before they are made.
pub(crate) fn texts(lengths: impl Iterator<Item = usize>) -> Outcome<()> {
    let bytes = lengths.fold(0usize, usize::saturating_add);
    work(&[bytes])?;
    room(bytes)
}

/// Whether so many bytes of texts have room.
pub(crate) fn room(bytes: usize) -> Outcome<()> {
    let most = elements_max();
    if bytes > most {
        return Err(format!("texts of {bytes} bytes are more than {most}"));
    }
    Ok(())
}
