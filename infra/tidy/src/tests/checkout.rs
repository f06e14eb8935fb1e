//! The rules, run on this checkout.

use std::path::Path;

use crate::tree::Tree;
use crate::{dependencies, examples, files, links, prebuilt};

/// Runs one rule and prints everything it found.
fn check(rule: fn(&Tree) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root.canonicalize().unwrap()).unwrap();
    let wrong = rule(&tree);
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

#[test]
fn crates_know_only_what_they_may() {
    check(dependencies::violations);
}

#[test]
fn files_are_short_and_every_crate_is_linted() {
    check(files::violations);
}

#[test]
fn examples_explain_themselves() {
    check(examples::violations);
}

#[test]
fn prebuilt_guests_are_fresh() {
    check(prebuilt::violations);
}

#[test]
fn links_lead_somewhere() {
    check(links::violations);
}
