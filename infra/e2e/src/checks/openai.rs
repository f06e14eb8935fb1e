//! An unmodified OpenAI SDK. The checks themselves are in `scripts/openai_client.py`.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::report::Report;
use crate::server::{Org, Server};
use crate::world::World;

/// The checks of the script, and the names they have here.
const CHECKS: [(&str, &str); 7] = [
    ("openai/models", "models"),
    ("openai/chat", "chat"),
    ("openai/stream", "stream"),
    ("openai/embeddings", "embeddings"),
    ("openai/401", "unauthorized"),
    ("openai/402", "unpaid"),
    ("openai/refusals", "refused"),
];

/// A server with the embedding model, an organisation with credits and one without.
struct Stage {
    server: Server,
    rich: Org,
    poor: Org,
}

pub(super) fn run(world: &World, report: &mut Report) {
    let names = CHECKS.map(|(name, _)| name);
    if !report.wants(&names) {
        return;
    }
    let stage = prepare(world);
    for (name, check) in CHECKS {
        report.check(name, || match &stage {
            Ok(stage) => python(world, stage, check),
            Err(error) => Err(anyhow::anyhow!("no server: {error:#}")),
        });
    }
}

fn prepare(world: &World) -> anyhow::Result<Stage> {
    let home = world.folder("openai")?;
    let server = Server::start(world, &home, &[])?;
    add_minilm(world, &server)?;
    let rich = server.org("rich", Some("1"))?;
    let poor = server.org("poor", None)?;
    Ok(Stage { server, rich, poor })
}

/// Adds the embedding model with the command that an operator would type.
pub(super) fn add_minilm(world: &World, server: &Server) -> anyhow::Result<()> {
    let home = server.data.parent().context("the data folder has no parent")?;
    let output = world
        .command(&world.emberbox, home)
        .args(["models", "add", "all-minilm-l6-v2"])
        .arg(world.minilm()?)
        .args(["--admin-url", &server.admin_base, "--url", &server.base, "--data"])
        .arg(&server.data)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "emberbox models add: {}: {said}", output.status);
    Ok(())
}

fn python(world: &World, stage: &Stage, check: &str) -> anyhow::Result<String> {
    let reference = world.repo.join("infra/e2e/fixtures/minilm_reference.json");
    let output = Command::new(&world.python)
        .arg(world.repo.join("infra/e2e/scripts/openai_client.py"))
        .arg(check)
        .env("EMBERBOX_E2E_URL", format!("{}/v1", stage.server.base))
        .env("EMBERBOX_E2E_KEY", stage.rich.api.secret())
        .env("EMBERBOX_E2E_POOR_KEY", stage.poor.api.secret())
        .env("EMBERBOX_E2E_REFERENCE", reference)
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .context("cannot start Python")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = errors.lines().rev().take(4).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    ensure!(output.status.success(), "{}", tail.join(" | "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
