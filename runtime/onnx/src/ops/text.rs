use regex::RegexBuilder;

use super::arithmetic::{broadcast, places};
use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "StringConcat" => concat,
        "StringSplit" => split,
        "StringNormalizer" => normalise,
        "RegexFullMatch" => matches,
        _ => return None,
    })
}

/// Largest compiled expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 22;
/// The smallest that is tried.
const EXPRESSION_BYTES_MIN: usize = 1 << 12;
/// What a state of it takes at least.
const STATE_BYTES: usize = 16;

fn texts<'a>(args: &Args<'a>, at: usize) -> Outcome<&'a [String]> {
    let x = args.tensor(at)?;
    x.elements().ok_or_else(|| format!("texts are expected, not {:?}", x.kind()))
}

fn concat(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, y) = (texts(args, 0)?, texts(args, 1)?);
    let (of_x, of_y) = (args.tensor(0)?.shape(), args.tensor(1)?.shape());
    let shape = broadcast(of_x, of_y)?;
    let (from_x, from_y) = (places(of_x, &shape)?, places(of_y, &shape)?);
    let pairs = || from_x.iter().zip(&from_y).map(|(a, b)| (&x[*a], &y[*b]));
    bounds::texts(pairs().map(|(x, y)| x.len() + y.len()))?;
    Tensor::new(shape, pairs().map(|(x, y)| format!("{x}{y}")).collect()).map(one)
}

/// The parts of a text, at most so many cuts.
fn parts<'a>(text: &'a str, delimiter: &str, cuts: usize) -> Vec<&'a str> {
    if !delimiter.is_empty() {
        return text.splitn(cuts.saturating_add(1), delimiter).collect();
    }
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && parts.len() < cuts {
        let (part, behind) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        parts.push(part);
        rest = behind.trim_start();
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

fn split(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = texts(args, 0)?;
    let delimiter = args.text("delimiter", "");
    let cuts = args.maybe_int("maxsplit").and_then(|cuts| usize::try_from(cuts).ok());
    bounds::texts(x.iter().map(String::len))?;
    let all: Vec<Vec<&str>> =
        x.iter().map(|text| parts(text, delimiter, cuts.unwrap_or(usize::MAX))).collect();
    let most = all.iter().map(Vec::len).max().unwrap_or(0);
    let mut shape = args.tensor(0)?.shape().to_vec();
    let counts = all.iter().map(|parts| parts.len() as i64).collect();
    let counts = Tensor::new(shape.clone(), counts)?;
    shape.push(most);
    count(&shape)?;
    let padded = |parts: &Vec<&str>| {
        let missing = std::iter::repeat_n("", most - parts.len());
        parts.iter().copied().chain(missing).map(str::to_owned).collect::<Vec<_>>()
    };
    let elements = all.iter().flat_map(padded).collect();
    Ok(vec![Tensor::new(shape, elements)?.into(), counts.into()])
}

/// Without some words, and in one case.
fn normalise(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = texts(args, 0)?;
    let lead = match args.tensor(0)?.shape() {
        [_] => Vec::new(),
        [1, _] => vec![1],
        shape => return Err(format!("[texts] or [1, texts] is expected, not {shape:?}")),
    };
    let exact = args.flag("is_case_sensitive");
    let folded = |text: &str| if exact { text.to_owned() } else { text.to_lowercase() };
    let change: fn(&str) -> String = match args.text("case_change_action", "NONE") {
        "LOWER" => |text| text.to_lowercase(),
        "UPPER" => |text| text.to_uppercase(),
        "NONE" => |text| text.to_owned(),
        other => return Err(format!("there is no change of case `{other}`")),
    };
    let stops: Vec<String> =
        args.texts("stopwords").unwrap_or_default().iter().map(|word| folded(word)).collect();
    // A letter may become three in another case.
    bounds::texts(x.iter().map(|text| 3 * text.len()))?;
    let bytes = x.iter().fold(x.len(), |bytes, text| bytes.saturating_add(text.len()));
    bounds::work(&[bytes, stops.len()])?;
    let kept = x.iter().filter(|text| !stops.contains(&folded(text)));
    let mut words: Vec<String> = kept.map(|text| change(text)).collect();
    if words.is_empty() {
        words.push(String::new());
    }
    let mut shape = lead;
    shape.push(words.len());
    Tensor::new(shape, words).map(one)
}

/// Whether each text as a whole matches an expression. To look at a byte takes at most as many steps as
/// the expression has states, which its compiled size tells.
fn matches(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = texts(args, 0)?;
    let pattern = args.text("pattern", "");
    let compiled = |pattern: &str, bytes: usize| {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(bytes).dfa_size_limit(bytes).build()
    };
    let bad = |error: regex::Error| format!("`{pattern:.100}` is not accepted: {error}");
    bounds::work(&[EXPRESSION_BYTES_MAX + pattern.len()])?;
    // Alone as well, since it might end the group that it is put into.
    compiled(pattern, EXPRESSION_BYTES_MAX).map_err(bad)?;
    let whole = format!(r"\A(?:{pattern})\z");
    let mut bytes = EXPRESSION_BYTES_MIN;
    let expression = loop {
        match compiled(&whole, bytes) {
            Ok(expression) => break expression,
            Err(regex::Error::CompiledTooBig(_)) if bytes < EXPRESSION_BYTES_MAX => bytes *= 2,
            Err(error) => return Err(bad(error)),
        }
    };
    let length = x.iter().fold(x.len(), |sum, text| sum.saturating_add(text.len()));
    bounds::work(&[length, bytes / STATE_BYTES])?;
    let flags = x.iter().map(|text| expression.is_match(text)).collect();
    Tensor::new(args.tensor(0)?.shape().to_vec(), flags).map(one)
}
