//! Guests in JavaScript and Python, built from source by their own tools, deployed and called as
//! their READMEs say. Their components hold a whole engine, which is what uploads seldom are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Answer;
use crate::report::Report;
use crate::server::{Org, Server, text, wait_until};
use crate::world::World;

/// The checks, and the functions that they are about.
const CHECKS: [(&str, &str); 2] =
    [("languages/javascript", "hello-js"), ("languages/python", "hello-python")];
/// What builds them, and where it leaves them.
const BUILD: &str = "infra/e2e/scripts/languages.sh";
const BUILT: &str = "target/e2e-languages/examples";
/// The interface to models: every guest has the host's text of it.
const WIT: [&str; 2] = ["runtime/wit/wasi-nn.wit", "wit/deps/wasi-nn.wit"];
/// Calls of each function: two greetings, a story, a mistake. Each writes one line.
const CALLS: usize = 4;
/// Fewer are no story.
const STORY_WORDS_MIN: usize = 10;

/// A server and an organisation that deploys.
struct Stage {
    server: Server,
    org: Org,
    home: PathBuf,
}

pub(super) fn run(world: &World, report: &mut Report) {
    if !CHECKS.iter().any(|(name, _)| report.wants(name)) {
        return;
    }
    let stage = prepare(world);
    for (name, function) in CHECKS {
        report.check(name, || match &stage {
            Ok(stage) => deploy_and_call(world, stage, function),
            Err(error) => Err(anyhow::anyhow!("not prepared: {error:#}")),
        });
    }
}

fn prepare(world: &World) -> anyhow::Result<Stage> {
    let output = Command::new(world.repo.join(BUILD)).output().context(BUILD)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{BUILD}: {}\n{said}", output.status);
    let home = world.folder("languages")?;
    let server = Server::start(world, &home, &[])?;
    let org = server.org("polyglot", Some("1"))?;
    Ok(Stage { server, org, home })
}

fn deploy_and_call(world: &World, stage: &Stage, function: &str) -> anyhow::Result<String> {
    let [host, guest] = WIT;
    let host = std::fs::read(world.repo.join(host)).context(host)?;
    let folder = world.repo.join(BUILT).join(function);
    ensure!(std::fs::read(folder.join(guest))? == host, "{function}/{guest} is not the host's");
    let bytes = std::fs::metadata(folder.join(format!("target/{function}.wasm")))?.len();

    let began = Instant::now();
    emberbox(world, stage, &["deploy", "--no-build", path(&folder)?])?;
    let deployed_s = began.elapsed().as_secs_f64();

    let url = format!("/f/{}/{function}", stage.org.name);
    let hello = |name: &str| -> anyhow::Result<u128> {
        let began = Instant::now();
        let answer = stage.org.api.get(&format!("{url}/?name={name}"))?;
        expect(&answer, 200, &format!("Hello, {name}!\n"))?;
        Ok(began.elapsed().as_millis())
    };
    let (first_ms, second_ms) = (hello("Mia")?, hello("Ben")?);
    let cost = story(stage, &url)?;
    let answer = stage.org.api.post(&format!("{url}/"), &json!({ "abuot": "a fox" }))?;
    ensure!(answer.status == 400, "a mistake was answered {}", answer.status);

    paid(stage, function)?;
    wait_until("the function's log lines", || {
        let lines = emberbox(world, stage, &["logs", "--json", function])?;
        Ok(lines.matches(&format!("\"line\":\"{function}: ")).count() == CALLS)
    })?;
    Ok(format!(
        "{bytes} bytes deployed in {deployed_s:.1} s; {first_ms} ms, then {second_ms} ms; \
         a story cost {cost}"
    ))
}

/// Has the model called, and returns what that cost.
fn story(stage: &Stage, url: &str) -> anyhow::Result<String> {
    let told = stage.org.api.post(&format!("{url}/"), &json!({ "about": "a fox" }))?.ok()?;
    let story = text(&told, "/story")?;
    ensure!(story.split_whitespace().count() >= STORY_WORDS_MIN, "no story: {told}");
    let tokens = told["usage"]["output_tokens"].as_u64().context("no tokens")?;
    let receipts = stage.org.api.get("/v1/receipts?limit=1")?.ok()?;
    let receipt = receipts.pointer("/data/0").context("no receipt")?;
    let counted = |usage: &Value| usage["quantity"] == tokens && usage["model"].is_string();
    let usage = receipt["usage"].as_array().context("no usage")?;
    ensure!(usage.iter().any(counted), "{tokens} tokens are not on the receipt: {receipt}");
    text(receipt, "/amount")
}

/// Each call has a receipt, and each cost something.
fn paid(stage: &Stage, function: &str) -> anyhow::Result<()> {
    let receipts = stage.org.api.get("/v1/receipts?limit=100")?.ok()?;
    let rows = receipts["data"].as_array().context("no receipts")?;
    let own = rows.iter().filter(|row| row["subject"]["function"]["name"] == function);
    let mut calls = 0;
    for receipt in own {
        let amount = text(receipt, "/amount")?;
        let above_zero = amount.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
        ensure!(above_zero && !amount.starts_with('-'), "a call cost {amount}: {receipt}");
        ensure!(receipt["ending"] == "normal", "a call did not end well: {receipt}");
        calls += 1;
    }
    ensure!(calls == CALLS, "{calls} receipts for {CALLS} calls: {receipts}");
    Ok(())
}

fn expect(answer: &Answer, status: u16, body: &str) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == status && said == body, "answered {}: {said}", answer.status);
    Ok(())
}

/// A command of the developer's own; returns what it printed.
fn emberbox(world: &World, stage: &Stage, arguments: &[&str]) -> anyhow::Result<String> {
    let output = world
        .command(&world.emberbox, &stage.home)
        .args(arguments)
        .env("EMBERBOX_URL", &stage.server.base)
        .env("EMBERBOX_API_KEY", stage.org.api.secret())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "emberbox {arguments:?}: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn path(folder: &Path) -> anyhow::Result<&str> {
    folder.to_str().with_context(|| format!("{} is not UTF-8", folder.display()))
}
