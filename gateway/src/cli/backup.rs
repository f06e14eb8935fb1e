//! `emberbox backup` and `emberbox restore`: the whole data folder, there and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use emberbox_billing::{Ledger, LedgerOptions};
use emberbox_catalog::{Catalog, CatalogOptions, SqliteCatalog};
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
use super::format::{cell, rows, size};
use super::serve::runtime;
use super::settings::DataFlag;
use crate::client::ClientError;
use crate::config::{Billing, Config, Role, Store};
use crate::folder::Folder;
use crate::money::backup::{self, Manifest, Part, Source};

/// Copy the whole data folder into a new folder, while the server runs or not
///
/// A running server makes the copy itself, and serves meanwhile. The copy holds every secret that
/// the folder holds: keep it as safe. What is in PostgreSQL is not in it: the output says so, and
/// pg_dump copies that. The exit code is 0 all the same; scripts look at `not_included` of --json.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The new folder
    to: PathBuf,
    /// The server's configuration, which says where ledger and catalog are kept; it is read where
    /// no server answers, and EMBERBOX_* variables override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data: DataFlag,
}

/// Make a data folder of a backup, after every file and the ledger were checked
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup
    from: PathBuf,
    #[command(flatten)]
    data: DataFlag,
}

pub(super) fn back_up(arguments: &Backup, context: &Context) -> Result<(), CliError> {
    let to = std::path::absolute(&arguments.to)
        .map_err(|source| CliError::File { path: arguments.to.clone(), source })?;
    let answer = match context.admin(&arguments.data)?.post("/admin/v1/backup", &json!({"to": to}))
    {
        Ok(answer) => answer,
        // Nobody serves, so that the folder is ours: its lock says so, or refuses.
        Err(ClientError::Unreachable { .. }) => document(&stopped(&configured(arguments)?, &to)?),
        Err(error) => return Err(error.into()),
    };
    context.out.answer(&answer, |_| shown("backed up to", &to, &answer))
}

pub(super) fn restore(arguments: &Restore, context: &Context) -> Result<(), CliError> {
    let data = context.settings.data_folder(&arguments.data);
    let manifest = backup::restore(&arguments.from, &data).map_err(|error| failed(&error))?;
    let answer = document(&manifest);
    context.out.answer(&answer, |_| shown("restored to", &data, &answer))
}

/// The configuration of the server that does not run.
fn configured(arguments: &Backup) -> Result<Config, CliError> {
    let mut config = Config::load(arguments.config.as_deref(), []).map_err(|error| {
        let next = "it is the server's configuration that says where ledger and catalog are";
        CliError::Configuration { what: error.to_string(), next: next.to_owned() }
    })?;
    if let Some(data) = &arguments.data.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

/// Copies a folder that no server has open.
fn stopped(config: &Config, to: &Path) -> Result<Manifest, CliError> {
    let data = &config.data;
    if !data.is_dir() {
        let what = format!("{} is not there, and no server answers", data.display());
        return Err(CliError::Failed { what, next: "name it with --data".to_owned() });
    }
    let folder = Folder::open(data).map_err(|error| failed(&error))?;
    runtime()?.block_on(async {
        let catalog = catalog_of(config, &folder)?;
        let models = match &catalog {
            Part::Here(catalog) => catalog.models().await.map_err(|error| failed(&error))?,
            Part::Elsewhere(_) => Vec::new(),
        };
        let ledger = ledger_of(config, &folder)?;
        let open = match &ledger {
            Part::Here(ledger) => Some(ledger.clone()),
            Part::Elsewhere(_) => None,
        };
        let source = Source { folder: data.to_owned(), ledger, catalog, models };
        let made = backup::write(source, to).await.map_err(|error| failed(&error));
        if let Some(ledger) = open {
            ledger.close().await.map_err(|error| failed(&error))?;
        }
        made
    })
}

/// The ledger, where it is a file of the folder. A file that an earlier configuration left there
/// is not it.
fn ledger_of(config: &Config, folder: &Folder) -> Result<Part<Ledger>, CliError> {
    match (&config.role, &config.ledger, &config.billing) {
        (Role::Gateway(_), _, _) => return Ok(Part::Elsewhere(Part::LEDGER_IN_SERVICE)),
        (_, _, Billing::Unmetered) => return Ok(Part::Elsewhere(Part::NO_LEDGER)),
        (_, Store::Postgres(_), _) => return Ok(Part::Elsewhere(Part::LEDGER_IN_POSTGRES)),
        (_, Store::Sqlite, _) => {}
    }
    let options = LedgerOptions { path: folder.ledger(), ..LedgerOptions::default() };
    match options.path.exists() {
        true => Ledger::open(options).map(Part::Here).map_err(|error| failed(&error)),
        // A gateway's folder, and no configuration that says so.
        false => Ok(Part::Elsewhere(Part::NO_LEDGER_FILE)),
    }
}

/// The catalog, where it is a file of the folder.
fn catalog_of(config: &Config, folder: &Folder) -> Result<Part<Arc<SqliteCatalog>>, CliError> {
    match (&config.role, &config.catalog) {
        (Role::Billing(_), _) => return Ok(Part::Elsewhere(Part::CATALOG_OF_GATEWAYS)),
        (_, Store::Postgres(_)) => return Ok(Part::Elsewhere(Part::CATALOG_IN_POSTGRES)),
        (_, Store::Sqlite) => {}
    }
    let path = folder.catalog();
    if !path.exists() {
        return Ok(Part::Elsewhere(Part::NO_CATALOG_FILE));
    }
    let catalog = SqliteCatalog::open(&CatalogOptions::new(&path));
    catalog.map(|catalog| Part::Here(Arc::new(catalog))).map_err(|error| failed(&error))
}

fn document(manifest: &Manifest) -> Value {
    serde_json::to_value(manifest).unwrap_or_default()
}

fn shown(what: &str, folder: &Path, manifest: &Value) -> String {
    let files = manifest.get("files").map_or(&[][..], rows);
    let bytes = files.iter().filter_map(|file| file.get("bytes").and_then(Value::as_u64)).sum();
    let (count, folder) = (files.len(), folder.display());
    let mut text = format!("{count} files, {}, {what} {folder}", size(bytes));
    for line in manifest.get("not_included").map_or(&[][..], rows) {
        text.push_str(&format!("\nnot in it: {}", cell(line, "")));
    }
    text
}

/// An error and its causes, each said once.
fn failed(error: &dyn std::error::Error) -> CliError {
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !what.contains(&text) {
            what.push_str(&format!(": {text}"));
        }
        source = cause.source();
    }
    CliError::Failed { what, next: String::new() }
}
