//! ONNX's own suite for backends, against the list of what is known not to pass.

use std::collections::BTreeSet;
use std::path::PathBuf;

#[path = "suite/runner.rs"]
mod runner;

/// Tests that do not pass; a test that is not here may not fail.
const MISSING: &str = include_str!("suite/missing.txt");

/// `EMBERBOX_ONNX_SUITE=…/onnx/backend/test/data cargo test … --test suite -- --ignored`
#[test]
#[ignore = "needs the suite's data"]
fn the_suite_of_onnx() {
    let root = PathBuf::from(std::env::var_os("EMBERBOX_ONNX_SUITE").expect("a folder"));
    let missing: BTreeSet<&str> = MISSING.lines().filter_map(|l| l.split(' ').next()).collect();
    let mut wrong = Vec::new();
    for group in runner::GROUPS {
        let all = runner::group(&root, group);
        let passed = all.iter().filter(|outcome| outcome.failure.is_none()).count();
        println!("{group}: {passed} of {}", all.len());
        assert!(!all.is_empty(), "there is no group {group} in {}", root.display());
        for outcome in all {
            let Some(why) = outcome.failure else { continue };
            println!("{} {}: {why:.300}", outcome.name, runner::reason(&why));
            if !missing.contains(outcome.name.as_str()) {
                wrong.push(outcome.name);
            }
        }
    }
    assert!(wrong.is_empty(), "passed before, and fail now: {wrong:?}");
}
