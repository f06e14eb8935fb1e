//! `emberbox secrets`: what functions find in their environment, and nobody sees.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use emberbox_catalog::check_secret_name;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::format::{cell, rows, time_cell};
use super::output::{Table, left};
use crate::secrets::{VALUE_BYTES_MAX, check_value};

/// List, set and delete the secrets of the organisation
///
/// A function whose emberbox.toml names a secret, as in `secrets = ["API_TOKEN"]`, finds its value
/// in the environment variable of that name. Nobody can ask for a value again.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the names of the secrets (the default)
    List,
    /// Set a secret to what standard input or a file holds; the next call of a function has it
    ///
    /// The value is no argument, since other users of this machine see those. The line's end that a
    /// pipe brings along is removed; a file is taken as it is.
    Set {
        /// The name, as functions name it: A to Z, 0 to 9 and '_'
        #[arg(value_parser = secret_name)]
        name: String,
        /// Read the value from this file instead of standard input
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// Delete a secret; the next call of a function does not have it
    Delete {
        /// The name
        #[arg(value_parser = secret_name)]
        name: String,
    },
}

fn secret_name(text: &str) -> Result<String, String> {
    check_secret_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        None | Some(Action::List) => list(context),
        Some(Action::Set { name, from_file }) => {
            let client = context.client()?;
            let value = match from_file {
                Some(file) => from(File::open(file), file)?,
                None => piped(context)?,
            };
            check_value(&value).map_err(|reason| CliError::Usage(format!("a secret {reason}")))?;
            let set = client.put(&format!("/v1/secrets/{name}"), &json!({ "value": value }))?;
            context.out.answer(&set, |paint| {
                format!("{} is set; functions find it with their next call", paint.bold(name))
            })
        }
        Some(Action::Delete { name }) => {
            context.client()?.delete(&format!("/v1/secrets/{name}"))?;
            let answer = json!({ "name": name, "deleted": true });
            context.out.answer(&answer, |_| format!("{name} is deleted"))
        }
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let secrets = context.client()?.get("/v1/secrets")?;
    context.out.answer(&secrets, |paint| {
        let columns = [left("NAME"), left("CREATED (UTC)"), left("SET (UTC)")];
        let mut table = Table::new(&columns);
        for secret in rows(&secrets) {
            table.row(vec![
                cell(secret, "/name"),
                time_cell(secret, "/created_at_ms"),
                time_cell(secret, "/updated_at_ms"),
            ]);
        }
        table.render(paint, "no secrets")
    })
}

/// The value on standard input, without the line's end that `echo` and an editor leave.
fn piped(context: &Context) -> Result<String, CliError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        context.out.note("The value, then a line's end and Ctrl-D (what you type can be seen):");
    }
    let mut value = from(Ok(input.lock()), Path::new("standard input"))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    Ok(value)
}

/// Reads no more than a value may have, and the end of its line.
fn from(input: std::io::Result<impl Read>, place: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { path: place.to_owned(), source };
    let mut bytes = Vec::new();
    let bytes_max = VALUE_BYTES_MAX as u64 + 3;
    input.map_err(failed)?.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    // The error would have the bytes.
    String::from_utf8(bytes).or(Err(CliError::Usage("a secret must be UTF-8".to_owned())))
}
