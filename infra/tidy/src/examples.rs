//! What every example folder holds.

use std::collections::BTreeSet;

use crate::tree::Tree;

/// Folders under `examples/` that are no example: what the build script writes.
const NOT_EXAMPLES: [&str; 1] = ["prebuilt"];
/// Examples that are programs for the developer's machine and so deploy nothing.
const NATIVE: [&str; 1] = ["tiny-lm"];

/// What is missing in the examples, a sentence each.
#[must_use]
pub fn violations(tree: &Tree) -> Vec<String> {
    let files: BTreeSet<String> = tree.files().collect();
    let mut wrong = Vec::new();
    for name in names(&files) {
        if !files.contains(&format!("examples/{name}/README.md")) {
            wrong.push(format!("examples/{name} has no README.md: say what it shows and how."));
        }
        // What has neither is scripts, for clients for instance, and deploys nothing.
        let has = |file: &str| files.contains(&format!("examples/{name}/{file}"));
        let guest = has("Cargo.toml") || has("emberbox.toml");
        if guest && !NATIVE.contains(&name.as_str()) {
            wrong.extend(manifest_violations(tree, &name));
        }
    }
    wrong
}

/// Names of the example folders, from the files in them.
fn names(files: &BTreeSet<String>) -> BTreeSet<String> {
    files
        .iter()
        .filter_map(|file| file.strip_prefix("examples/")?.split_once('/'))
        .filter(|(name, _)| !NOT_EXAMPLES.contains(name) && !name.starts_with('.'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn manifest_violations(tree: &Tree, name: &str) -> Vec<String> {
    let path = format!("examples/{name}/emberbox.toml");
    let Ok(manifest) = tree.text(&path).parse::<toml::Table>() else {
        return vec![format!("{path} is not TOML.")];
    };
    let function = manifest.get("function").and_then(toml::Value::as_table);
    let field = |key| function.and_then(|table| table.get(key)).and_then(toml::Value::as_str);
    let mut wrong = Vec::new();
    if field("name") != Some(name) {
        wrong.push(format!("{path}: [function] name must be {name:?}, the folder's name."));
    }
    if field("max_cost_per_call").is_none() {
        wrong.push(format!("{path}: [function] needs max_cost_per_call, a string of credits."));
    }
    wrong
}
