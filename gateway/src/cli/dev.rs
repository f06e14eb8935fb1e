//! `emberbox dev`: serves a function from its folder, and builds and swaps it whenever a file of it
//! is saved. Calls are metered and charged as anywhere, with play money.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::Args;
use emberbox_billing::Nano;
use serde_json::{Value, json};

use self::watch::Snapshot;
use super::context::Context;
use super::deploy::{Upload, read_manifest};
use super::error::CliError;
use super::format::{cell, credits_cell, rows};
use super::output::{Output, Paint};
use super::serve::{exports, runtime, start_failed, stop_signal};
use crate::client::{Client, Secret};
use crate::manifest::Manifest;
use crate::template::build::build_function;
use crate::{Compiler, Config, Running};

/// What in the folder has changed.
mod watch;

/// Below the function's folder, where nobody commits it.
const DATA: &str = "target/emberbox-dev";
/// In the data folder: the key that its first start made.
const KEY: &str = "dev.key";
/// What the folder's first start begins with.
const CREDITS: Nano = Nano::from_nano(1_000_000_000_000);
/// How often the folder, the logs and the receipts are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Receipts that are looked at each time.
const RECEIPTS_MAX: u32 = 100;
/// How long calls in progress may go on at the end.
const GRACE: Duration = Duration::from_secs(2);

/// Serve a function from its folder: built and swapped whenever a file is saved
///
/// What it writes and what each call costs is shown as it happens. The ledger, its key and its
/// credits are the folder's own, below target/emberbox-dev. Ctrl-C stops.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function's folder, with its emberbox.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the function answers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the operator connects
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    // A folder that is none is told before a server starts.
    read_manifest(&arguments.folder)?;
    runtime()?.block_on(develop(arguments, context.out))
}

async fn develop(arguments: &Arguments, out: Output) -> Result<(), CliError> {
    let data = arguments.folder.join(DATA);
    let mut config = Config {
        data: data.clone(),
        listen: arguments.listen,
        admin_listen: arguments.admin_listen,
        log: "off".to_owned(),
        ..Config::default()
    };
    config.compiler.program = Compiler::own_program();
    config.bootstrap.credits = CREDITS;
    let running = Box::pin(crate::start(config)).await.map_err(|error| start_failed(&error))?;
    let key = key(&data, &running)?;
    let url = format!("http://{}", running.public);
    let client = Client::new(&url, Some(Secret::new(&key)))?;
    out.answer(&json!({"event": "serving", "url": url, "key": key}), |paint| {
        format!("{}\n\n{}", paint.bold("serving; Ctrl-C stops"), exports(&url, &key, paint))
    })?;
    // Nothing is ever sent: that the sender is gone is the message.
    let (stop, stopped) = sync_channel(0);
    let session = Session {
        folder: arguments.folder.clone(),
        client,
        out,
        function: None,
        line: 0,
        receipt: None,
    };
    let mut work = tokio::task::spawn_blocking(move || session.run(&stopped));
    let ended = tokio::select! {
        signal = stop_signal() => {
            signal?;
            drop(stop);
            work.await
        }
        ended = &mut work => ended,
    };
    running.shutdown(GRACE).await;
    ended.map_err(|error| CliError::Failed { what: error.to_string(), next: String::new() })?
}

