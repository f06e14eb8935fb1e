//! `emberbox login`: remembers a server and a key in the user's own file.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::format::cell;
use super::settings::{Flags, UserFile};

/// Remember --url and --key (and --admin-url, --operator-token) for later commands
///
/// They are checked with the server first and stored in ~/.config/emberbox/config.toml, which
/// only you can read. Flags and environment variables still win over it.
#[derive(Debug, Args)]
pub(super) struct Arguments {}

pub(super) fn run(
    flags: &Flags,
    _arguments: &Arguments,
    context: &Context,
) -> Result<(), CliError> {
    let settings = &context.settings;
    let me = context.client()?.get("/v1/me")?;
    let path = &settings.config_file;
    let file = UserFile {
        url: Some(settings.url.clone()),
        key: settings.key.as_ref().map(|key| key.reveal().to_owned()),
        ..UserFile::read(path)?
    };
    let file = UserFile {
        admin_url: flags.admin_url.clone().or(file.admin_url),
        operator_token: flags.operator_token.clone().or(file.operator_token),
        ..file
    };
    file.write(path)?;
    let answer =
        json!({"url": settings.url, "org": me["org"], "stored_in": path.display().to_string()});
    context.out.answer(&answer, |paint| {
        format!(
            "{} as {} of {}\nstored in {}",
            paint.bold(&settings.url),
            cell(&me, "/key/role"),
            paint.bold(&cell(&me, "/org/name")),
            path.display()
        )
    })
}
