//! Models and inputs that were damaged at random: refused or run, but never a panic.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;

/// Nodes with their inputs and attributes, as text.
mod nodes;
/// Damage.
mod damage;

use damage::Chance;

/// What a damaged model may take.
const BOUNDS: Bounds<'static> =
    Bounds { nodes: 2000, operations: 1 << 20, bytes: 1 << 18, stop: None };
/// How often each model is damaged.
const ROUNDS: u64 = 150;

/// Reads a model and runs it on these inputs, in their order.
fn run_all(model: &[u8], inputs: &[Vec<u8>]) -> Result<Vec<Value>, OnnxError> {
    let model = Model::read(model)?;
    let mut given = HashMap::new();
    for (bytes, spec) in inputs.iter().zip(model.inputs()) {
        if let Ok(value) = read_value(bytes, spec.form) {
            given.insert(spec.name.clone(), value);
        }
    }
    let cost = model.cost(&given);
    let (outputs, operations) = model.run(given, &BOUNDS)?;
    let nodes = || model.graph.nodes.iter().map(|node| (&node.kind, &node.attributes));
    let within = !cost.exact || operations <= cost.operations;
    assert!(within, "{operations} of {cost:?} for {:?}", nodes().collect::<Vec<_>>());
    Ok(outputs)
}

/// Damages a model and its inputs, and runs what that has become.
fn damaged_run(model: &[u8], inputs: &[Vec<u8>], seed: u64) {
    let mut chance = Chance::new(seed);
    let (mut model, mut inputs) = (model.to_vec(), inputs.to_vec());
    if chance.one_in(2) {
        (model, inputs) = damage::fixed(model, inputs, &mut chance);
    }
    let whole = chance.one_in(3);
    if !whole {
        model = damage::model(&model, &mut chance);
    }
    for input in &mut inputs {
        if chance.one_in(if whole { 1 } else { 4 }) {
            *input = damage::input(input, &mut chance);
        }
    }
    drop(run_all(&model, &inputs));
}

#[test]
fn the_models_that_are_damaged_run() {
    let outcome = |text: &&&str| {
        let (model, inputs) = nodes::parsed(text);
        run_all(&model, &inputs).map_err(|error| format!("{text}: {error}")).err()
    };
    let wrong: Vec<String> = nodes::ALL.iter().filter_map(|text| outcome(&text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn damaged_models_do_not_panic() {
    for (at, text) in (0..).zip(nodes::ALL) {
        let (model, inputs) = nodes::parsed(text);
        for round in 0..ROUNDS {
            damaged_run(&model, &inputs, at * ROUNDS + round);
        }
    }
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

thread_local! {
    /// Where the last panic of this thread was, and what it said.
    static PLACE: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

/// `EMBERBOX_ONNX_SUITE=…/onnx/backend/test/data cargo test … hostile -- --ignored --nocapture`; a
/// number as `EMBERBOX_ONNX_SEED` makes other damage.
#[test]
#[ignore = "needs the suite's data"]
fn the_damaged_suite_of_onnx_does_not_panic() {
    let root = PathBuf::from(std::env::var_os("EMBERBOX_ONNX_SUITE").expect("a folder"));
    let seed = std::env::var_os("EMBERBOX_ONNX_SEED").and_then(|seed| seed.to_str()?.parse().ok());
    let seed: u64 = seed.unwrap_or(0);
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.set((place, format!("{info:.500}")));
    }));
    let mut places: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let (mut runs, mut slow) = (0, Duration::ZERO);
    for folder in ["node", "simple", "pytorch-operator"].iter().flat_map(|g| folders(&root.join(g)))
    {
        let Ok(model) = std::fs::read(folder.join("model.onnx")) else { continue };
        let read = |at| std::fs::read(folder.join(format!("test_data_set_0/input_{at}.pb"))).ok();
        let inputs: Vec<Vec<u8>> = (0..).map_while(read).collect();
        for round in 0..ROUNDS {
            let (began, seed) = (Instant::now(), (seed << 32) + runs);
            let outcome = catch_unwind(|| damaged_run(&model, &inputs, seed));
            runs += 1;
            if began.elapsed() > slow.max(Duration::from_millis(200)) {
                slow = began.elapsed();
                println!("{slow:?} for round {round} of {}", folder.display());
            }
            if outcome.is_err() {
                let (place, said) = PLACE.take();
                let example = format!("seed {seed} of {}: {said}", folder.display());
                places.entry(place).or_insert((0, example)).0 += 1;
            }
        }
    }
    drop(std::panic::take_hook());
    places.iter().for_each(|(place, (times, example))| println!("{place}: {times}, {example}"));
    println!("{runs} runs");
    assert!(places.is_empty(), "{} places panic", places.len());
}
