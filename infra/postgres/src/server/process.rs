use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long a start or an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until its input ends, which is when our process does, however it does. Then it ends the
/// server `$1` and removes the folder `$2`.
const GUARD: &str = "while read -r _; do :; done
kill -QUIT \"$1\" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 \"$1\" 2>/dev/null || break; sleep 0.2; done
rm -rf -- \"$2\"";

/// What a server can be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// Cut the clients off, write everything down, end.
    Interrupt,
    /// End at once without writing, but give shared memory back.
    Quit,
    /// Die.
    Kill,
}

/// The server's process. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    server: Child,
    guard: Child,
}

impl Process {
    /// Starts the server and its guard.
    pub(super) fn start(mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let mut server = command.spawn().context("cannot start PostgreSQL")?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sh", &server.id().to_string()])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match guard {
            Ok(guard) => Ok(Process { server, guard }),
            Err(error) => {
                server.kill()?;
                server.wait()?;
                Err(error).context("cannot start sh")
            }
        }
    }

    /// Waits until the server says in its own file that it takes connections.
    pub(super) fn wait_ready(&mut self, data: &Path) -> anyhow::Result<()> {
        let file = data.join("postmaster.pid");
        let pid = self.server.id().to_string();
        wait_until("PostgreSQL to be ready", || {
            if let Some(status) = self.server.try_wait()? {
                bail!("it ended with {status}");
            }
            // Its first line is the process, its eighth the state, padded with blanks. After a
            // crash there is one of a process of the past.
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            Ok(lines.next() == Some(&pid) && lines.nth(6) == Some("ready"))
        })
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send(signal, &[self.server.id()])
    }

    /// Waits for the server's end.
    pub(super) fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let mut status = None;
        wait_until("PostgreSQL to end", || {
            status = self.server.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("no exit status")
    }

    /// Kills the server and the processes that serve its clients.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let pid = self.server.id();
        // Where the system does not list them, they notice by themselves that their parent died.
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        let children: Vec<u32> = list.split_whitespace().flat_map(str::parse).collect();
        self.server.kill().context("cannot kill PostgreSQL")?;
        self.server.wait()?;
        for child in children {
            // One that has ended by itself is as dead as one that was killed.
            drop(send(Signal::Kill, &[child]));
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        // First the guard, so that it never signals a number that is another process's by then.
        self.guard.kill()?;
        self.guard.wait()?;
        if self.server.try_wait()?.is_none() {
            self.signal(Signal::Quit)?;
            self.ended().map(|_| ()).or_else(|_| self.kill())?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody to tell, and a panic here would hide the one that a test failed with.
        drop(self.end());
    }
}

fn send(signal: Signal, pids: &[u32]) -> anyhow::Result<()> {
    let name = match signal {
        Signal::Interrupt => "INT",
        Signal::Quit => "QUIT",
        Signal::Kill => "KILL",
    };
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$@\"", "sh", name])
        .args(&pids)
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "cannot send {name} to process {pids:?}");
    Ok(())
}

fn wait_until(
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition()? {
        ensure!(started.elapsed() < PATIENCE, "gave up waiting for {what}");
        park_timeout(LOOK_EVERY);
    }
    Ok(())
}
