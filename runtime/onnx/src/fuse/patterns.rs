use super::Plan;
use crate::graph::Attribute;
use crate::ops;

/// Joins nodes that are one operator together.
pub(super) fn join(plan: &mut Plan<'_>) {
    for at in 0..plan.nodes.len() {
        let kind = plan.nodes[at].as_ref().map_or("", |node| node.kind.as_str());
        let _joined = match kind {
            "Erf" => gelu(plan, at),
            "Sigmoid" => gated(plan, (at, "Swish")),
            "HardSigmoid" => hard_swish(plan, at),
            "Sqrt" => layer_norm(plan, at),
            _ => None,
        };
    }
}

/// `x / 2 (1 + erf(x / sqrt 2))`, with the half at either place.
fn gelu(plan: &mut Plan<'_>, erf: usize) -> Option<()> {
    let inner = plan.input(erf, 0)?;
    let first = plan.makers[inner].filter(|_| plan.uses[inner] == 1)?;
    let x = match plan.nodes[first].as_ref()?.kind.as_str() {
        "Div" if plan.input(first, 1).is_some_and(|slot| plan.is_constant(slot)) => {
            plan.beside(first, std::f64::consts::SQRT_2)?
        }
        "Mul" => plan.beside(first, std::f64::consts::FRAC_1_SQRT_2)?,
        _ => return None,
    };
    let sum = plan.only_user(erf)?;
    plan.is(sum, "Add")?;
    plan.beside(sum, 1.0)?;
    let product = plan.only_user(sum)?;
    plan.is(product, "Mul")?;
    let other = plan.other(product, plan.output(sum)?)?;
    let (last, mut gone) = (product, vec![first, erf, sum, product]);
    let last = if other == x {
        let half = plan.only_user(last)?;
        plan.is(half, "Mul")?;
        plan.beside(half, 0.5)?;
        gone.push(half);
        half
    } else {
        let half = plan.maker(other, "Mul")?;
        if plan.only_user(half)? != product || plan.beside(half, 0.5)? != x {
            return None;
        }
        gone.push(half);
        product
    };
    put(plan, &gone, last, ("Gelu", vec![Some(x)]))
}

/// `x sigmoid(x)`.
fn gated(plan: &mut Plan<'_>, (at, kind): (usize, &'static str)) -> Option<()> {
    let x = plan.input(at, 0)?;
    let product = plan.only_user(at)?;
    plan.is(product, "Mul")?;
    if plan.other(product, plan.output(at)?)? != x {
        return None;
    }
    put(plan, &[at, product], product, (kind, vec![Some(x)]))
}

fn hard_swish(plan: &mut Plan<'_>, at: usize) -> Option<()> {
    let node = plan.is(at, "HardSigmoid")?;
    let is = |name: &str, default: f32, wanted: f32| {
        let found = match node.attributes.get(name) {
            Some(Attribute::Float(found)) => *found,
            _ => default,
        };
        (found - wanted).abs() < 1e-6
    };
    if !is("alpha", 0.2, 1.0 / 6.0) || !is("beta", 0.5, 0.5) {
        return None;
    }
    gated(plan, (at, "HardSwish"))
}

/// `(x - mean) / sqrt(mean of squares + epsilon) scale + bias`, over the last dimension.
fn layer_norm(plan: &mut Plan<'_>, root: usize) -> Option<()> {
    let sum = plan.maker(plan.input(root, 0)?, "Add")?;
    let (variance, epsilon) = plan.beside_constant(sum)?;
    let epsilon = plan.scalar(Some(epsilon))?;
    let squares = plan.maker(variance, "ReduceMean")?;
    let power = plan.makers[plan.input(squares, 0)?]?;
    let centred = plan.input(power, 0)?;
    match plan.nodes[power].as_ref()?.kind.as_str() {
        "Pow" if plan.scalar(plan.input(power, 1)) == Some(2.0) => {}
        "Mul" if plan.input(power, 1) == Some(centred) => {}
        _ => return None,
    }
    let difference = plan.maker(centred, "Sub")?;
    let (x, mean) = (plan.input(difference, 0)?, plan.input(difference, 1)?);
    let means = plan.maker(mean, "ReduceMean")?;
    if plan.input(means, 0)? != x || !is_last(plan, means) || !is_last(plan, squares) {
        return None;
    }
    let ratio = plan.only_user(root)?;
    plan.is(ratio, "Div")?;
    let squared = if plan.input(power, 1) == Some(centred) { 2 } else { 1 };
    if plan.input(ratio, 0)? != centred
        || plan.uses[centred] != squared + 1
        || plan.uses[mean] != 1
        || [sum, squares, power].into_iter().any(|at| plan.only_user(at).is_none())
    {
        return None;
    }
    let scaled = plan.only_user(ratio)?;
    plan.is(scaled, "Mul")?;
    let (_, scale) = plan.beside_constant(scaled)?;
    let shifted = plan.only_user(scaled)?;
    plan.is(shifted, "Add")?;
    let (_, bias) = plan.beside_constant(shifted)?;
    let rank = |slot: usize| plan.shape(Some(slot)).map_or(0, <[usize]>::len);
    if rank(scale) != 1 || rank(bias) != 1 {
        return None;
    }
    let gone = [means, difference, power, squares, sum, root, ratio, scaled, shifted];
    let inputs = vec![Some(x), Some(scale), Some(bias)];
    put(plan, &gone, shifted, ("LayerNormalization", inputs))?;
    let node = plan.nodes[shifted].take()?;
    plan.nodes[shifted] = Some(node.with("epsilon", Attribute::Float(epsilon as f32)));
    Some(())
}

/// Whether a node reduces the last dimension alone, and keeps it.
fn is_last(plan: &Plan<'_>, at: usize) -> bool {
    let Some(node) = plan.nodes[at].as_ref() else { return false };
    let keeps = !matches!(node.attributes.get("keepdims"), Some(Attribute::Int(0)));
    let by_attribute =
        matches!(node.attributes.get("axes"), Some(Attribute::Ints(axes)) if axes[..] == [-1]);
    let axes = plan.constant(plan.input(at, 1)).and_then(|axes| axes.integers().ok());
    keeps && (by_attribute || axes.is_some_and(|axes| axes[..] == [-1]))
}

fn put(
    plan: &mut Plan<'_>,
    gone: &[usize],
    at: usize,
    (kind, inputs): (&str, Vec<Option<usize>>),
) -> Option<()> {
    let op = ops::find("", kind)?;
    // The value is used once for all that used it in the pattern.
    let node = plan.nodes[at].as_ref()?.renamed(kind, op, inputs);
    for slot in gone
        .iter()
        .filter_map(|at| plan.nodes[*at].as_ref())
        .flat_map(|node| node.used())
        .collect::<Vec<_>>()
    {
        plan.uses[slot] = plan.uses[slot].saturating_sub(1);
    }
    for slot in node.inputs.iter().flatten() {
        plan.uses[*slot] += 1;
    }
    plan.replace(gone, at, node);
    Some(())
}
