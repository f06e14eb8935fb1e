//! Length of files, names of files, lints of every crate.

use crate::tree::Tree;

/// Longest source file, in lines. A longer one has more than one reason to exist.
const LINES_MAX: usize = 400;
/// Longest file of tests, in lines: tables of cases may be long.
const TEST_LINES_MAX: usize = 600;
/// Longest `ARCHITECTURE.md`, in lines: a map, not a description.
const ARCHITECTURE_LINES_MAX: usize = 250;

/// What is wrong with the files, a sentence each.
#[must_use]
pub fn violations(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in tree.ending(".rs") {
        let lines = tree.text(&file).lines().count();
        let max = if is_test(&file) { TEST_LINES_MAX } else { LINES_MAX };
        if lines > max {
            wrong.push(format!("{file} has {lines} lines, more than {max}: split it."));
        }
        if file.ends_with("/mod.rs") && !file.contains("/tests/") {
            wrong.push(format!("{file}: name the module's file after the module, not mod.rs."));
        }
    }
    let lines = tree.text("ARCHITECTURE.md").lines().count();
    if lines == 0 || lines > ARCHITECTURE_LINES_MAX {
        wrong.push(format!("ARCHITECTURE.md has {lines} lines: 1 to {ARCHITECTURE_LINES_MAX}."));
    }
    wrong.extend(unlinted(tree));
    wrong
}

fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("tests.rs")
}

/// Packages without lints. Members of the root's workspace take those of the workspace; a package
/// outside of it, a guest for instance, may have its own.
fn unlinted(tree: &Tree) -> Vec<String> {
    let members = members(tree);
    let packages = tree.manifests().into_iter().filter(|(_, toml)| toml.contains_key("package"));
    packages
        .filter(|(path, manifest)| !linted(manifest, members.iter().any(|member| member == path)))
        .map(|(path, _)| format!("{path} takes no lints: add `[lints]` with `workspace = true`."))
        .collect()
}

/// Manifests of the members of the root's workspace.
fn members(tree: &Tree) -> Vec<String> {
    let root = tree.text("Cargo.toml").parse::<toml::Table>().unwrap_or_default();
    let members = root.get("workspace").and_then(|workspace| workspace.get("members")?.as_array());
    let folders = members.into_iter().flatten().filter_map(toml::Value::as_str);
    folders.map(|folder| format!("{folder}/Cargo.toml")).collect()
}

fn linted(manifest: &toml::Table, member: bool) -> bool {
    let Some(lints) = manifest.get("lints") else { return false };
    !member || lints.get("workspace").and_then(toml::Value::as_bool) == Some(true)
}
