//! Money in a cluster: ledger and catalog in PostgreSQL, the ledger as a process of its own, and an
//! invoice that prints.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, ensure};
use emberbox_postgres::PostgresServer;
use serde_json::{Value, json};

use super::openai::{Stage, python};
use crate::api::Api;
use crate::report::Report;
use crate::server::{Org, Server, free_addresses, wait_until};
use crate::world::World;

/// Invoices on paper.
mod print;

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("money/postgres", || in_postgres(world));
    report.check("money/roles", || in_two_processes(world));
    report.check("money/print", || print::prints(world));
}

fn chat(org: &Org) -> anyhow::Result<u16> {
    let message = json!({ "role": "user", "content": "Tell me a story." });
    let body = json!({ "model": "tiny-storyteller", "max_tokens": 8, "messages": [message] });
    Ok(org.api.post("/v1/chat/completions", &body)?.status)
}

fn adds_up(server: &Server) -> anyhow::Result<Value> {
    let check = server.admin()?.get("/admin/v1/ledger/check")?.ok()?;
    ensure!(check["ok"] == true, "the ledger does not add up: {check}");
    Ok(check)
}

/// The OpenAI SDK against a server that keeps everything in PostgreSQL, and its restart.
fn in_postgres(world: &World) -> anyhow::Result<String> {
    let postgres = PostgresServer::start()?;
    let (ledger, catalog) = (postgres.database("ledger")?, postgres.database("catalog")?);
    let settings = [
        ("EMBERBOX_LEDGER_STORE", "postgres"),
        ("EMBERBOX_LEDGER_URL", ledger.as_str()),
        ("EMBERBOX_CATALOG_STORE", "postgres"),
        ("EMBERBOX_CATALOG_URL", catalog.as_str()),
    ];
    let home = world.folder("postgres")?;
    let server = Server::start(world, &home, &settings)?;
    let (rich, poor) = (server.org("rich", Some("1"))?, server.org("poor", None)?);
    let stage = Stage { server, rich, poor };
    for check in ["chat", "stream", "unpaid"] {
        python(world, &stage, check).with_context(|| check.to_owned())?;
    }
    let Stage { server, mut rich, .. } = stage;
    let before = rich.api.get("/v1/credits")?.ok()?;
    server.stop()?;
    let server = Server::start(world, &home, &settings)?;
    rich.api = Api::new(&server.base, rich.api.secret());
    let after = rich.api.get("/v1/credits")?.ok()?;
    ensure!(before == after, "before the restart {before}, after it {after}");
    let charged = chat(&rich)?;
    ensure!(charged == 200, "a call after the restart was answered {charged}");
    let check = adds_up(&server)?;
    // The auditor reads the database beside the server, which goes on writing.
    let audit = world
        .command(&world.emberbox, &home)
        .args(["ledger", "audit", "--database", &ledger])
        .output()?;
    let found = String::from_utf8_lossy(&audit.stdout);
    ensure!(audit.status.success() && found.contains("adds up"), "ledger audit: {found}");
    let charged = chat(&rich)?;
    ensure!(charged == 200, "a call after the audit was answered {charged}");
    server.stop()?;
    Ok(format!("chat, stream and 402 by the SDK; {} receipts survive", check["receipts"]))
}

/// A `serve --role billing` of its own, killed when dropped.
struct Service {
    child: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        // Fails only where the process has ended, which is what is wanted.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Service {
    fn start(world: &World, home: &Path, listen: &str) -> anyhow::Result<Service> {
        let admin = free_addresses()?.0;
        let file = |name: &str| home.join("certificates").join(name);
        let output = home.join("billing.log");
        let log = File::options().create(true).append(true).open(&output)?;
        let child = world
            .command(&world.emberbox, home)
            .args(["serve", "--role", "billing", "--listen", listen, "--admin-listen", &admin])
            .arg("--data")
            .arg(home.join("billing"))
            .env("EMBERBOX_BILLING_SERVICE_CA", file("ca.pem"))
            .env("EMBERBOX_BILLING_SERVICE_CERTIFICATE", file("server.pem"))
            .env("EMBERBOX_BILLING_SERVICE_KEY", file("server.key"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start emberbox serve --role billing")?;
        let mut service = Service { child };
        let probe = Api::new(&format!("http://{admin}"), "");
        wait_until("the billing service to be ready", || {
            if let Some(status) = service.child.try_wait()? {
                let said = std::fs::read_to_string(&output).unwrap_or_default();
                anyhow::bail!("the billing service ended with {status}:\n{said}");
            }
            Ok(probe.get("/readyz").is_ok_and(|answer| answer.status == 200))
        })?;
        Ok(service)
    }
}

/// The ledger and the gateway as two processes, with certificates that the command line made.
fn in_two_processes(world: &World) -> anyhow::Result<String> {
    let home = world.folder("roles")?;
    let certificates = home.join("certificates");
    let made = world
        .command(&world.emberbox, &home)
        .args(["billing", "certificates"])
        .arg(&certificates)
        .args(["--server", "127.0.0.1", "--gateway", "gateway-a"])
        .output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "emberbox billing certificates: {said}");
    let listen = free_addresses()?.0;
    let service = Service::start(world, &home, &listen)?;
    let path = |name: &str| certificates.join(name).display().to_string();
    let files = [path("ca.pem"), path("gateway-gateway-a.pem"), path("gateway-gateway-a.key")];
    let url = format!("https://{listen}");
    let settings = [
        ("EMBERBOX_ROLE", "gateway"),
        ("EMBERBOX_BILLING_URL", url.as_str()),
        ("EMBERBOX_BILLING_GATEWAY", "gateway-a"),
        ("EMBERBOX_BILLING_CA", files[0].as_str()),
        ("EMBERBOX_BILLING_CERTIFICATE", files[1].as_str()),
        ("EMBERBOX_BILLING_KEY", files[2].as_str()),
    ];
    let server = Server::start(world, &home, &settings)?;
    let org = server.org("remote", Some("1"))?;
    let charged = chat(&org)?;
    ensure!(charged == 200, "a call was answered {charged}");
    drop(service);
    let refused = chat(&org)?;
    ensure!(refused == 503, "without its ledger the gateway answered {refused}");
    let service = Service::start(world, &home, &listen)?;
    wait_until("calls to be charged again", || Ok(chat(&org)? == 200))?;
    let check = adds_up(&server)?;
    server.stop()?;
    drop(service);
    Ok(format!("{} receipts through mutual TLS; 503 while the ledger was away", check["receipts"]))
}
