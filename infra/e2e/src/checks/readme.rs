//! The README's first five minutes, typed as they stand there.
//!
//! The commands are taken from the README itself, so that it cannot say what does not work. Three
//! things differ from a newcomer's hands: the binary is built already, the server listens on free
//! ports instead of 8080 and 8081, and the key is copied from the server's output.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::api::Api;
use crate::report::Report;
use crate::server::Server;
use crate::world::World;

/// The section whose commands are typed.
const SECTION: &str = "## The first five minutes";
/// How the README writes the key that a newcomer copies from the first terminal.
const KEY_PLACEHOLDER: &str = "eb_...";
/// The address in the README.
const ADDRESS: &str = "http://127.0.0.1:8080";
/// The command of the first terminal.
const SERVE: &str = "emberbox serve";

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("readme/first five minutes", || first_five_minutes(world));
}

fn first_five_minutes(world: &World) -> anyhow::Result<String> {
    let readme = std::fs::read_to_string(world.repo.join("README.md"))?;
    let commands = commands(&readme);
    ensure!(commands.iter().any(|line| line == SERVE), "the README does not say {SERVE}");
    let home = world.folder("readme")?;
    let server = Server::start(world, &home, &[])?;
    let key = printed_key(&server.output)?;
    let script = typed(&commands, &server, &key);
    let work = world.folder("readme/work")?;
    let output = world
        .command(Path::new("bash"), &home)
        .args(["-euo", "pipefail", "-c", &script])
        .env("EMBERBOX_URL", &server.base)
        .env("EMBERBOX_ADMIN_URL", &server.admin_base)
        .env("EMBERBOX_DATA", &server.data)
        .env("REPO", &world.repo)
        .current_dir(&work)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{script}\n{said}\n{errors}", output.status);
    let receipts = Api::new(&server.base, &key).get("/v1/receipts?limit=100")?.ok()?;
    let debits = receipts["data"].as_array().map_or(0, Vec::len);
    ensure!(debits > 0, "no debit was made: {said}");
    server.stop()?;
    Ok(format!("{} commands typed, {debits} debits made", commands.len()))
}

/// The lines of the shell blocks of the section, comments left out.
fn commands(readme: &str) -> Vec<String> {
    let section = readme.lines().skip_while(|line| *line != SECTION).skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    let (mut lines, mut inside) = (Vec::new(), false);
    for line in section {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.trim().is_empty() => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// The commands as one script: the build is done, the server runs, addresses and key are real.
fn typed(commands: &[String], server: &Server, key: &str) -> String {
    let done = |line: &String| line == SERVE || line.starts_with("cargo build");
    let lines = commands.iter().filter(|line| !done(line)).map(|line| {
        line.replace(KEY_PLACEHOLDER, key).replace(ADDRESS, &server.base).replace("$PWD", "$REPO")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The key that the server printed at its first start.
fn printed_key(output: &Path) -> anyhow::Result<String> {
    let said = std::fs::read_to_string(output)?;
    let word = said.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let key = word.into_iter().find(|word| word.starts_with("eb_") && word.len() > 40);
    key.map(str::to_owned).with_context(|| format!("no key was printed:\n{said}"))
}
