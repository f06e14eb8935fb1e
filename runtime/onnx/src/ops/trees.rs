use super::math::sigmoid;
use super::norm::probabilities;
use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, as_size, count};

pub(super) fn find(name: &str) -> Option<Op> {
    (name == "TreeEnsemble").then_some(ensemble)
}

/// Where a branch leads.
#[derive(Clone, Copy)]
enum Branch {
    Node(usize),
    Leaf(usize),
}

/// How a node compares a feature with its split.
enum Test {
    LessOrEqual(f64),
    Less(f64),
    GreaterOrEqual(f64),
    Greater(f64),
    Equal(f64),
    NotEqual(f64),
    Member(Vec<f64>),
}

impl Test {
    fn holds(&self, x: f64) -> bool {
        match self {
            Self::LessOrEqual(split) => x <= *split,
            Self::Less(split) => x < *split,
            Self::GreaterOrEqual(split) => x >= *split,
            Self::Greater(split) => x > *split,
            Self::Equal(split) => x == *split,
            Self::NotEqual(split) => x != *split,
            Self::Member(all) => all.contains(&x),
        }
    }

    fn steps(&self) -> usize {
        match self {
            Self::Member(all) => all.len(),
            _ => 1,
        }
    }
}

struct Node {
    feature: usize,
    test: Test,
    /// Where what is no number goes to.
    missing: bool,
    yes: Branch,
    no: Branch,
}

struct Trees {
    nodes: Vec<Node>,
    /// A target and a weight each.
    leaves: Vec<(usize, f64)>,
    roots: Vec<usize>,
}

fn sizes(args: &Args<'_>, name: &str) -> Outcome<Vec<usize>> {
    let all = args.ints(name).ok_or_else(|| format!("`{name}` is missing"))?;
    all.iter().copied().map(as_size).collect()
}

fn numbers(args: &Args<'_>, name: &str) -> Outcome<Vec<f64>> {
    args.constant(name).ok_or_else(|| format!("`{name}` is missing"))?.floats()
}

/// The tests of the nodes; the members of sets stand one set behind the other, each behind its last
/// one with something that is no number.
fn tests(args: &Args<'_>) -> Outcome<Vec<Test>> {
    let members = args.constant("membership_values").map(Tensor::floats).transpose()?;
    let members = members.unwrap_or_default();
    let mut sets = members.split(|member| member.is_nan());
    let (modes, splits) = (numbers(args, "nodes_modes")?, numbers(args, "nodes_splits")?);
    if modes.len() != splits.len() {
        return Err(format!("{} splits are there for {} nodes", splits.len(), modes.len()));
    }
    let mut test = |(mode, split): (f64, f64)| {
        Ok(match mode as i64 {
            0 => Test::LessOrEqual(split),
            1 => Test::Less(split),
            2 => Test::GreaterOrEqual(split),
            3 => Test::Greater(split),
            4 => Test::Equal(split),
            5 => Test::NotEqual(split),
            6 => Test::Member(sets.next().ok_or_else(|| "a set is missing".to_owned())?.to_vec()),
            other => return Err(format!("there is no mode {other} of nodes")),
        })
    };
    modes.into_iter().zip(splits).map(&mut test).collect()
}

