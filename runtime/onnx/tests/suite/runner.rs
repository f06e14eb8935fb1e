//! Runs ONNX's own suite for backends, from the folder `backend/test/data` of its Python package.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use emberbox_onnx::{Bounds, Data, Form, Kind, Model, Tensor, Value, read_value};

/// The groups of the suite.
pub(crate) const GROUPS: [&str; 4] = ["node", "simple", "pytorch-converted", "pytorch-operator"];

/// The tolerances of `onnx.backend.test.loader`.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

fn numbered(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    (0..).map_while(|at| std::fs::read(folder.join(format!("{name}_{at}.pb"))).ok()).collect()
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.data() {
        Data::F32(all) => all.iter().map(|x| f64::from(*x)).collect(),
        Data::F64(all) => all.to_vec(),
        Data::F16(all) => all.iter().map(|x| x.to_f64()).collect(),
        Data::Bf16(all) => all.iter().map(|x| x.to_f64()).collect(),
        _ => return None,
    })
}

fn same_tensor(found: &Tensor, expect: &Tensor) -> Result<(), String> {
    if found.kind() != expect.kind() || found.shape() != expect.shape() {
        let (kind, shape) = (found.kind(), found.shape());
        return Err(format!("{kind:?} {shape:?} for {:?} {:?}", expect.kind(), expect.shape()));
    }
    let (Some(x), Some(y)) = (numbers(found), numbers(expect)) else {
        return if found == expect {
            Ok(())
        } else {
            Err(format!("{found:.200?} for {expect:.200?}"))
        };
    };
    let relative = if found.kind() == Kind::Bf16 { 2f64.powi(-6) } else { RELATIVE };
    let close = |x: f64, y: f64| {
        x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= ABSOLUTE + relative * y.abs()
    };
    match x.iter().zip(&y).position(|(x, y)| !close(*x, *y)) {
        None => Ok(()),
        Some(at) => Err(format!("{} for {} at {at}", x[at], y[at])),
    }
}

fn same(found: &Value, expect: &Value) -> Result<(), String> {
    match (found, expect) {
        (Value::Tensor(found), Value::Tensor(expect)) => same_tensor(found, expect),
        (Value::Sequence(found), Value::Sequence(expect)) if found.len() == expect.len() => {
            found.iter().zip(expect).try_for_each(|(found, expect)| same(found, expect))
        }
        (Value::Optional(Some(found)), Value::Optional(Some(expect))) => same(found, expect),
        (found, Value::Optional(Some(expect))) => same(found, expect),
        (Value::Optional(Some(found)), expect) => same(found, expect),
        (found, expect) if found == expect => Ok(()),
        (found, expect) => Err(format!("{found:.100?} for {expect:.100?}")),
    }
}

fn run(folder: &Path) -> Result<(), String> {
    let bytes = std::fs::read(folder.join("model.onnx")).map_err(|error| error.to_string())?;
    let model = Model::read(&bytes).map_err(|error| error.to_string())?;
    for set in folders(folder) {
        let inputs = numbered(&set, "input").into_iter().zip(model.inputs());
        let mut given = HashMap::new();
        for (bytes, spec) in inputs {
            let value = read_value(&bytes, spec.form).map_err(|error| error.to_string())?;
            given.insert(spec.name.clone(), value);
        }
        let found = model
            .run(given, &Bounds::default())
            .map(|(outputs, _)| outputs)
            .map_err(|error| error.to_string())?;
        for (at, bytes) in numbered(&set, "output").into_iter().enumerate() {
            let expect = match &found[at] {
                Value::Tensor(_) => read_value(&bytes, Form::Tensor),
                Value::Sequence(_) => read_value(&bytes, Form::Sequence),
                Value::Optional(_) => read_value(&bytes, Form::Optional),
            };
            same(&found[at], &expect.map_err(|error| error.to_string())?)
                .map_err(|why| format!("output {at}: {why}"))?;
        }
    }
    Ok(())
}

/// One test of the suite, and why it did not pass.
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) failure: Option<String>,
}

/// All tests of a group, with all their data sets.
pub(crate) fn group(root: &Path, group: &str) -> Vec<Outcome> {
    let outcome = |folder: &PathBuf| {
        let ran = std::panic::catch_unwind(|| run(folder));
        let ran = ran.unwrap_or_else(|_panic| Err("it panicked".to_owned()));
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Outcome { name, failure: ran.err() }
    };
    folders(&root.join(group)).iter().map(outcome).collect()
}

/// An operator that is not there, or else that something came out wrong.
pub(crate) fn reason(why: &str) -> String {
    match why.split_once(": ") {
        Some((_, reason)) if reason.ends_with("is not supported") => {
            reason.split(" of ").next().unwrap_or(reason).to_owned()
        }
        _ => "another answer".to_owned(),
    }
}
