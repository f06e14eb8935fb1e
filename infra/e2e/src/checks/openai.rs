//! An unmodified OpenAI SDK, and the client scripts of `examples/clients`. What is asserted of the
//! SDK is in `scripts/openai_client.py`.

use std::process::{Command, Output};

use anyhow::{Context, ensure};

use crate::report::Report;
use crate::server::{Org, Server};
use crate::world::World;

/// The checks of the script, and the names they have here.
const CHECKS: [(&str, &str); 8] = [
    ("openai/models", "models"),
    ("openai/chat", "chat"),
    ("openai/stream", "stream"),
    ("openai/formats", "formats"),
    ("openai/embeddings", "embeddings"),
    ("openai/401", "unauthorized"),
    ("openai/402", "unpaid"),
    ("openai/refusals", "refused"),
];

/// How much of a script's last line is shown.
const LINE_CHARS_MAX: usize = 80;
/// The client scripts, and how each is run.
const CLIENTS: [(&str, &str); 2] = [("clients/chat.py", "chat.py"), ("clients/curl.sh", "curl.sh")];

/// A server with the embedding model, an organisation with credits and one without.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) rich: Org,
    pub(super) poor: Org,
}

pub(super) fn run(world: &World, report: &mut Report) {
    let wanted = |checks: &[(&str, &str)]| checks.iter().any(|(name, _)| report.wants(name));
    if !(wanted(&CHECKS) || wanted(&CLIENTS)) {
        return;
    }
    let stage = prepare(world);
    for (name, check) in CHECKS {
        report.check(name, || match &stage {
            Ok(stage) => python(world, stage, check),
            Err(error) => Err(anyhow::anyhow!("no server: {error:#}")),
        });
    }
    for (name, script) in CLIENTS {
        report.check(name, || match &stage {
            Ok(stage) => client(world, stage, script),
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

/// Runs one check of the script.
pub(super) fn python(world: &World, stage: &Stage, check: &str) -> anyhow::Result<String> {
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
    said(&output)
}

/// Runs a client script as its README says. It must end well and mention a cost or a balance.
fn client(world: &World, stage: &Stage, script: &str) -> anyhow::Result<String> {
    let path = world.repo.join("examples/clients").join(script);
    let program = if script.ends_with(".py") { &world.python } else { &path };
    let mut command = Command::new(program);
    if program != &path {
        command.arg(&path);
    }
    command.env("EMBERBOX_URL", &stage.server.base).env("NO_PROXY", "127.0.0.1");
    let output = command.env("EMBERBOX_API_KEY", stage.rich.api.secret()).output()?;
    let lines = said(&output)?;
    ensure!(lines.contains("credits") || lines.contains("available"), "no cost in: {lines}");
    let last = lines.lines().last().unwrap_or_default();
    Ok(last.chars().take(LINE_CHARS_MAX).collect())
}

/// What a program printed, or the end of its complaints where it failed.
fn said(output: &Output) -> anyhow::Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut tail: Vec<&str> = errors.lines().rev().take(4).collect();
    tail.reverse();
    ensure!(output.status.success(), "{}: {}", output.status, tail.join(" | "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
