use std::fs::{File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::PostgresOptions;
use crate::account::Account;
use crate::options::server_file;
use crate::programs::Programs;
use process::{Process, Signal};

/// The server's process, and the shell that ends it should ours be killed.
mod process;
#[cfg(test)]
mod tests;

/// The account inside of PostgreSQL that owns everything.
const USER: &str = "emberbox";
/// Ports to choose from: below those that the system gives to outgoing connections, of which one
/// could take the server's own while it is stopped.
const PORTS: Range<u16> = 20_000..32_000;
/// How many ports are tried: another program may have one already.
const PORTS_TRIED_MAX: u32 = 32;
/// How often a server is started again after it was killed, each time for some tens of milliseconds.
const RESTARTS_TRIED_MAX: usize = 50;
/// The server's certificate and its key, under the names that it looks for.
const CERTIFICATE: [&str; 2] = ["server.crt", "server.key"];
/// How much of the server's log an error quotes, in bytes.
const LOG_BYTES_MAX: usize = 4_096;

/// A PostgreSQL server on a temporary folder, listening on a free port of the loopback interface.
///
/// Dropping it ends the server and removes the folder. A process that is killed before it drops it
/// leaves neither behind. Its superuser has a random password, so other users of the machine can
/// do nothing with it.
#[derive(Debug)]
pub struct PostgresServer {
    /// Ended before the folder goes.
    process: Option<Process>,
    folder: TempDir,
    programs: Programs,
    account: Option<Account>,
    options: PostgresOptions,
    port: u16,
    password: String,
    /// How many databases were made. Making one is done under the lock: PostgreSQL refuses to copy
    /// its template twice at a time.
    databases: Mutex<u32>,
}

/// The one server of this process for tests that share: without fsync, and never stopped. Its
/// databases are apart: take a fresh one with [`PostgresServer::database`].
///
/// # Errors
///
/// Those of [`PostgresServer::start`], the same at every call.
pub fn shared() -> anyhow::Result<&'static PostgresServer> {
    static SHARED: OnceLock<Result<PostgresServer, String>> = OnceLock::new();
    let options = || PostgresOptions { fsync: false, ..PostgresOptions::default() };
    let start = || PostgresServer::start_with(options()).map_err(|error| format!("{error:#}"));
    SHARED.get_or_init(start).as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))
}

