//! Functions and models in processes of their own, each of which may be killed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{drain, restart};
use crate::report::Report;
use crate::server::{Server, wait_until};
use crate::world::World;

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("isolate/kill parts", || kill_parts(world));
    report.check("isolate/restart", || {
        let folder = model_folder(world)?;
        restart::kill_and_restart(world, ("isolated-restart", &settings(&folder)))
    });
    report.check("isolate/drain", || drain::drain(world, ("isolated-drain", &settings(""))));
}

fn settings(models: &str) -> [(&str, &str); 2] {
    [("EMBERBOX_ISOLATION_ENABLED", "true"), ("EMBERBOX_ISOLATION_MODEL_FOLDERS", models)]
}

/// The folder of the embedding model.
fn model_folder(world: &World) -> anyhow::Result<String> {
    let model = world.minilm()?;
    let folder = model.parent().context("the model is in no folder")?;
    Ok(folder.to_str().context("the folder's name is not UTF-8")?.to_owned())
}

/// Kills every part of a running server, and uses everything again.
fn kill_parts(world: &World) -> anyhow::Result<String> {
    let home = world.folder("isolated")?;
    let folder = model_folder(world)?;
    let mut server = Server::start(world, &home, &settings(&folder))?;
    super::openai::add_minilm(world, &server)?;
    let org = server.org("island", Some("1"))?;
    restart::deploy(world, &org, "hello")?;
    restart::use_everything(&org)?;
    let parts = parts(&server.data)?;
    ensure!(parts.len() == 3, "{} parts, not two workers and the models", parts.len());
    for part in &parts {
        let killed = Command::new("kill").args(["-KILL", &part.to_string()]).status()?;
        ensure!(killed.success(), "part {part} could not be killed");
    }
    restart::use_everything(&org).context("after every part was killed")?;
    wait_until("the parts to be there again", || Ok(self::parts(&server.data)?.len() == 3))?;
    let check = server.admin()?.get("/admin/v1/ledger/check")?.ok()?;
    ensure!(check["ok"] == true, "the ledger does not add up: {check}");
    let credits: Value = org.api.get("/v1/credits")?.ok()?;
    ensure!(credits["held"] == "0", "something is held still: {credits}");
    server.signal("TERM")?;
    let status = server.ended()?;
    ensure!(status.success(), "the server ended with {status}");
    ensure!(self::parts(&server.data)?.is_empty(), "a part has outlived its server");
    Ok(format!("{} parts killed, everything used again; none outlives its server", parts.len()))
}

/// The processes that were told of this data folder and are no server.
fn parts(data: &Path) -> anyhow::Result<Vec<u32>> {
    let data = data.canonicalize()?;
    let data = data.to_str().context("the folder's name is not UTF-8")?;
    let mut parts = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile has no line any more.
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let is_part = ["run-worker", "run-inference"].iter().any(|part| line.contains(part));
        if is_part && line.contains(data) {
            parts.push(number);
        }
    }
    Ok(parts)
}
