//! Spans go to a collector; prompts go nowhere.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::collector::Collector;
use crate::report::Report;
use crate::server::{Org, Server};
use crate::world::World;

/// A word that stands in no story and no program but this one.
const CANARY: &str = "quillfeather-canary-8261";

/// A trace that begins at the client, and its id as spans have it.
const TRACEPARENT: &str = "00-a1b2c3d4e5f60718293a4b5c6d7e8f90-00f067aa0ba902b7-01";
const TRACE_ID: [u8; 16] = 0xa1b2_c3d4_e5f6_0718_293a_4b5c_6d7e_8f90_u128.to_be_bytes();

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("telemetry", || {
        let home = world.folder("telemetry")?;
        let spans = exported(world, &home)?;
        described(&spans)?;
        nowhere(&home, &spans)
    });
}

/// Makes one call of each kind with the canary in its prompt, stops the server, and returns the
/// bytes of every span that it exported.
fn exported(world: &World, home: &Path) -> anyhow::Result<Vec<u8>> {
    let collector = Collector::start()?;
    let endpoint = format!("{}/v1/traces", collector.endpoint);
    let settings = [("EMBERBOX_OTLP_ENDPOINT", endpoint.as_str()), ("EMBERBOX_LOG", "debug")];
    let server = Server::start(world, home, &settings)?;
    let org = server.org("telemetry", Some("1"))?;
    talk(world, &org)?;
    server.stop()?;
    let mut spans = Vec::new();
    while !(contains(&spans, b"gen_ai.usage.output_tokens") && contains(&spans, b"chat ")) {
        let posted = collector.next()?;
        ensure!(posted.path == "/v1/traces", "spans went to {}", posted.path);
        spans.extend(posted.body);
    }
    Ok(spans)
}

fn talk(world: &World, org: &Org) -> anyhow::Result<()> {
    let ask = format!("Tell me a story about a {CANARY}.");
    let chat = json!({
        "model": "tiny-storyteller", "max_tokens": 16,
        "messages": [{ "role": "user", "content": ask }],
    });
    org.api.post("/v1/chat/completions", &chat)?.ok()?;
    super::restart::deploy(world, org, "storyteller")?;
    let path = format!("/f/{}/storyteller/", org.name);
    let follow = [("traceparent", TRACEPARENT)];
    for answer in [
        org.api.send("GET", &format!("{path}?about={CANARY}&seed=1"), &follow, Vec::new())?,
        org.api.post(&path, &json!({ "about": CANARY, "seed": 1 }))?,
    ] {
        ensure!(answer.status == 200, "storyteller answered {}", answer.status);
    }
    Ok(())
}

/// The names of the GenAI conventions that must stand in the spans.
fn described(spans: &[u8]) -> anyhow::Result<()> {
    let names = [
        "chat tiny-storyteller",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.finish_reasons",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "emberbox.cpu_us",
        "emberbox.inference_us",
        "emberbox.memory_bytes_peak",
    ];
    for name in names {
        ensure!(contains(spans, name.as_bytes()), "no {name} in the spans");
    }
    // The direct call's, and those of both functions.
    let name = names[0].as_bytes();
    let count = spans.windows(name.len()).filter(|window| *window == name).count();
    ensure!(count == 3, "{count} spans of model calls");
    ensure!(contains(spans, &TRACE_ID), "the client's trace is not followed");
    Ok(())
}

/// Looks for the canary in everything that is left: databases, logs, spans.
fn nowhere(home: &Path, spans: &[u8]) -> anyhow::Result<String> {
    ensure!(!contains(spans, CANARY.as_bytes()), "the prompt stands in a span");
    let mut files = Vec::new();
    list(home, &mut files)?;
    for file in &files {
        let bytes = std::fs::read(file)?;
        ensure!(!contains(&bytes, CANARY.as_bytes()), "the prompt stands in {}", file.display());
    }
    ensure!(files.iter().any(|file| file.ends_with("ledger.db")), "no ledger among the files");
    let (spans, files) = (spans.len(), files.len());
    Ok(format!(
        "{spans} bytes of spans with the GenAI names; no prompt in them or in {files} files"
    ))
}

fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
