//! A killed server has everything in place when it starts again.

use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::report::Report;
use crate::server::{Org, Server};
use crate::world::World;

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("restart/kill -9", || kill_and_restart(world, ("restart", &[])));
}

/// Deploys an example as it is committed, for an organisation.
pub(super) fn deploy(world: &World, org: &Org, name: &str) -> anyhow::Result<()> {
    let examples = world.repo.join("examples");
    let component = read(&examples.join("prebuilt").join(format!("{name}.wasm")))?;
    let manifest = BASE64.encode(read(&examples.join(name).join("emberbox.toml"))?);
    let headers =
        [("content-type", "application/wasm"), ("x-emberbox-manifest", manifest.as_str())];
    let path = format!("/v1/functions/{name}/versions");
    org.api.send("POST", &path, &headers, component)?.ok()?;
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// What must be the same on both sides of a crash: the path that tells it, and a field of its rows
/// that may differ. A model's `created` is when this process loaded it; a key's last use is noted
/// now and then, not with every call.
const STATE: [(&str, Option<&str>); 5] = [
    ("/v1/credits", None),
    ("/v1/receipts?limit=100", None),
    ("/v1/models", Some("created")),
    ("/v1/functions/hello/versions", None),
    ("/v1/keys", Some("last_used_at_ms")),
];

fn state(org: &Org) -> anyhow::Result<Vec<Value>> {
    let mut state = Vec::new();
    for (path, differs) in STATE {
        let mut value = org.api.get(path)?.ok()?;
        let rows = value.get_mut("data").and_then(Value::as_array_mut);
        for row in rows.into_iter().flatten().filter_map(Value::as_object_mut) {
            differs.map(|field| row.remove(field));
        }
        state.push(value);
    }
    Ok(state)
}

/// Uses everything, kills the server, and looks whether it is all there.
pub(super) fn kill_and_restart(
    world: &World,
    (folder, settings): (&str, &[(&str, &str)]),
) -> anyhow::Result<String> {
    let home = world.folder(folder)?;
    let mut server = Server::start(world, &home, settings)?;
    super::openai::add_minilm(world, &server)?;
    let mut org = server.org("phoenix", Some("1"))?;
    deploy(world, &org, "hello")?;
    use_everything(&org)?;
    let before = state(&org)?;
    let receipts = org.api.get("/v1/receipts?limit=100")?.ok()?;
    let charges = receipts["data"].as_array().map_or(0, Vec::len);
    ensure!(charges >= 3, "{charges} receipts after three calls: {receipts}");

    server.signal("KILL")?;
    server.ended()?;
    drop(server);

    let server = Server::start(world, &home, settings)?;
    org.api = crate::api::Api::new(&server.base, org.api.secret());
    for ((path, _), (before, after)) in STATE.iter().zip(before.iter().zip(state(&org)?)) {
        ensure!(*before == after, "{path} before the kill: {before}\nafter: {after}");
    }
    use_everything(&org)?;
    let check = server.admin()?.get("/admin/v1/ledger/check")?.ok()?;
    ensure!(check["ok"] == true, "the ledger does not add up: {check}");
    server.stop()?;
    Ok(format!("{charges} receipts, balance, key, models and function in place; ledger adds up"))
}

/// A call of each kind: chat, embeddings, a function.
pub(super) fn use_everything(org: &Org) -> anyhow::Result<()> {
    let message = json!({ "role": "user", "content": "Tell me a story." });
    let chat = json!({ "model": "tiny-storyteller", "max_tokens": 8, "messages": [message] });
    org.api.post("/v1/chat/completions", &chat)?.ok()?;
    let embed = json!({ "model": "all-minilm-l6-v2", "input": "a fox in the snow" });
    org.api.post("/v1/embeddings", &embed)?.ok()?;
    let answer = org.api.get(&format!("/f/{}/hello/", org.name))?;
    let said = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "hello answered {}: {said}", answer.status);
    Ok(())
}
