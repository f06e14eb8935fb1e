//! `emberbox demo --json --exit`.

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::report::Report;
use crate::world::World;

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("demo", || demo(world));
}

fn demo(world: &World) -> anyhow::Result<String> {
    let home = world.folder("demo")?;
    let output = world.command(&world.emberbox, &home).args(["demo", "--json", "--exit"]).output();
    let output = output.context("cannot start emberbox demo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}:\n{said}\n{errors}", output.status);
    let last = said.lines().last().context("the demo printed nothing")?;
    let result: Value = serde_json::from_str(last).with_context(|| format!("last line: {last}"))?;
    ensure!(result["ok"] == true, "not ok: {last}");
    let steps = result["steps"].as_array().context("no steps")?;
    ensure!(!steps.is_empty(), "no steps: {last}");
    for step in steps {
        for field in ["name", "status", "ms"] {
            ensure!(!step[field].is_null(), "a step without {field}: {step}");
        }
    }
    Ok(format!("{} steps, ok", steps.len()))
}
