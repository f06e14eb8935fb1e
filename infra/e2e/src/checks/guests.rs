//! Guests build from their sources, to the same bytes with the same compiler.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::report::Report;
use crate::world::World;

/// What a guest is built from, as paths inside the checkout.
const SOURCES: [&str; 2] = ["guest-sdk", "examples"];
/// Folders that hold builds, training and nothing that a guest is built from.
const LEFT_OUT: [&str; 4] = ["target", "tiny-lm", "prebuilt", "node_modules"];

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("guests/rebuild", || rebuild(world));
}

/// Builds a copy of the sources, so that the checkout stays as it is, and compares.
fn rebuild(world: &World) -> anyhow::Result<String> {
    let copy = world.folder("guests")?;
    for folder in SOURCES {
        copy_tree(&world.repo.join(folder), &copy.join(folder))?;
    }
    let output = Command::new("bash")
        .arg(copy.join("examples/build.sh"))
        .env("CARGO_TARGET_DIR", world.repo.join("target/e2e-guests"))
        .output()
        .context("cannot start examples/build.sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "examples/build.sh: {}\n{said}", output.status);
    let file = "examples/prebuilt/MANIFEST.json";
    let committed = manifest(&world.repo.join(file))?;
    let built = manifest(&copy.join(file))?;
    compare(&committed, &built)
}

fn manifest(path: &Path) -> anyhow::Result<serde_json::Map<String, Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Every committed guest must be built again from the same sources. The bytes are the same only
/// with the same compiler, so a difference there is told and is no failure.
fn compare(
    committed: &serde_json::Map<String, Value>,
    built: &serde_json::Map<String, Value>,
) -> anyhow::Result<String> {
    let mut same = 0;
    for (name, guest) in committed {
        let again = built.get(name).with_context(|| format!("{name} was not built"))?;
        let sources = again["sources_sha256"] == guest["sources_sha256"];
        ensure!(sources, "{name}: its sources have changed: run examples/build.sh");
        same += usize::from(again["wasm_sha256"] == guest["wasm_sha256"]);
    }
    ensure!(!committed.is_empty(), "no guests");
    Ok(format!("{} guests built, {same} to the committed bytes", committed.len()))
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let left_out = LEFT_OUT.iter().any(|left| name == *left);
        match entry.file_type()?.is_dir() {
            true if left_out => {}
            true => copy_tree(&entry.path(), &to.join(&name))?,
            false => drop(std::fs::copy(entry.path(), to.join(&name))?),
        }
    }
    Ok(())
}
