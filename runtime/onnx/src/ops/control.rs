use super::gather::without;
use super::slice::{concat, part};
use super::{Op, one};
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, axis_of, count_parts};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "If" => branch,
        "Loop" => repeat,
        "Scan" => scan,
        "SequenceConstruct" => |args| Ok(vec![Value::Sequence(all(args)?)]),
        "SequenceEmpty" => |_args| Ok(vec![Value::Sequence(Vec::new())]),
        "SequenceLength" => |args| Ok(one(Tensor::scalar(args.sequence(0)?.len() as i64))),
        "SequenceAt" => at,
        "SequenceInsert" => insert,
        "SequenceErase" => erase,
        "SequenceMap" => map,
        "ConcatFromSequence" => join,
        "SplitToSequence" => split,
        "Optional" => |args| Ok(vec![Value::Optional(args.value(0).cloned().map(Box::new))]),
        "OptionalHasElement" => |args| {
            let is_there = !matches!(args.value(0), None | Some(Value::Optional(None)));
            Ok(one(Tensor::scalar(is_there)))
        },
        "OptionalGetElement" => |args| match args.value(0) {
            Some(Value::Optional(Some(value))) => Ok(vec![(**value).clone()]),
            Some(Value::Optional(None)) | None => Err("there is no element".to_owned()),
            Some(value) => Ok(vec![value.clone()]),
        },
        _ => return None,
    })
}

/// All inputs, which must be there.
fn all(args: &Args<'_>) -> Outcome<Vec<Value>> {
    (0..args.inputs.len())
        .map(|at| args.value(at).cloned().ok_or_else(|| format!("input {at} is missing")))
        .collect()
}

fn flag(value: &Value) -> Outcome<bool> {
    match value {
        Value::Tensor(tensor) => {
            tensor.flags()?.first().copied().ok_or_else(|| "a condition is missing".to_owned())
        }
        _ => Err("a condition must be a tensor".to_owned()),
    }
}

fn branch(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let taken = flag(args.value(0).ok_or_else(|| "the condition is missing".to_owned())?)?;
    args.inner(args.graph(if taken { "then_branch" } else { "else_branch" })?, Vec::new())
}

fn tensor(value: Value) -> Outcome<Tensor> {
    match value {
        Value::Tensor(tensor) => Ok(tensor),
        _ => Err("a tensor is expected".to_owned()),
    }
}

/// Tensors of one shape as one, with a dimension for their number.
fn stacked(parts: &[Tensor], axis: i64, backwards: bool) -> Outcome<Tensor> {
    let Some(first) = parts.first() else {
        return Err("of no round the shape cannot be told".to_owned());
    };
    let axis = axis_of(axis, first.rank() + 1)?;
    if let Some(other) = parts.iter().find(|part| part.shape() != first.shape()) {
        let (one, other) = (first.shape(), other.shape());
        return Err(format!("the shapes {one:?} and {other:?} do not go together"));
    }
    let mut longer: Vec<Tensor> = Vec::with_capacity(parts.len());
    for part in parts {
        let mut shape = part.shape().to_vec();
        shape.insert(axis, 1);
        longer.push(part.reshaped(shape)?);
    }
    if backwards {
        longer.reverse();
    }
    concat(&longer.iter().collect::<Vec<_>>(), axis as i64)
}

fn repeat(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let body = args.graph("body")?;
    let most = args.given(0)?.map(Tensor::integer).transpose()?.unwrap_or(i64::MAX);
    let mut goes_on = args.value(1).map(flag).transpose()?.unwrap_or(true);
    let mut carried: Vec<Value> =
        (2..args.inputs.len()).filter_map(|at| args.value(at).cloned()).collect();
    let mut scanned: Vec<Vec<Tensor>> = Vec::new();
    let mut kept = args.holding();
    let mut round = 0;
    while goes_on && round < most {
        let mut inputs =
            vec![Some(Tensor::scalar(round).into()), Some(Tensor::scalar(goes_on).into())];
        inputs.extend(carried.iter().cloned().map(Some));
        let mut outputs = args.inner(body, inputs)?.into_iter();
        goes_on = outputs.next().as_ref().map(flag).transpose()?.unwrap_or(false);
        carried = outputs.by_ref().take(carried.len()).collect();
        for (at, value) in outputs.enumerate() {
            if scanned.len() <= at {
                scanned.push(Vec::new());
            }
            kept.add(&value)?;
            scanned[at].push(tensor(value)?);
        }
        round += 1;
    }
    let wanted = args.outputs().saturating_sub(carried.len());
    scanned.resize(wanted.max(scanned.len()), Vec::new());
    for parts in scanned.iter().take(wanted) {
        carried.push(stacked(parts, 0, false)?.into());
    }
    Ok(carried)
}

/// The newer form, and the oldest with its batch of one level more.
fn scan(args: &Args<'_>) -> Outcome<Vec<Value>> {
    if args.node.version < 9 {
        return scan_batches(args);
    }
    let inputs = all(args)?;
    scan_one(args, &inputs, true)
}

fn scan_batches(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let inputs: Vec<Tensor> =
        (1..args.inputs.len()).map(|at| args.tensor(at).cloned()).collect::<Outcome<_>>()?;
    let batch = inputs.first().and_then(|x| x.shape().first().copied()).unwrap_or(0);
    let mut outputs: Vec<Vec<Tensor>> = Vec::new();
    let mut kept = args.holding();
    for item in 0..batch {
        let own = inputs.iter().map(|x| {
            let shape = x.shape().get(1..).unwrap_or_default().to_vec();
            Ok(part(x, 0, (item, 1))?.reshaped(shape)?.into())
        });
        let own = own.collect::<Outcome<Vec<Value>>>()?;
        for (at, value) in scan_one(args, &own, false)?.into_iter().enumerate() {
            if outputs.len() <= at {
                outputs.push(Vec::new());
            }
            kept.add(&value)?;
            outputs[at].push(tensor(value)?);
        }
    }
    outputs.iter().map(|parts| Ok(stacked(parts, 0, false)?.into())).collect()
}

