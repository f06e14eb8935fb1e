use std::cmp::Ordering;

use super::slice::{around, chosen_along};
use super::{Op, pairs};
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Data, Tensor, Value};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Unique" => unique,
        "NonMaxSuppression" => suppress,
        _ => return None,
    })
}

/// Two slices of a tensor, element by element.
fn ordering(x: &Tensor, (one, other): (&[usize], &[usize])) -> Ordering {
    let compare = |(a, b): (&usize, &usize)| match x.data() {
        Data::Text(all) => all[*a].cmp(&all[*b]),
        Data::F32(all) => all[*a].total_cmp(&all[*b]),
        Data::F64(all) => all[*a].total_cmp(&all[*b]),
        Data::I64(all) => all[*a].cmp(&all[*b]),
        Data::U64(all) => all[*a].cmp(&all[*b]),
        Data::I32(all) => all[*a].cmp(&all[*b]),
        Data::U8(all) => all[*a].cmp(&all[*b]),
        Data::I8(all) => all[*a].cmp(&all[*b]),
        Data::Bool(all) => all[*a].cmp(&all[*b]),
        _ => Ordering::Equal,
    };
    one.iter().zip(other).map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn unique(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let (x, axis) = match args.maybe_int("axis") {
        Some(axis) => (input.clone(), input.axis(axis)?),
        None => (input.reshaped(vec![input.len()])?, 0),
    };
    let (before, size, behind) = around(x.shape(), axis);
    let slice = |at: usize| -> Vec<usize> {
        let row = |row: usize| (row * size + at) * behind;
        (0..before).flat_map(|at| row(at)..row(at) + behind).collect()
    };
    let slices: Vec<Vec<usize>> = (0..size).map(slice).collect();
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| ordering(&x, (&slices[*a], &slices[*b])).then(a.cmp(b)));
    // Runs of the same, each with those that are alike in it.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in order {
        match groups.last_mut() {
            Some(group) if ordering(&x, (&slices[group[0]], &slices[at])).is_eq() => group.push(at),
            _ => groups.push(vec![at]),
        }
    }
    if args.int("sorted", 1) == 0 {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0i64; size];
    for (number, group) in groups.iter().enumerate() {
        group.iter().for_each(|at| inverse[*at] = number as i64);
    }
    let firsts: Vec<usize> = groups.iter().map(|group| group[0]).collect();
    Ok(vec![
        chosen_along(&x, axis, &firsts)?.into(),
        Tensor::vector(firsts.iter().map(|at| *at as i64).collect()).into(),
        Tensor::vector(inverse).into(),
        Tensor::vector(groups.iter().map(|group| group.len() as i64).collect()).into(),
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
    let ([batch, count, 4], &[_, classes, of_scores]) = (boxes.shape(), scores.shape()) else {
        return Err(
            "boxes [batch, boxes, 4] and scores [batch, classes, boxes] are expected".to_owned()
        );
    };
    if of_scores != *count {
        return Err(format!("{of_scores} scores are there for {count} boxes"));
    }
    let number = |at: usize| args.given(at)?.map(Tensor::number).transpose();
    let most = args.given(2)?.map(Tensor::integer).transpose()?.unwrap_or(0).max(0) as usize;
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
            let free = kept.iter().all(|other| overlap(&of(at), &of(*other)) <= share);
            if kept.len() < most && free {
                kept.push(at);
            }
        }
        chosen.extend(kept.iter().flat_map(|at| [item as i64, class as i64, *at as i64]));
    }
    Ok(vec![Tensor::new(vec![chosen.len() / 3, 3], chosen)?.into()])
}