/// The key of the folder's ledger: its first start has made it, and keeps it for the next.
fn key(data: &Path, running: &Running) -> Result<String, CliError> {
    let path = data.join(KEY);
    let failed = |source| CliError::File { path: path.clone(), source };
    if let Some(key) = &running.first_key {
        let mut file = tempfile::NamedTempFile::new_in(data).map_err(failed)?;
        file.write_all(key.as_bytes()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        return Ok(key.clone());
    }
    std::fs::read_to_string(&path).map_err(|error| CliError::Failed {
        what: format!("{} has a ledger and no key to it: {error}", data.display()),
        next: format!("remove {} to begin anew", data.display()),
    })
}

/// One folder and its server.
struct Session {
    folder: PathBuf,
    client: Client,
    out: Output,
    /// The name under which it was last deployed.
    function: Option<String>,
    /// The last log line that was shown.
    line: u64,
    /// The last receipt that was shown, or was there before; `None` at the start.
    receipt: Option<String>,
}

impl Session {
    /// Until the sender is gone.
    fn run(mut self, stopped: &Receiver<()>) -> Result<(), CliError> {
        let mut seen = None;
        // Those from before: the first call may come as soon as the function is live.
        self.show_receipts()?;
        loop {
            let now = Snapshot::of(&self.folder);
            // A save is often several writes: what still changes is looked at once more.
            if seen.as_ref() != Some(&now) && now == Snapshot::of(&self.folder) {
                seen = Some(now);
                self.swap()?;
            }
            self.show_lines()?;
            self.show_receipts()?;
            if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    }

    /// Builds and deploys; a failure is shown, and what was live stays.
    fn swap(&mut self) -> Result<(), CliError> {
        let began = Instant::now();
        match self.deploy() {
            Ok((deployed, built)) => self.out.answer(
                &json!({
                    "event": "live",
                    "function": deployed["function"],
                    "version": deployed["version"],
                    "url": format!("{}{}", self.client.base(), cell(&deployed, "/url")),
                    "built_ms": millis(built),
                    "took_ms": millis(began.elapsed()),
                }),
                |paint| live(&deployed, self.client.base(), began.elapsed(), paint),
            ),
            Err(error) => {
                self.out.answer(&json!({"event": "failed", "error": error.to_string()}), |paint| {
                    format!("{} {error}\n{}", paint.red("✗"), paint.dim("waiting for a change"))
                })
            }
        }
    }

    fn deploy(&mut self) -> Result<(Value, Duration), CliError> {
        let began = Instant::now();
        let text = read_manifest(&self.folder)?;
        let manifest = Manifest::parse(&text)?;
        let path = build_function(&self.folder, &manifest)
            .map_err(|error| CliError::Failed { what: error.to_string(), next: String::new() })?;
        let took = began.elapsed();
        let component = std::fs::read(&path).map_err(|source| CliError::File { path, source })?;
        let upload = Upload { name: &manifest.name, manifest: &text, activate: true };
        let deployed = upload.send(&self.client, component)?;
        if self.function.as_ref() != Some(&manifest.name) {
            (self.function, self.line) = (Some(manifest.name), 0);
        }
        Ok((deployed, took))
    }

    fn show_lines(&mut self) -> Result<(), CliError> {
        let Some(function) = &self.function else { return Ok(()) };
        let path = format!("/v1/functions/{function}/logs?after={}", self.line);
        // What could not be had now comes with the next look.
        let Ok(page) = self.client.get(&path) else { return Ok(()) };
        for line in rows(&page) {
            let mut event = line.clone();
            event["event"] = "log".into();
            self.out.answer(&event, |paint| {
                let text = cell(line, "/line");
                let is_error = cell(line, "/stream") == "stderr";
                format!("  │ {}", if is_error { paint.red(&text) } else { text })
            })?;
        }
        self.line = page.get("next").and_then(Value::as_u64).unwrap_or(self.line);
        Ok(())
    }

    /// Those since the last time, oldest first.
    fn show_receipts(&mut self) -> Result<(), CliError> {
        let path = format!("/v1/receipts?limit={RECEIPTS_MAX}");
        let Ok(page) = self.client.get(&path) else { return Ok(()) };
        let newest = rows(&page).first().map_or_else(String::new, |newest| cell(newest, "/id"));
        let Some(shown) = self.receipt.replace(newest) else { return Ok(()) };
        let new = rows(&page).iter().take_while(|receipt| cell(receipt, "/id") != shown);
        let new: Vec<&Value> = new.collect();
        for receipt in new.into_iter().rev() {
            let mut event = receipt.clone();
            event["event"] = "receipt".into();
            self.out.answer(&event, |paint| {
                let (ending, cost) = (cell(receipt, "/ending"), credits_cell(receipt, "/amount"));
                paint.dim(&format!("  {ending}, cost {cost}, receipt {}", cell(receipt, "/id")))
            })?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn live(deployed: &Value, base: &str, took: Duration, paint: Paint) -> String {
    format!(
        "{} {} version {} after {:.1} s  {}",
        paint.green("✓"),
        paint.bold(&cell(deployed, "/function")),
        cell(deployed, "/version"),
        took.as_secs_f64(),
        paint.cyan(&format!("{base}{}", cell(deployed, "/url")))
    )
}
