//! Each rule, shown to fail on a tree that breaks it.

/// The rules, run on this checkout.
mod checkout;

use std::fs;

use crate::tree::Tree;
use crate::{dependencies, examples, files, links, prebuilt};

/// A row: the files of a small tree, and a part of the one sentence that a rule says about it, or
/// none where the tree is right.
type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);

fn check(rule: fn(&Tree) -> Vec<String>, table: &[Row<'_>]) {
    for (files, expect) in table {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in *files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let wrong = rule(&Tree::read(folder.path()).unwrap()).join("\n");
        match expect {
            Some(part) => assert!(wrong.contains(part), "{files:?}: said {wrong:?}"),
            None => assert_eq!(wrong, "", "{files:?}"),
        }
    }
}

#[test]
fn dependency_direction() {
    let uses = "use serde::x; use http_body::x; use emberbox::x; use x::y; use rusqlite::x;
        use wasmtime::x; use rand::x; use emberbox_postgres::x; use tokio_postgres::x;";
    let server = "[dev-dependencies]\nemberbox-postgres = \"1\"";
    let server_linked = "[dependencies]\nemberbox-postgres = \"1\"";
    let renamed = "[dependencies]\nx = { package = \"burn\", version = \"1\" }";
    let by_target = "[target.'cfg(unix)'.dependencies]\nrusqlite = \"1\"";
    for (package, manifest, expect) in [
        ("billing", "[dependencies]\nserde = \"1\"", None),
        ("billing", "[dependencies]\ntower-http = \"1\"", Some("no HTTP")),
        ("billing", "[dev-dependencies]\nemberbox = \"1\"", Some("emberbox")),
        ("billing", server, None),
        ("billing", server_linked, Some("for tests only")),
        ("gateway", server_linked, Some("for tests only")),
        ("infra/e2e", server_linked, None),
        ("gateway", "[dependencies]\ntokio-postgres = \"1\"", Some("leave it to its owner")),
        ("gateway", renamed, Some("depends on burn")),
        ("gateway", by_target, Some("depends on rusqlite")),
        ("infra/bench", "[dependencies]\nwasmtime = \"48\"", Some("leave it to its owner")),
        ("infra/bench", "[dependencies]\nrusqlite = \"1\"", None),
        ("infra/chaos", "[dependencies]\nrusqlite = \"1\"", None),
        ("infra/e2e", "[dependencies]\nrusqlite = \"1\"", Some("leave it to its owner")),
        ("runtime", "[dependencies]\nwasmtime = \"48\"", None),
        ("runtime", "[dependencies]\nfutures = \"48\"", Some("does not use it")),
        ("runtime/kernels", "[dependencies]\nrand = \"1\"", Some("only half")),
        ("runtime/kernels", "[dev-dependencies]\nrand = \"1\"", None),
    ] {
        let (toml, source) = (format!("{package}/Cargo.toml"), format!("{package}/src/lib.rs"));
        check(dependencies::violations, &[(&[(&toml, manifest), (&source, uses)], expect)]);
    }
    let fuzz = "[lib]\npath = \"../src/b.rs\"\n[dependencies]\nserde = \"1\"\n";
    let manifest = ("a/fuzz/Cargo.toml", fuzz);
    check(
        dependencies::violations,
        &[
            (&[manifest, ("a/src/b.rs", "use serde::Deserialize;")], None),
            (&[manifest, ("c/src/b.rs", "use serde::Deserialize;")], Some("does not use it")),
        ],
    );
}

#[test]
fn files_and_lints() {
    let map = ("ARCHITECTURE.md", "# Map\n");
    let long = "//\n".repeat(401);
    let longer = "//\n".repeat(601);
    let linted = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
    let root = ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n");
    let own = "[package]\nname = \"a\"\n[lints.rust]\nx = \"deny\"\n";
    check(
        files::violations,
        &[
            (&[map, ("a/src/lib.rs", &long[3..])], None),
            (&[map, ("a/src/lib.rs", &long)], Some("has 401 lines")),
            (&[map, ("a/src/b/tests.rs", &long)], None),
            (&[map, ("a/tests/b.rs", &longer)], Some("has 601 lines")),
            (&[map, ("a/src/b/mod.rs", "")], Some("not mod.rs")),
            (&[map, ("a/tests/common/mod.rs", "")], None),
            (&[("ARCHITECTURE.md", &long)], Some("401 lines")),
            (&[], Some("ARCHITECTURE.md has 0 lines")),
            (&[map, ("a/Cargo.toml", linted)], None),
            (&[map, root, ("a/Cargo.toml", linted)], None),
            (&[map, root, ("a/Cargo.toml", own)], Some("takes no lints")),
            (&[map, root, ("b/Cargo.toml", own)], None),
            (&[map, ("a/Cargo.toml", "[package]\nname = \"a\"")], Some("takes no lints")),
            (&[map, ("target/a.rs", &long)], None),
        ],
    );
}

#[test]
fn example_folders() {
    let readme = ("examples/a/README.md", "# A");
    let cargo = ("examples/a/Cargo.toml", "");
    let right = "[function]\nname = \"a\"\nmax_cost_per_call = \"0.01\"\n";
    let unbounded = "[function]\nname = \"a\"\n";
    let misnamed = "[function]\nname = \"b\"\nmax_cost_per_call = \"0.01\"\n";
    check(
        examples::violations,
        &[
            (&[cargo, readme, ("examples/a/emberbox.toml", right)], None),
            (&[cargo, ("examples/a/emberbox.toml", right)], Some("no README.md")),
            (&[cargo, readme], Some("max_cost_per_call")),
            (&[cargo, readme, ("examples/a/emberbox.toml", unbounded)], Some("max_cost_per_call")),
            (&[cargo, readme, ("examples/a/emberbox.toml", misnamed)], Some("the folder's name")),
            (&[readme, ("examples/a/emberbox.toml", right)], None),
            (&[readme, ("examples/a/emberbox.toml", unbounded)], Some("max_cost_per_call")),
            (&[cargo, readme, ("examples/a/emberbox.toml", "]")], Some("not TOML")),
            (&[("examples/tiny-lm/README.md", "# L"), ("examples/tiny-lm/Cargo.toml", "")], None),
            (&[("examples/a/client.py", "")], Some("no README.md")),
            (&[readme, ("examples/a/client.py", "")], None),
            (&[("examples/prebuilt/MANIFEST.json", "{}")], None),
        ],
    );
}

#[test]
fn prebuilt_guests() {
    let manifest = "examples/prebuilt/MANIFEST.json";
    let listed = r#"{"a": {"sources_sha256": "0", "wasm_sha256": "0"}}"#;
    let leaky = ("examples/prebuilt/a.wasm", "\0asm /home/someone/a.rs");
    let deployed = ("examples/b/emberbox.toml", "");
    let cargo = ("examples/b/Cargo.toml", "");
    check(
        prebuilt::violations,
        &[
            (&[(manifest, "{}")], None),
            (&[], Some("run examples/build.sh")),
            (&[(manifest, listed)], Some("has 0 bytes")),
            (&[(manifest, listed), leaky], Some("a machine's path, /home/")),
            (&[(manifest, listed), leaky], Some("older than its sources")),
            (&[(manifest, listed), leaky], Some("is not what")),
            (&[(manifest, "{}"), leaky], Some("prebuilt/a.wasm is not in")),
            (&[(manifest, "{}"), deployed, cargo], Some("examples/b is not in")),
            (&[(manifest, "{}"), deployed], None),
        ],
    );
}

#[test]
fn markdown_links() {
    let target = ("docs/a.md", "# A");
    check(
        links::violations,
        &[
            (&[target, ("README.md", "See [a](docs/a.md#part) and [b](#here).")], None),
            (&[target, ("docs/b.md", "[a](a.md), [up](../docs/a.md)")], None),
            (&[("README.md", "[`code`](gone.md)")], Some("links to gone.md")),
            (&[("README.md", "[web](https://example.org/a), `[x](gone.md)`")], None),
            (&[("README.md", "```\n[x](gone.md)\n```\n")], None),
        ],
    );
}
