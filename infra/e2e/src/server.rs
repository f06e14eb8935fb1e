//! The real binary, started and stopped as an operator would.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::world::World;

/// How long a start or an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running `emberbox serve`. Killed when dropped, so that nothing outlives the program.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Address of the public listener.
    pub(crate) base: String,
    /// Address of the operator's listener.
    pub(crate) admin_base: String,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Everything that the server wrote to its terminal.
    pub(crate) output: PathBuf,
}

/// An organisation made for a check.
#[derive(Debug)]
pub(crate) struct Org {
    /// Its name, as in the addresses of its functions.
    pub(crate) name: String,
    /// The public API with its owner's key.
    pub(crate) api: Api,
}

impl Server {
    /// Starts a server on the data folder `home/data` and waits until it is ready.
    pub(crate) fn start(
        world: &World,
        home: &Path,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (listen, admin) = free_addresses()?;
        let data = home.join("data");
        let output = home.join("output.log");
        let log = File::options().create(true).append(true).open(&output)?;
        let mut command = world.command(&world.emberbox, home);
        command
            .arg("serve")
            .env("EMBERBOX_DATA", &data)
            .env("EMBERBOX_LISTEN", &listen)
            .env("EMBERBOX_ADMIN_LISTEN", &admin)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().context("cannot start emberbox serve")?;
        let (base, admin_base) = (format!("http://{listen}"), format!("http://{admin}"));
        let mut server = Self { child, base, admin_base, data, output };
        server.wait_ready()?;
        Ok(server)
    }

    /// The operator's API.
    pub(crate) fn admin(&self) -> anyhow::Result<Api> {
        let token = std::fs::read_to_string(self.data.join("operator.token"))?;
        Ok(Api::new(&self.admin_base, token.trim()))
    }

    /// Makes an organisation that has `credits`, or nothing where that is `None`.
    pub(crate) fn org(&self, name: &str, credits: Option<&str>) -> anyhow::Result<Org> {
        let admin = self.admin()?;
        let made = admin.post("/admin/v1/orgs", &json!({ "name": name }))?.ok()?;
        let key = text(&made, "/key")?;
        if let Some(amount) = credits {
            let grant = json!({ "org": name, "amount": amount, "id": format!("e2e-{name}") });
            admin.post("/admin/v1/credits", &grant)?.ok()?;
        }
        Ok(Org { name: name.to_owned(), api: Api::new(&self.base, &key) })
    }

    /// Sends a signal by its name, `TERM` or `KILL`.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let kill = ["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid];
        let status = Command::new("sh").args(kill).status()?;
        ensure!(status.success(), "cannot send {name} to process {pid}");
        Ok(())
    }

    /// Waits for the process to end.
    pub(crate) fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let mut status = None;
        wait_until("the server to end", || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("no exit status")
    }

    /// Asks the server to stop and waits for it, expecting the exit code 0.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let status = self.ended()?;
        ensure!(status.success(), "after SIGTERM the server ended with {status}");
        Ok(())
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let probe = Api::new(&self.base, "");
        wait_until("the server to be ready", || {
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(&self.output).unwrap_or_default();
                bail!("emberbox serve ended with {status}:\n{said}");
            }
            Ok(probe.get("/readyz").is_ok_and(|answer| answer.status == 200))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where the process has ended, which is what is wanted.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Looks at a condition until it holds.
pub(crate) fn wait_until(
    what: &str,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        park_timeout(LOOK_EVERY);
    }
    Ok(())
}

/// A string inside a JSON value, by its pointer.
pub(crate) fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no text at {pointer} of {value}"))
}

/// Two addresses on this machine that were free a moment ago.
pub(crate) fn free_addresses() -> anyhow::Result<(String, String)> {
    let one = TcpListener::bind("127.0.0.1:0")?;
    let other = TcpListener::bind("127.0.0.1:0")?;
    Ok((one.local_addr()?.to_string(), other.local_addr()?.to_string()))
}
