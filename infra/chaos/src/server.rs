//! The real binary on one data folder: started, looked at, ended.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

use crate::client::{Ask, Client};
use crate::plan::Fault;

/// How long a start or an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where the servers of a run live.
#[derive(Debug)]
pub(crate) struct Home {
    /// The program.
    pub(crate) emberbox: PathBuf,
    /// The folder of everything.
    pub(crate) folder: PathBuf,
    /// The library that makes storage fail, where it was built.
    pub(crate) faults: Option<PathBuf>,
    /// Whether most of the write-ahead log is cut off after each kill.
    pub(crate) sabotage: bool,
}

/// A running `emberbox serve`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// The public listener.
    pub(crate) public: SocketAddr,
    /// The operator's listener.
    pub(crate) admin: SocketAddr,
    /// From the start of the process until it was ready.
    pub(crate) ready_after: Duration,
}

/// What came of a start.
pub(crate) enum Started {
    /// It is ready.
    Ready(Box<Server>),
    /// It ended by itself before it was ready.
    Ended(ExitStatus),
}

impl Home {
    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Everything that the servers wrote to their terminals.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    /// What `faults.c` wrote when it struck: the operation and the file.
    pub(crate) fn struck(&self) -> Option<String> {
        let said = std::fs::read_to_string(self.fault_log()).ok()?;
        said.lines().next().map(str::to_owned)
    }

    fn fault_log(&self) -> PathBuf {
        self.folder.join("fault.log")
    }

    /// Loses most of the log that a dead process left, where that is asked for.
    pub(crate) fn lose_the_end(&self) -> anyhow::Result<()> {
        let log = self.data().join("ledger.db-wal");
        if self.sabotage && log.exists() {
            let file = File::options().write(true).open(&log)?;
            let length = file.metadata()?.len();
            file.set_len(length / 32)?;
        }
        Ok(())
    }

    /// Builds the library that makes storage fail.
    pub(crate) async fn build_faults(&mut self) -> anyhow::Result<()> {
        let source = self.folder.join("faults.c");
        let library = self.folder.join("faults.so");
        std::fs::write(&source, include_str!("../faults.c"))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source);
        let status = cc.status().await.context("no C compiler: cc")?;
        ensure!(status.success(), "cc ended with {status}");
        self.faults = Some(library);
        Ok(())
    }

    /// Starts the server and waits until it is ready or has ended.
    pub(crate) async fn start(&self, fault: Option<Fault>) -> anyhow::Result<Started> {
        let mut server = self.spawn(fault)?;
        let began = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                return Ok(Started::Ended(status));
            }
            if ready(server.public).await {
                server.ready_after = began.elapsed();
                return Ok(Started::Ready(Box::new(server)));
            }
            ensure!(began.elapsed() < PATIENCE, "not ready after {PATIENCE:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Starts the server without a fault; it must get ready.
    pub(crate) async fn started(&self) -> anyhow::Result<Server> {
        match self.start(None).await? {
            Started::Ready(server) => Ok(*server),
            Started::Ended(status) => bail!("the start ended with {status}: {}", self.last_words()),
        }
    }

    /// Starts the server and kills it after a time, ready or not.
    pub(crate) async fn start_and_kill(&self, after: Duration) -> anyhow::Result<()> {
        let mut server = self.spawn(None)?;
        if let Ok(ended) = tokio::time::timeout(after, server.child.wait()).await {
            bail!("the start ended with {}: {}", ended?, self.last_words());
        }
        server.kill().await
    }

    /// The end of what the servers wrote.
    pub(crate) fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.output()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    fn spawn(&self, fault: Option<Fault>) -> anyhow::Result<Server> {
        let (public, admin) = free_addresses()?;
        let log = File::options().create(true).append(true).open(self.output())?;
        let mut command = Command::new(&self.emberbox);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy();
            if ours.starts_with("EMBERBOX_") || ours.starts_with("OTEL_") || ours == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        command
            .arg("serve")
            .env("HOME", &self.folder)
            .env("EMBERBOX_DATA", self.data())
            .env("EMBERBOX_LISTEN", public.to_string())
            .env("EMBERBOX_ADMIN_LISTEN", admin.to_string())
            .env("EMBERBOX_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(fault) = fault {
            remove(&self.fault_log())?;
            command
                .env("LD_PRELOAD", self.faults.as_ref().context("faults.c was not built")?)
                .env("EMBERBOX_CHAOS_FAULT", fault.to_string())
                .env("EMBERBOX_CHAOS_LOG", self.fault_log());
        }
        let child = command.spawn().with_context(|| self.emberbox.display().to_string())?;
        Ok(Server { child, public, admin, ready_after: Duration::ZERO })
    }
}

impl Server {
    /// Whether the process is still there.
    pub(crate) fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop.
    pub(crate) async fn term(&self) -> anyhow::Result<()> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        let kill = ["-c", "kill -s TERM \"$1\"", "sh", &pid.to_string()];
        let status = Command::new("sh").args(kill).status().await?;
        ensure!(status.success(), "cannot send TERM to process {pid}");
        Ok(())
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.context("the server did not end after SIGTERM")??)
    }
}

async fn ready(public: SocketAddr) -> bool {
    let mut probe = Client::new(public, "");
    probe.want(Ask::get("/readyz")).await.is_ok_and(|answer| answer.status.is_success())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Two addresses on this machine that were free a moment ago.
fn free_addresses() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let one = TcpListener::bind("127.0.0.1:0")?;
    let other = TcpListener::bind("127.0.0.1:0")?;
    Ok((one.local_addr()?, other.local_addr()?))
}