fn scan_one(args: &Args<'_>, inputs: &[Value], has_axes: bool) -> Outcome<Vec<Value>> {
    let body = args.graph("body")?;
    let scans = usize::try_from(args.int("num_scan_inputs", 0)).unwrap_or(0);
    let states = inputs.len().checked_sub(scans).ok_or_else(|| "inputs are missing".to_owned())?;
    let nth = |name: &str, at: usize| {
        let all = if has_axes { args.ints(name) } else { None };
        all.and_then(|all| all.get(at).copied()).unwrap_or(0)
    };
    let (mut carried, scanned) = (inputs[..states].to_vec(), &inputs[states..]);
    let mut slices = Vec::new();
    for (at, value) in scanned.iter().enumerate() {
        let x = tensor(value.clone())?;
        let axis = x.axis(nth("scan_input_axes", at))?;
        let size = x.shape()[axis];
        slices.push((x, axis, size, nth("scan_input_directions", at) == 1));
    }
    let rounds = slices.first().map_or(0, |(_, _, size, _)| *size);
    let mut collected: Vec<Vec<Tensor>> =
        vec![Vec::new(); body.outputs.len().saturating_sub(states)];
    let mut kept = args.holding();
    for round in 0..rounds {
        let mut given: Vec<Option<Value>> = carried.into_iter().map(Some).collect();
        for (x, axis, size, backwards) in &slices {
            let at = if *backwards { size.saturating_sub(round + 1) } else { round };
            let shape = without(x.shape(), *axis, false);
            given.push(Some(part(x, *axis, (at, 1))?.reshaped(shape)?.into()));
        }
        let mut outputs = args.inner(body, given)?.into_iter();
        carried = outputs.by_ref().take(states).collect();
        for (parts, value) in collected.iter_mut().zip(outputs) {
            kept.add(&value)?;
            parts.push(tensor(value)?);
        }
    }
    for (at, parts) in collected.iter().enumerate() {
        let backwards = nth("scan_output_directions", at) == 1;
        carried.push(stacked(parts, nth("scan_output_axes", at), backwards)?.into());
    }
    Ok(carried)
}

/// A place in a sequence; one behind the last too, where something may be put.
fn place(at: i64, length: usize) -> Outcome<usize> {
    let place = if at < 0 { at + length as i64 } else { at };
    usize::try_from(place)
        .ok()
        .filter(|place| *place <= length)
        .ok_or_else(|| format!("there is no place {at} of {length}"))
}

fn at(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let values = args.sequence(0)?;
    let at = place(args.tensor(1)?.integer()?, values.len())?;
    values
        .get(at)
        .cloned()
        .map(|value| vec![value])
        .ok_or_else(|| format!("there is no place {at}"))
}

fn insert(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let mut values = args.sequence(0)?.to_vec();
    let at = args.given(2)?.map(Tensor::integer).transpose()?;
    let at = at.map_or(Ok(values.len()), |at| place(at, values.len()))?;
    values.insert(at, args.tensor(1)?.clone().into());
    Ok(vec![Value::Sequence(values)])
}

fn erase(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let mut values = args.sequence(0)?.to_vec();
    let at = args.given(1)?.map(Tensor::integer).transpose()?.unwrap_or(-1);
    let at = place(at, values.len())?;
    if at >= values.len() {
        return Err(format!("there is no place {at} of {}", values.len()));
    }
    values.remove(at);
    Ok(vec![Value::Sequence(values)])
}

fn map(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let body = args.graph("body")?;
    let length = args.sequence(0)?.len();
    let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); body.outputs.len()];
    let mut kept = args.holding();
    for round in 0..length {
        let given = args.inputs.iter().map(|value| match value {
            Some(Value::Sequence(values)) => values.get(round).cloned(),
            value => value.cloned(),
        });
        for (all, value) in outputs.iter_mut().zip(args.inner(body, given.collect())?) {
            kept.add(&value)?;
            all.push(value);
        }
    }
    Ok(outputs.into_iter().map(Value::Sequence).collect())
}

fn join(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let parts = args.sequence(0)?.iter().cloned().map(tensor).collect::<Outcome<Vec<Tensor>>>()?;
    let axis = args.int("axis", 0);
    if args.flag("new_axis") {
        return stacked(&parts, axis, false).map(one);
    }
    concat(&parts.iter().collect::<Vec<_>>(), axis).map(one)
}

fn split(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axis = x.axis(args.int("axis", 0))?;
    let size = x.shape()[axis];
    let (each, keeps) = (args.given(1)?, args.int("keepdims", 1) != 0);
    let sizes: Vec<usize> = match each {
        Some(sizes) if sizes.rank() > 0 => sizes.sizes()?,
        Some(each) => {
            let each = each.sizes()?.first().copied().unwrap_or(0).max(1);
            count_parts(size / each)?;
            (0..size).step_by(each).map(|at| each.min(size - at)).collect()
        }
        None => {
            count_parts(size)?;
            vec![1; size]
        }
    };
    count_parts(sizes.len())?;
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for length in sizes {
        let mut piece = part(x, axis, (start, length))?;
        if each.is_none() && !keeps {
            piece = piece.reshaped(without(x.shape(), axis, false))?;
        }
        parts.push(piece.into());
        start += length;
    }
    Ok(vec![Value::Sequence(parts)])
}
