//! Relative links in Markdown.

use std::path::Path;

use crate::tree::Tree;

/// Relative links that lead nowhere, a sentence each.
#[must_use]
pub fn violations(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in tree.ending(".md") {
        let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
        for target in targets(&tree.text(&file)) {
            let to = tree.root().join(folder).join(&target);
            if !to.exists() {
                wrong.push(format!("{file} links to {target}, which is not there."));
            }
        }
    }
    wrong
}

/// Targets of the relative links of a Markdown text, without their anchors. Code blocks and inline
/// code are no links.
#[must_use]
pub fn targets(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(prose(line).split("](").skip(1).filter_map(target));
        }
    }
    found
}

/// The line without its inline code.
fn prose(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The path of a link whose text begins after `](`, or none for an anchor or an address.
fn target(rest: &str) -> Option<String> {
    let (link, _) = rest.split_once(')')?;
    let path = link.split(['#', ' ']).next().unwrap_or_default();
    let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
    (!elsewhere).then(|| path.to_owned())
}
