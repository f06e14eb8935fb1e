//! Other processes: the peers and our own server, each apart from the load.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a port is tried until then.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// A server in a process of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Process {
    /// The system's number of it.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// Lets one of our own end in its own time, with what it has written kept.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "a server ended with {status}");
        Ok(())
    }
}

/// A subcommand of this very program, started apart. Its first line of output is returned: it says
/// in JSON where it listens.
pub(crate) async fn ourselves(arguments: &[&str]) -> anyhow::Result<(Process, serde_json::Value)> {
    let mut command = Command::new(std::env::current_exe()?);
    // The child serves until its standard input closes, so it cannot outlive this program.
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let said: serde_json::Value =
        serde_json::from_str(&line).with_context(|| format!("{arguments:?} said {line:?}"))?;
    let address = said["address"].as_str().context("no address")?.parse()?;
    Ok((Process { child, address }, said))
}

/// Another program that is told its address by `{}` in its arguments.
pub(crate) async fn other(
    program: &std::path::Path,
    arguments: &[&str],
) -> anyhow::Result<Process> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let told = arguments.iter().map(|part| part.replace("{}", &address.to_string()));
    let mut command = Command::new(program);
    command.args(told).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| program.display().to_string())?;
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}", program.display());
        }
        if began.elapsed() > START_TIMEOUT {
            bail!("{} does not listen on {address}", program.display());
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    Ok(Process { child, address })
}

/// Waits until standard input closes, which happens when the parent ends, however it ends.
pub(crate) async fn until_abandoned() -> anyhow::Result<()> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Tells the parent where this process listens.
#[expect(clippy::print_stdout, reason = "the parent reads this line")]
pub(crate) fn announce(said: &serde_json::Value) {
    println!("{said}");
}
