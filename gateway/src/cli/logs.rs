//! `emberbox logs`: what a function wrote to its standard output and standard error.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::context::{Context, own_function, plain};
use super::error::CliError;
use super::format::{cell, rows, time_cell};
use super::output::Paint;

/// How often `--follow` asks for more.
const POLL: Duration = Duration::from_millis(500);

/// Show what a function wrote since the server's start; with --json one object per line
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function
    #[arg(value_parser = own_function)]
    function: String,
    /// Only of this request, whose id is in the answer's header x-request-id
    #[arg(long, value_name = "ID", value_parser = plain)]
    request: Option<String>,
    /// Keep printing what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// How many lines at a time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let mut after = 0;
    loop {
        let mut path = format!(
            "/v1/functions/{}/logs?after={after}&limit={}",
            arguments.function, arguments.limit
        );
        if let Some(request) = &arguments.request {
            path.push_str(&format!("&request_id={request}"));
        }
        let page = client.get(&path)?;
        let lines = rows(&page);
        for line in lines {
            context.out.answer(line, |paint| shown(line, paint))?;
        }
        after = page.get("next").and_then(Value::as_u64).unwrap_or(after);
        if !lines.is_empty() && (arguments.follow || is_full(lines, arguments.limit)) {
            continue;
        }
        if !arguments.follow {
            return Ok(());
        }
        wait();
    }
}

/// Whether there may be more behind this page.
fn is_full(lines: &[Value], limit: u32) -> bool {
    u32::try_from(lines.len()).is_ok_and(|count| count >= limit)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the logs' route offers no push, so this is the poll's interval; Ctrl-C ends it"
)]
fn wait() {
    std::thread::sleep(POLL);
}

fn shown(line: &Value, paint: Paint) -> String {
    let text = cell(line, "/line");
    let text = if cell(line, "/stream") == "stderr" { paint.red(&text) } else { text };
    let origin = format!("{}  {}", time_cell(line, "/at_ms"), cell(line, "/request_id"));
    format!("{}  {text}", paint.dim(&origin))
}
