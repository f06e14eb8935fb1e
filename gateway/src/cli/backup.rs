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
use crate::folder::Folder;
use crate::money::backup::{self, Manifest, Source};

/// Copy the whole data folder into a new folder, while the server runs or not
///
/// A running server makes the copy itself, and serves meanwhile. The copy holds every secret that
/// the folder holds: keep it as safe.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The new folder
    to: PathBuf,
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
        Err(ClientError::Unreachable { .. }) => {
            let data = context.settings.data_folder(&arguments.data);
            document(&stopped(&data, &to)?)
        }
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

/// Copies a folder that no server has open.
fn stopped(data: &Path, to: &Path) -> Result<Manifest, CliError> {
    if !data.is_dir() {
        let what = format!("{} is not there, and no server answers", data.display());
        return Err(CliError::Failed { what, next: "name it with --data".to_owned() });
    }
    let folder = Folder::open(data).map_err(|error| failed(&error))?;
    runtime()?.block_on(async {
        // A process in the role `billing` has no catalog, one in the role `gateway` no ledger.
        let catalog = match folder.catalog().exists() {
            true => Some(
                SqliteCatalog::open(&CatalogOptions::new(&folder.catalog()))
                    .map_err(|error| failed(&error))?,
            ),
            false => None,
        };
        let models = match &catalog {
            Some(catalog) => catalog.models().await.map_err(|error| failed(&error))?,
            None => Vec::new(),
        };
        let options = LedgerOptions { path: folder.ledger(), ..LedgerOptions::default() };
        let ledger = match folder.ledger().exists() {
            true => Some(Ledger::open(options).map_err(|error| failed(&error))?),
            false => None,
        };
        let source = Source {
            folder: data.to_owned(),
            ledger: ledger.clone(),
            catalog: catalog.map(Arc::new),
            models,
        };
        let made = backup::write(source, to).await.map_err(|error| failed(&error));
        if let Some(ledger) = ledger {
            ledger.close().await.map_err(|error| failed(&error))?;
        }
        made
    })
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
