//! `emberbox dev`: a saved file is served moments later, and a broken one changes nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::report::Report;
use crate::world::World;

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("dev/save and see", || save_and_see(world));
}

/// A running `emberbox dev --json`, ended with this value.
struct Dev {
    child: Child,
    events: std::io::Lines<BufReader<ChildStdout>>,
}

impl Dev {
    fn start(world: &World, home: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = world.command(&world.emberbox, home);
        command.current_dir(folder).args(["dev", "--json", "--listen", "127.0.0.1:0"]);
        command.args(["--admin-listen", "127.0.0.1:0"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self { child, events: BufReader::new(stdout).lines() })
    }

    /// The next event of this kind. Receipts and log lines come between others.
    fn next(&mut self, kind: &str) -> anyhow::Result<Value> {
        for line in &mut self.events {
            let line = line?;
            let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            if event["event"] == kind {
                return Ok(event);
            }
            ensure!(matches!(event["event"].as_str(), Some("receipt" | "log")), "{line}");
        }
        bail!("emberbox dev ended before it said `{kind}`")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

fn save_and_see(world: &World) -> anyhow::Result<String> {
    let home = world.folder("dev")?;
    let made =
        world.command(&world.emberbox, &home).current_dir(&home).args(["new", "fox"]).output()?;
    ensure!(made.status.success(), "emberbox new: {}", String::from_utf8_lossy(&made.stderr));
    let folder = home.join("fox");
    let mut dev = Dev::start(world, &home, &folder)?;
    let serving = dev.next("serving")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
    let api = Api::new(&text(&serving["url"])?, &text(&serving["key"])?);
    dev.next("live")?;
    let answers = |expect: &str| -> anyhow::Result<()> {
        let answer = api.get("/f/local/fox/")?;
        ensure!(answer.status == 200 && answer.body.starts_with(expect.as_bytes()), "{answer:?}");
        Ok(())
    };
    answers("Hello")?;
    let cost = text(&dev.next("receipt")?["amount"])?;

    let source = folder.join("src/lib.rs");
    let hello = fs::read_to_string(&source)?;
    fs::write(&source, hello.replace("Hello", "Servus"))?;
    let took_ms = dev.next("live")?["took_ms"].as_u64().context("no time")?;
    answers("Servus")?;
    fs::write(&source, "this is no Rust")?;
    dev.next("failed")?;
    answers("Servus")?;
    fs::write(&source, &hello)?;
    dev.next("live")?;
    answers("Hello")?;
    Ok(format!("swapped after {took_ms} ms, a call cost {cost}"))
}
