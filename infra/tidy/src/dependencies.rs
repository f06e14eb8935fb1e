//! Which crate may know which, and that what is named is used. The direction is read from the
//! manifests, so a wrong arrow fails before it compiles.

use crate::tree::Tree;

/// One rule: the manifests under `folder` name none of `forbidden`. A name that ends in `*` stands
/// for every crate that begins so.
struct Rule {
    manifest: &'static str,
    forbidden: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 6] = [
    Rule {
        manifest: "billing/Cargo.toml",
        forbidden: &["emberbox*", "wasm*", "burn*", "tower*", "ureq", "reqwest"],
        why: "billing knows no Wasm, no models and no HTTP but its own service's",
    },
    Rule {
        manifest: "runtime/Cargo.toml",
        forbidden: &[
            "emberbox",
            "emberbox-billing",
            "emberbox-catalog",
            "rusqlite",
            "socket2",
            "mio",
            "hyper-util",
            "hyper-rustls",
            "rustls",
            "ureq",
            "reqwest",
            "tower*",
        ],
        why: "runtime knows no money and opens no sockets",
    },
    Rule {
        manifest: "runtime/inference/Cargo.toml",
        forbidden: &[
            "emberbox",
            "emberbox-billing",
            "emberbox-catalog",
            "emberbox-runtime",
            "wasm*",
            "wat",
            "hyper*",
            "http*",
            "tower*",
            "rusqlite",
            "ureq",
            "reqwest",
        ],
        why: "inference knows no Wasm, no money and no HTTP",
    },
    Rule {
        manifest: "gateway/Cargo.toml",
        forbidden: &["burn*", "rusqlite", "emberbox-kernels"],
        why: "the gateway reaches models and databases only through our crates",
    },
    Rule {
        manifest: "gateway/catalog/Cargo.toml",
        forbidden: &["emberbox*", "wasm*", "burn*", "hyper*", "http*", "tower*", "ureq", "reqwest"],
        why: "the catalog knows no HTTP, no money and no models",
    },
    Rule {
        manifest: "guest-sdk/Cargo.toml",
        forbidden: &["emberbox*", "wasmtime*", "tokio", "hyper*"],
        why: "what a guest links knows nothing of the host",
    },
];

/// The only crates of ours that may name a library themselves.
const OWNERS: [(&str, &[&str]); 4] = [
    ("burn*", &["runtime/inference/Cargo.toml", "examples/tiny-lm/Cargo.toml"]),
    ("wasmtime*", &["runtime/Cargo.toml", "runtime/fuzz/Cargo.toml"]),
    ("rusqlite", &["billing/Cargo.toml", "gateway/catalog/Cargo.toml", PEERS, READER]),
    ("tokio-postgres*", &["billing/Cargo.toml", "gateway/catalog/Cargo.toml", PEERS]),
];

/// Benchmarks write to the databases themselves, as the peers that they compare with do.
const PEERS: &str = "infra/bench/Cargo.toml";

/// What checks the ledger from outside reads its file without its code.
const READER: &str = "infra/chaos/Cargo.toml";

/// Crates of ours that tests may depend on everywhere, and the product nowhere.
const FOR_TESTS: [&str; 1] = ["emberbox-postgres"];

/// Everything `emberbox-kernels` may link.
const KERNELS_MAY_LINK: [&str; 2] = ["half", "rustix"];

/// What is wrong with the dependencies, a sentence each.
#[must_use]
pub fn violations(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, manifest) in tree.manifests() {
        wrong.extend(manifest_violations(&path, &manifest));
        wrong.extend(unused(tree, &path, &manifest));
    }
    wrong
}

/// Where a package's library is when it is in the package above it, as that of fuzz targets is.
fn above(folder: &str, manifest: &toml::Table) -> Option<String> {
    let path = manifest.get("lib")?.get("path")?.as_str()?.strip_prefix("../")?;
    let (parent, _) = folder.trim_end_matches('/').rsplit_once('/')?;
    Some(format!("{parent}/{}/", path.rsplit_once('/')?.0))
}

/// Dependencies that no source of the package names: they are compiled for nothing.
fn unused(tree: &Tree, path: &str, manifest: &toml::Table) -> Vec<String> {
    let folder = path.trim_end_matches("Cargo.toml");
    let above = above(folder, manifest);
    let own = |file: &String| {
        let inside = file.strip_prefix(folder).unwrap_or_default();
        let parts = ["src/", "tests/", "examples/", "fuzz_targets/", "build.rs"];
        parts.iter().any(|part| inside.starts_with(part))
            || above.as_ref().is_some_and(|above| file.starts_with(above))
    };
    let sources: Vec<String> =
        tree.ending(".rs").filter(own).map(|file| tree.text(&file)).collect();
    let mut names = Vec::new();
    sections(manifest, true, &mut |name, _| names.push(name.replace('-', "_")));
    names.retain(|name| !sources.iter().any(|source| has_word(source, name)));
    names.iter().map(|name| format!("{path} depends on {name} and does not use it.")).collect()
}

/// Whether a text has a word, not only a longer word with it inside.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|part| part == word)
}

fn manifest_violations(path: &str, manifest: &toml::Table) -> Vec<String> {
    let linked = direct(manifest, false);
    let mut names = direct(manifest, true);
    names.retain(|name| !FOR_TESTS.contains(&name.as_str()) || linked.contains(name));
    let mut wrong = Vec::new();
    if !path.starts_with("infra/") {
        let shipped = linked.iter().filter(|name| FOR_TESTS.contains(&name.as_str()));
        wrong.extend(shipped.map(|name| format!("{path} links {name}: it is for tests only.")));
    }
    for rule in RULES.iter().filter(|rule| rule.manifest == path) {
        let forbidden = names.iter().filter(|name| any_matches(rule.forbidden, name));
        wrong.extend(forbidden.map(|name| format!("{path} depends on {name}, but {}.", rule.why)));
    }
    for (library, _) in OWNERS.iter().filter(|(_, owners)| !owners.contains(&path)) {
        let foreign = names.iter().filter(|name| matches(library, name));
        wrong.extend(
            foreign.map(|name| format!("{path} depends on {name}: leave it to its owner.")),
        );
    }
    if path == "runtime/kernels/Cargo.toml" {
        let extra = linked.iter().filter(|name| !KERNELS_MAY_LINK.contains(&name.as_str()));
        wrong.extend(
            extra.map(|name| format!("{path} links {name}: kernels link only half and rustix.")),
        );
    }
    wrong
}

/// Names of the packages that a manifest depends on, in every section, renames undone.
fn direct(manifest: &toml::Table, dev_too: bool) -> Vec<String> {
    let mut names = Vec::new();
    sections(manifest, dev_too, &mut |name, value| {
        let package = value.get("package").and_then(toml::Value::as_str);
        names.push(package.unwrap_or(name).to_owned());
    });
    names
}

/// Calls back with every dependency as it is written: those for all targets, and those for some.
fn sections(manifest: &toml::Table, dev_too: bool, each: &mut dyn FnMut(&str, &toml::Value)) {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(toml::Table::values);
    let tables = targets.filter_map(toml::Value::as_table).chain([manifest]);
    let named = ["dependencies", "build-dependencies", "dev-dependencies"];
    let named = if dev_too { &named[..] } else { &named[..2] };
    for table in tables {
        let found = named.iter().filter_map(|section| table.get(*section)?.as_table());
        found.flatten().for_each(|(name, value)| each(name, value));
    }
}

fn any_matches(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}
