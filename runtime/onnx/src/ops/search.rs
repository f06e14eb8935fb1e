use std::cmp::Ordering;

use super::slice::{around, chosen_along};
use super::{Op, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Data, Tensor, Value, small};

/// What sorting takes for each of very many elements.
pub(crate) const SORT_STEPS: usize = 32;

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Unique" => unique,
        "NonMaxSuppression" => suppress,
        _ => return None,
    })
}

/// Compares two elements by their places.
fn ordering(x: &Tensor, one: usize, other: usize) -> Ordering {
    macro_rules! ordered {
        ($($whole:ident),*; $($real:ident),*) => {
            match x.data() {
                $(Data::$whole(all) => all[one].cmp(&all[other]),)*
                $(Data::$real(all) => all[one].total_cmp(&all[other]),)*
                Data::Small(kind, all) => {
                    small::decode(*kind, all[one]).total_cmp(&small::decode(*kind, all[other]))
                }
            }
        };
    }
    ordered!(Text, I8, I16, I32, I64, U8, U16, U32, U64, Bool; F16, Bf16, F32, F64)
}

fn unique(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let (x, axis) = match args.maybe_int("axis") {
        Some(axis) => (input.clone(), input.axis(axis)?),
        None => (input.reshaped(vec![input.len()])?, 0),
    };
    let (before, size, behind) = around(x.shape(), axis);
    let longest = x.elements::<String>().and_then(|all| all.iter().map(String::len).max());
    bounds::work(&[before, size, behind, SORT_STEPS, longest.unwrap_or(1)])?;
    // Slices, element by element.
    let compared = |one: usize, other: usize| {
        let place = |(row, column): (usize, usize), at: usize| (row * size + at) * behind + column;
        let orders = pairs(before, behind).map(|at| ordering(&x, place(at, one), place(at, other)));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| compared(*a, *b).then(a.cmp(b)));
    // The first of those that are alike, how many they are, and for each which group is its own.
    let mut groups: Vec<(usize, i64)> = Vec::new();
    let mut group_of = vec![0; size];
    for at in order {
        match groups.last_mut() {
            Some((first, alike)) if compared(*first, at).is_eq() => *alike += 1,
            _ => groups.push((at, 1)),
        }
        group_of[at] = groups.len() - 1;
    }
    let mut shown: Vec<usize> = (0..groups.len()).collect();
    if args.int("sorted", 1) == 0 {
        shown.sort_by_key(|group| groups[*group].0);
    }
    let mut numbers = vec![0i64; groups.len()];
    shown.iter().zip(0..).for_each(|(group, number)| numbers[*group] = number);
    let firsts: Vec<usize> = shown.iter().map(|group| groups[*group].0).collect();
    let counts = shown.iter().map(|group| groups[*group].1).collect();
    Ok(vec![
        chosen_along(&x, axis, &firsts)?.into(),
        Tensor::vector(firsts.iter().map(|at| *at as i64).collect()).into(),
        Tensor::vector(group_of.into_iter().map(|group| numbers[group]).collect()).into(),
        Tensor::vector(counts).into(),
    ])
}

/// Two corners of a box, the lower one first.
fn corners(of: &[f64], centred: bool) -> [f64; 4] {
    let [a, b, c, d] = [of[0], of[1], of[2], of[3]];
    match centred {
        true => [b - d / 2.0, a - c / 2.0, b + d / 2.0, a + c / 2.0],
        false => [a.min(c), b.min(d), a.max(c), b.max(d)],
    }
}

/// The part that two boxes share.
fn overlap(one: &[f64; 4], other: &[f64; 4]) -> f64 {
    let height = (one[2].min(other[2]) - one[0].max(other[0])).max(0.0);
    let width = (one[3].min(other[3]) - one[1].max(other[1])).max(0.0);
    let area = |of: &[f64; 4]| (of[2] - of[0]) * (of[3] - of[1]);
    let shared = height * width;
    let both = area(one) + area(other) - shared;
    if both > 0.0 { shared / both } else { 0.0 }
}

fn suppress(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (boxes, scores) = (args.tensor(0)?, args.tensor(1)?);
    let ([batch, count, 4], &[items, classes, of_scores]) = (boxes.shape(), scores.shape()) else {
        return Err(
            "boxes [batch, boxes, 4] and scores [batch, classes, boxes] are expected".to_owned()
        );
    };
    if of_scores != *count || items != *batch {
        return Err(format!("scores {:?} do not fit boxes {:?}", scores.shape(), boxes.shape()));
    }
    let number = |at: usize| args.given(at)?.map(Tensor::number).transpose();
    let most = args.given(2)?.map(Tensor::integer).transpose()?.unwrap_or(0).max(0) as usize;
    bounds::work(&[*batch, classes, *count, most.clamp(SORT_STEPS, (*count).max(SORT_STEPS))])?;
    let share = number(3)?.unwrap_or(0.0);
    let least = number(4)?;
    let centred = args.flag("center_point_box");
    let (corner, score) = (boxes.floats()?, scores.floats()?);
    let mut chosen: Vec<i64> = Vec::new();
    for (item, class) in pairs(*batch, classes) {
        let score = &score[(item * classes + class) * count..][..*count];
        let of = |at: usize| corners(&corner[(item * count + at) * 4..][..4], centred);
        let mut order: Vec<usize> =
            (0..*count).filter(|at| least.is_none_or(|least| score[*at] > least)).collect();
        order.sort_by(|a, b| score[*b].total_cmp(&score[*a]).then(a.cmp(b)));
        let mut kept: Vec<usize> = Vec::new();
        for at in order {
            if kept.len() == most {
                break;
            }
            if kept.iter().all(|other| overlap(&of(at), &of(*other)) <= share) {
                kept.push(at);
            }
        }
        chosen.extend(kept.iter().flat_map(|at| [item as i64, class as i64, *at as i64]));
    }
    Ok(vec![Tensor::new(vec![chosen.len() / 3, 3], chosen)?.into()])
}