impl Trees {
    fn of(args: &Args<'_>, targets: usize) -> Outcome<Self> {
        let leaves = sizes(args, "leaf_targetids")?.into_iter();
        let leaves: Vec<_> = leaves.zip(numbers(args, "leaf_weights")?).collect();
        if leaves.iter().any(|(target, _)| *target >= targets) {
            return Err(format!("a leaf has a target beyond the {targets} that are there"));
        }
        let tests = tests(args)?;
        let branches = |name: &str| -> Outcome<Vec<Branch>> {
            let to = sizes(args, &format!("nodes_{name}nodeids"))?.into_iter();
            let leaf = sizes(args, &format!("nodes_{name}leafs"))?;
            to.zip(leaf)
                .map(|(to, leaf)| match leaf {
                    0 if to < tests.len() => Ok(Branch::Node(to)),
                    0 => Err(format!("there is no node {to} of {}", tests.len())),
                    _ if to < leaves.len() => Ok(Branch::Leaf(to)),
                    _ => Err(format!("there is no leaf {to} of {}", leaves.len())),
                })
                .collect()
        };
        let (yes, no) = (branches("true")?, branches("false")?);
        let features = sizes(args, "nodes_featureids")?;
        let missing = args.ints("nodes_missing_value_tracks_true").unwrap_or_default();
        if [yes.len(), no.len(), features.len()] != [tests.len(); 3] {
            return Err("the lists of nodes are not of one length".to_owned());
        }
        let roots = sizes(args, "tree_roots")?;
        if roots.iter().any(|root| *root >= tests.len()) {
            return Err(format!("a root is not among the {} nodes", tests.len()));
        }
        let parts = tests.into_iter().zip(features).zip(yes.into_iter().zip(no)).enumerate();
        let nodes = parts.map(|(at, ((test, feature), (yes, no)))| Node {
            feature,
            test,
            missing: missing.get(at).is_some_and(|flag| *flag != 0),
            yes,
            no,
        });
        Ok(Self { nodes: nodes.collect(), leaves, roots })
    }

    /// The leaf that a row of features comes to.
    fn leaf(&self, root: usize, row: &[f64]) -> Outcome<(usize, f64)> {
        let mut at = root;
        for _ in 0..self.nodes.len() {
            let node = &self.nodes[at];
            bounds::work(&[node.test.steps()])?;
            let x = row.get(node.feature).copied();
            let x = x.ok_or_else(|| format!("there is no feature {}", node.feature))?;
            let holds = if x.is_nan() && node.missing { true } else { node.test.holds(x) };
            match if holds { node.yes } else { node.no } {
                Branch::Node(next) => at = next,
                Branch::Leaf(leaf) => return Ok(self.leaves[leaf]),
            }
        }
        Err("a tree leads to no leaf".to_owned())
    }
}

fn ensemble(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let &[rows, features] = x.shape() else {
        return Err(format!("[rows, features] is expected, not {:?}", x.shape()));
    };
    let targets = as_size(args.int("n_targets", 0))?;
    let mut results = vec![0.0; count(&[rows, targets])?];
    let trees = Trees::of(args, targets)?;
    let together: fn(f64, f64) -> f64 = match args.int("aggregate_function", 1) {
        0 | 1 => |sum, weight| sum + weight,
        2 => f64::min,
        3 => f64::max,
        other => return Err(format!("there is no function {other} to aggregate with")),
    };
    let divisor = match args.int("aggregate_function", 1) {
        0 => trees.roots.len().max(1) as f64,
        _ => 1.0,
    };
    let numbers = x.floats()?;
    for row in 0..rows {
        let mut found: Vec<Option<f64>> = vec![None; targets];
        for root in &trees.roots {
            let (target, weight) = trees.leaf(*root, &numbers[row * features..][..features])?;
            let found = &mut found[target];
            *found = Some(found.map_or(weight, |sum| together(sum, weight)));
        }
        let scores = found.into_iter().map(|sum| sum.unwrap_or(0.0) / divisor);
        results[row * targets..].iter_mut().zip(scores).for_each(|(to, score)| *to = score);
        let scores = &mut results[row * targets..(row + 1) * targets];
        transform(scores, args.int("post_transform", 0))?;
    }
    Tensor::of_floats(x.kind(), vec![rows, targets], &results).map(one)
}

/// What becomes of the scores of one row.
fn transform(scores: &mut [f64], which: i64) -> Outcome<()> {
    match which {
        0 => {}
        1 => softmax(scores, |_| true),
        2 => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
        // What is zero stays so.
        3 => softmax(scores, |score| score.abs() > 1e-7),
        other => return Err(format!("the transform {other} of scores is not supported")),
    }
    Ok(())
}

/// Probabilities of the scores for which a test holds.
fn softmax(scores: &mut [f64], holds: fn(f64) -> bool) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut chosen: Vec<f64> = scores.iter().filter(|x| holds(**x)).map(|x| x - most).collect();
    probabilities(&mut chosen);
    let places = scores.iter_mut().filter(|score| holds(**score));
    places.zip(chosen).for_each(|(score, share)| *score = share);
}
