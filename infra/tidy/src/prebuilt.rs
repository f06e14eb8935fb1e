//! Prebuilt guests: fresh, small, and without a machine's paths inside.
//!
//! Tests, the demo and the server take guests as they are committed in `examples/prebuilt`, so that
//! nobody needs the Wasm target to try them. What is committed must then be what the sources say.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::tree::Tree;

/// The command that mends everything this module finds.
const REBUILD: &str = "run examples/build.sh";
/// Largest prebuilt guest, in bytes.
const WASM_BYTES_MAX: usize = 700_000;
/// Beginnings of paths that only a developer's machine has; where this checkout lies is another.
const MACHINE_PATHS: [&str; 4] =
    ["/home/", "/root/", "/Users/", concat!(env!("CARGO_MANIFEST_DIR"), "/")];
/// What the build script writes about the guests.
const MANIFEST: &str = "examples/prebuilt/MANIFEST.json";

/// What is wrong with the prebuilt guests, a sentence each.
#[must_use]
pub fn violations(tree: &Tree) -> Vec<String> {
    let Ok(Value::Object(guests)) = serde_json::from_slice(&tree.bytes(MANIFEST)) else {
        return vec![format!("{MANIFEST} is not a JSON object: {REBUILD}.")];
    };
    let mut wrong: Vec<String> =
        guests.iter().flat_map(|(name, guest)| guest_violations(tree, name, guest)).collect();
    let listed: BTreeSet<&str> = guests.keys().map(String::as_str).collect();
    for file in tree.ending(".wasm").filter(|file| file.starts_with("examples/prebuilt/")) {
        let name = file.trim_start_matches("examples/prebuilt/").trim_end_matches(".wasm");
        if !listed.contains(name) {
            wrong.push(format!("{file} is not in {MANIFEST}: {REBUILD}."));
        }
    }
    let deployed = tree.ending("/emberbox.toml");
    for name in deployed.filter_map(|file| Some(file.split_once("examples/")?.1.to_owned())) {
        let name = name.trim_end_matches("/emberbox.toml");
        // What has no Cargo.toml is in another language: large, and built where it is checked.
        let in_rust = tree.files().any(|file| file == format!("examples/{name}/Cargo.toml"));
        if in_rust && !listed.contains(name) {
            wrong.push(format!("examples/{name} is not in {MANIFEST}: {REBUILD}."));
        }
    }
    wrong
}

fn guest_violations(tree: &Tree, name: &str, guest: &Value) -> Vec<String> {
    let file = format!("examples/prebuilt/{name}.wasm");
    let wasm = tree.bytes(&file);
    let mut wrong = Vec::new();
    if guest["sources_sha256"].as_str() != Some(sources_sha256(tree, name).as_str()) {
        wrong.push(format!("{file} is older than its sources: {REBUILD}."));
    }
    if guest["wasm_sha256"].as_str() != Some(hex::encode(Sha256::digest(&wasm)).as_str()) {
        wrong.push(format!("{file} is not what {MANIFEST} says: {REBUILD}."));
    }
    if wasm.is_empty() || wasm.len() > WASM_BYTES_MAX {
        wrong.push(format!("{file} has {} bytes: 1 to {WASM_BYTES_MAX}.", wasm.len()));
    }
    for path in MACHINE_PATHS {
        if wasm.windows(path.len()).any(|window| window == path.as_bytes()) {
            wrong.push(format!("{file} holds a machine's path, {path}: trim paths in its build."));
        }
    }
    wrong
}

/// The hash of everything a guest is built from: of a line for each file, as `sha256sum` prints it,
/// sorted by path. The same recipe stands in `examples/build.sh`.
fn sources_sha256(tree: &Tree, name: &str) -> String {
    let own = format!("examples/{name}");
    let folders = ["guest-sdk/src/".to_owned(), "guest-sdk/wit/".to_owned(), format!("{own}/src/")];
    let single = [
        "guest-sdk/Cargo.toml".to_owned(),
        "examples/Cargo.toml".to_owned(),
        "examples/Cargo.lock".to_owned(),
        format!("{own}/Cargo.toml"),
    ];
    let mut sources: Vec<String> = tree
        .files()
        .filter(|file| single.contains(file) || folders.iter().any(|f| file.starts_with(f)))
        .collect();
    sources.sort();
    let mut listing = Sha256::new();
    for file in sources {
        let digest = hex::encode(Sha256::digest(tree.bytes(&file)));
        listing.update(format!("{digest}  {file}\n"));
    }
    hex::encode(listing.finalize())
}
