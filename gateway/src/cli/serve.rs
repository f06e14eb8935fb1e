//! `emberbox serve`: runs a server until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::output::{Output, Paint};
use super::settings::DataFlag;
use crate::config::Role;
use crate::{Compiler, Config, Running};

/// How long calls in progress may go on after the order to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Run a server: everything in one data folder, or one part of an installation
///
/// The first start prints a key, once. Ctrl-C or SIGTERM lets the calls in progress end, for at
/// most 30 seconds; a second Ctrl-C does not wait for them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which part to run: all, gateway or billing [default: all]
    #[arg(long, value_name = "ROLE", value_parser = ["all", "gateway", "billing"])]
    role: Option<String>,
    /// Where callers connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the operator connects; keep it off the internet [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// The server's configuration, in TOML; EMBERBOX_* variables override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run functions and models in processes of their own
    #[arg(long)]
    isolate: bool,
    #[command(flatten)]
    data: DataFlag,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let role = arguments.role.iter().map(|role| ("EMBERBOX_ROLE".to_owned(), role.clone()));
    let mut config = Config::load(arguments.config.as_deref(), role).map_err(|error| {
        CliError::Configuration {
            what: error.to_string(),
            next: "correct them; infra/emberbox.example.toml lists every setting".to_owned(),
        }
    })?;
    if let Some(data) = &arguments.data.data {
        config.data.clone_from(data);
    }
    if let Some(listen) = arguments.listen {
        match &mut config.role {
            Role::Billing(service) => service.listen = listen,
            Role::All | Role::Gateway(_) => config.listen = listen,
        }
    }
    config.isolation.enabled |= arguments.isolate;
    config.compiler.program = Compiler::own_program();
    config.admin_listen = arguments.admin_listen.unwrap_or(config.admin_listen);
    runtime()?.block_on(serve(config, context.out))
}

/// After how many polls a thread looks at sockets and timers. A guest that computes takes an epoch
/// tick for each of its polls, so the default of 61 would keep its neighbours waiting that long.
const EVENT_INTERVAL_POLLS: u32 = 8;

/// The threads that a server's tasks run on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().event_interval(EVENT_INTERVAL_POLLS).build().map_err(|error| {
        CliError::Failed {
            what: format!("the server's threads cannot be started: {error}"),
            next: String::new(),
        }
    })
}

async fn serve(config: Config, out: Output) -> Result<(), CliError> {
    let is_service = matches!(config.role, Role::Billing(_));
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let running = Box::pin(crate::start(config)).await.map_err(|error| start_failed(&error))?;
    let url = match is_service {
        true => format!("https://{}", running.public),
        false => format!("http://{}", running.public),
    };
    let admin_url = format!("http://{}", running.admin);
    let answer = json!({
        "url": url,
        "admin_url": admin_url,
        "data": data.display().to_string(),
        "first_key": running.first_key,
    });
    out.answer(&answer, |paint| {
        let name = if is_service { "billing" } else { "public " };
        let mut text = format!(
            "{}\n\n  {name} {url}\n  admin   {admin_url}\n  data    {}\n",
            paint.bold(concat!("Emberbox ", env!("CARGO_PKG_VERSION"))),
            data.display()
        );
        if let Some(key) = &running.first_key {
            text.push_str("\nThe first key, shown this once:\n\n");
            text.push_str(&exports(&url, key, paint));
        }
        if !is_service {
            text.push_str(&next_commands(paint));
        }
        text.push_str("\nCtrl-C stops the server.\n");
        text
    })?;
    wait_and_drain(running, out).await
}

/// Why a server did not start, as every source says it, outermost first.
pub(crate) fn start_failed(error: &dyn std::error::Error) -> CliError {
    let mut what = format!("the server did not start: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // A source that its error already repeats is not said twice.
        if !what.contains(&text) {
            what.push_str(&format!(": {text}"));
        }
        source = cause.source();
    }
    CliError::Failed {
        what,
        next: "for an address in use, choose others with --listen and --admin-listen; for a data \
               folder in use, stop its server or choose another with --data"
            .to_owned(),
    }
}

/// Serves until the first signal, then drains until it is done or the second signal comes.
pub(crate) async fn wait_and_drain(running: Running, out: Output) -> Result<(), CliError> {
    stop_signal().await?;
    out.note("stopping: calls in progress may end; Ctrl-C again does not wait for them");
    tokio::select! {
        () = running.shutdown(GRACE) => Ok(()),
        signal = stop_signal() => signal,
    }
}

/// Ctrl-C, or SIGTERM as service managers send it.
pub(crate) async fn stop_signal() -> Result<(), CliError> {
    let failed = |error| CliError::Failed {
        what: format!("signals cannot be waited for: {error}"),
        next: String::new(),
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result.map_err(failed),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map_err(failed)
}

/// The lines that make a shell talk to this server.
pub(crate) fn exports(url: &str, key: &str, paint: Paint) -> String {
    let lines = [format!("export EMBERBOX_URL={url}"), format!("export EMBERBOX_API_KEY={key}")];
    lines.iter().map(|line| format!("  {}\n", paint.cyan(line))).collect()
}

/// What to type in a second terminal.
pub(crate) fn next_commands(paint: Paint) -> String {
    let commands = [
        ("emberbox chat \"Tell me a story.\"", "ask the bundled model"),
        ("emberbox new hello && cd hello", "a function of your own"),
        ("emberbox deploy", "build it and put it online"),
        ("emberbox invoke hello", "call it"),
        ("emberbox usage", "what it cost"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let mut text = "\nIn another terminal:\n\n".to_owned();
    for (command, purpose) in commands {
        let gap = " ".repeat(width - command.len());
        text.push_str(&format!("  {}{gap}  {}\n", paint.cyan(command), paint.dim(purpose)));
    }
    text
}