impl PostgresServer {
    /// Starts a server with the default options and waits until it answers.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresServer::start_with`].
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(PostgresOptions::default())
    }

    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed, when we are root and there is no other account to run it
    /// under, or when it does not start: the end of its log is quoted.
    pub fn start_with(options: PostgresOptions) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let parent = options.parent.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix("emberbox-postgres-")
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let account = Account::instead_of_root(folder.path())?;
        if let Some(account) = account {
            account.own(folder.path())?;
        }
        let password = random_password()?;
        let (process, port, databases) = (None, 0, Mutex::new(0));
        let mut server =
            Self { process, folder, programs, account, options, port, password, databases };
        server.initialise()?;
        server.launch_on_a_free_port()?;
        Ok(server)
    }

    /// The address of the database `postgres`, which every server has.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database whose name begins with `name`, and returns its address. Every call
    /// makes another one.
    ///
    /// # Errors
    ///
    /// When the name holds other characters than `a` to `z`, digits and `_`, or when the server
    /// refuses.
    pub fn database(&self, name: &str) -> anyhow::Result<String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        ensure!(!name.is_empty() && name.chars().all(allowed), "{name:?} names no database");
        let mut made = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        *made += 1;
        let database = format!("{name}_{}", *made);
        self.query(&self.url(), &format!("CREATE DATABASE \"{database}\""))?;
        Ok(self.url_of(&database))
    }

    /// Runs SQL with `psql` and returns what it prints: a line for each row, `|` between columns.
    ///
    /// # Errors
    ///
    /// When a statement is refused: what `psql` said.
    pub fn query(&self, url: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = self.programs.command("psql", self.folder.path(), None);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--dbname", url, "--command", sql])
            .env("PGPASSWORD", &self.password);
        output_of(psql)
    }

    /// The folder with the server's data.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The end of what the server wrote to its log.
    pub fn log(&self) -> String {
        let text = std::fs::read(self.log_file()).unwrap_or_default();
        let start = text.len().saturating_sub(LOG_BYTES_MAX);
        String::from_utf8_lossy(&text[start..]).into_owned()
    }

    /// Stops the server as an operator does, its clients cut off, and waits for its end. Nothing
    /// happens where it does not run.
    ///
    /// # Errors
    ///
    /// When it does not end, or ends with an error.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::Interrupt)?;
        let status = process.ended()?;
        ensure!(status.success(), "PostgreSQL ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Kills all of the server's processes at once, as a crash would, and waits for their end.
    ///
    /// # Errors
    ///
    /// When they cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()
    }

    /// Starts the server on the same folder and the same port, stopping it first where it runs,
    /// and waits until it answers.
    ///
    /// # Errors
    ///
    /// As for [`PostgresServer::start_with`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        for _ in 0..RESTARTS_TRIED_MAX {
            match self.launch() {
                // Processes that were killed hold the memory that they shared for a moment longer.
                Err(error) if format!("{error:#}").contains("shared memory block") => {}
                result => return result,
            }
        }
        self.launch()
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@{}:{}/{database}", self.password, self.host(), self.port)
    }

    fn host(&self) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Makes the data folder.
    fn initialise(&self) -> anyhow::Result<()> {
        let password_file = self.folder.path().join("password");
        std::fs::write(&password_file, &self.password)?;
        if let Some(account) = self.account {
            account.own(&password_file)?;
        }
        let mut initdb = self.programs.command("initdb", self.folder.path(), self.account);
        initdb
            .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--no-instructions"])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(self.data_folder());
        output_of(initdb)?;
        std::fs::remove_file(password_file)?;
        for name in CERTIFICATE.iter().filter(|_| self.options.tls) {
            self.install(name)?;
        }
        Ok(())
    }

    /// Copies a fixture into the data folder, readable by the server only, as it insists.
    fn install(&self, name: &str) -> anyhow::Result<()> {
        let from = server_file(name);
        let to = self.data_folder().join(name);
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        std::fs::set_permissions(&to, Permissions::from_mode(0o600))?;
        self.account.map_or(Ok(()), |account| account.own(&to))
    }

    /// Launches until a port was really free.
    fn launch_on_a_free_port(&mut self) -> anyhow::Result<()> {
        for _ in 0..PORTS_TRIED_MAX {
            self.port = random_port()?;
            if TcpListener::bind((self.host(), self.port)).is_err() {
                continue;
            }
            match self.launch() {
                Err(_) if self.log().contains("Address already in use") => {
                    std::fs::write(self.log_file(), "")?;
                }
                result => return result,
            }
        }
        bail!("other programs took {PORTS_TRIED_MAX} ports, one after the other")
    }

    /// Starts the server on its port and waits until it answers.
    fn launch(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.programs.command("postgres", self.folder.path(), self.account);
        command.arg("-D").arg(self.data_folder());
        let own = [
            ("listen_addresses", self.host().to_string()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            ("fsync", self.options.fsync.to_string()),
            ("ssl", self.options.tls.to_string()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in own.chain(self.options.settings.iter().cloned()) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .envs(self.options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt from the keyboard is for the tests; the server ends after them.
            .process_group(0);
        let mut process = Process::start(command, self.folder.path())?;
        process.wait_ready(&self.data_folder()).with_context(|| {
            format!("PostgreSQL did not start; the end of its log:\n{}", self.log())
        })?;
        self.process = Some(process);
        Ok(())
    }
}

fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).context("no random bytes for a password")?;
    Ok(hex::encode(bytes))
}

fn random_port() -> anyhow::Result<u16> {
    let mut bytes = [0_u8; 2];
    getrandom::fill(&mut bytes).context("no random bytes for a port")?;
    Ok(PORTS.start + u16::from_le_bytes(bytes) % (PORTS.end - PORTS.start))
}

/// Runs a command to its end and returns what it printed.
fn output_of(mut command: Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} ended with {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
