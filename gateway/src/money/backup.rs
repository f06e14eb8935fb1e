use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use emberbox_billing::{BillingError, Ledger, audit_file};
use emberbox_catalog::{CatalogError, Model, SqliteCatalog};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::files::{
    copy, create_folder, create_new, create_private, lies_within, sync, sync_folders, through,
};
use super::shown;
use super::spans::now_ms;
use crate::body::{self, Body};
use crate::errors::ApiError;
use crate::folder::SECRETS_KEY;
use crate::json::{self, Object};
use crate::respond;
use crate::stack::Response;

/// Files and folders, copied, private and durable.
mod files;

const MANIFEST: &str = "manifest.json";
const LEDGER: &str = "ledger.db";
const CATALOG: &str = "catalog.db";
const ARTIFACTS: &str = "artifacts";
const TOKEN: &str = "operator.token";
const MODELS: &str = "models.json";
/// With its key beside it, a sealed value would be no better than a plain one.
const KEY_OF_SECRETS: &str = "the key of functions' secrets: keep a copy of the data folder's \
    secrets.key elsewhere, and put it into the restored folder";
/// The format of a backup; a later one is refused.
const FORMAT: u32 = 1;
/// The largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What lies in a backup, and the sums that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    emberbox: String,
    made_at_ms: u64,
    files: Vec<Kept>,
    /// What is kept elsewhere and is not in here, in sentences.
    not_included: Vec<String>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    path: String,
    bytes: u64,
    sha256: String,
}

/// What is copied.
pub(crate) struct Source {
    /// The data folder.
    pub(crate) folder: PathBuf,
    pub(crate) ledger: Part<Ledger>,
    pub(crate) catalog: Part<Arc<SqliteCatalog>>,
    pub(crate) models: Vec<Model>,
}

/// A part of what a server keeps.
pub(crate) enum Part<T> {
    /// A file of the data folder.
    Here(T),
    /// It is kept elsewhere, or nowhere: says where, and how it is copied.
    Elsewhere(&'static str),
}

impl Part<()> {
    /// Where a ledger that is no file of this folder is.
    pub(crate) const LEDGER_IN_POSTGRES: &str =
        "the ledger: it is in PostgreSQL, `pg_dump --schema=emberbox_ledger` copies it";
    /// A gateway's ledger.
    pub(crate) const LEDGER_IN_SERVICE: &str =
        "the ledger: the billing service keeps it, back that up too";
    /// Nobody is charged.
    pub(crate) const NO_LEDGER: &str = "the ledger: there is none, nothing is charged";
    /// A folder without the file.
    pub(crate) const NO_LEDGER_FILE: &str =
        "the ledger: the folder has none; name the server's configuration if it is elsewhere";
    /// A folder without the file.
    pub(crate) const NO_CATALOG_FILE: &str =
        "the catalog: the folder has none; name the server's configuration if it is elsewhere";
    /// Where a catalog that is no file of this folder is.
    pub(crate) const CATALOG_IN_POSTGRES: &str =
        "the catalog: it is in PostgreSQL, `pg_dump --schema=emberbox_catalog` copies it";
    /// A billing service's catalog.
    pub(crate) const CATALOG_OF_GATEWAYS: &str =
        "the catalog: gateways keep it, back one of them up too";
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("{} lies in the data folder", .0.display())]
    Inside(PathBuf),
    #[error("{} is not empty: a backup is restored into a new folder", .0.display())]
    NotEmpty(PathBuf),
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the ledger: {0}")]
    Ledger(#[from] BillingError),
    #[error("the catalog: {0}")]
    Catalog(#[from] CatalogError),
    #[error("{0}")]
    Damaged(String),
    #[error("the copy did not end: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A folder that grows under another name and is removed where it does not get its own.
struct Draft {
    path: PathBuf,
    finished: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, folder = %self.path.display(), "a draft was left behind");
        }
    }
}

impl Draft {
    fn beside(to: &Path, suffix: &str) -> Result<Draft, BackupError> {
        // Without the slash at its end that a shell completes.
        let mut name = to.components().collect::<PathBuf>().into_os_string();
        name.push(suffix);
        let path = PathBuf::from(name);
        // One that is left over of a crash may hold half a file, and another copy may be going on.
        match create_folder(&path) {
            Ok(()) => Ok(Draft { path, finished: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists(path))
            }
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Gives the folder its name, durably.
    fn finish(mut self, to: &Path) -> Result<(), BackupError> {
        sync_folders(&self.path).map_err(failed(&self.path))?;
        fs::rename(&self.path, to).map_err(failed(to))?;
        self.finished = true;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new("."))).map_err(failed(to))
    }
}

/// Copies a data folder into the new folder `to`, while it is served or not.
///
/// The ledger is copied before the catalog, so that every organisation that has money is in the
/// copy, and components before and after the catalog, so that every version that it names is.
pub(crate) async fn write(source: Source, to: &Path) -> Result<Manifest, BackupError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    if lies_within(to, &source.folder).map_err(failed(to))? {
        return Err(BackupError::Inside(to.to_owned()));
    }
    let draft = Draft::beside(to, ".partial")?;
    let mut not_included = Vec::new();
    let artifacts = (source.folder.join(ARTIFACTS), draft.path.join(ARTIFACTS));
    let (from, into) = artifacts.clone();
    tokio::task::spawn_blocking(move || copy_artifacts(&from, &into)).await??;
    match &source.ledger {
        Part::Here(ledger) => ledger.backup(&draft.path.join(LEDGER)).await?,
        Part::Elsewhere(said) => not_included.push((*said).to_owned()),
    }
    let to = to.to_owned();
    let finish = move || {
        match &source.catalog {
            Part::Here(catalog) => catalog.backup(&draft.path.join(CATALOG))?,
            Part::Elsewhere(said) => not_included.push((*said).to_owned()),
        }
        copy_artifacts(&artifacts.0, &artifacts.1)?;
        copy_token(&source.folder, &draft.path)?;
        if source.folder.join(SECRETS_KEY).exists() {
            not_included.push(KEY_OF_SECRETS.to_owned());
        }
        let models = serde_json::to_vec_pretty(&source.models).unwrap_or_default();
        write_private(&draft.path.join(MODELS), &models)?;
        if !source.models.is_empty() {
            not_included.push("the files of models: models.json says where they lie".to_owned());
        }
        let manifest = Manifest {
            format: FORMAT,
            emberbox: env!("CARGO_PKG_VERSION").to_owned(),
            made_at_ms: now_ms(),
            files: sums(&draft.path, &draft.path)?,
            not_included,
        };
        let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        write_private(&draft.path.join(MANIFEST), &text)?;
        draft.finish(&to)?;
        Ok(manifest)
    };
    tokio::task::spawn_blocking(finish).await?
}

/// Answers the operator who wants a copy in the new folder that the body's `to` names.
pub(crate) async fn answer(source: Source, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let to = PathBuf::from(fields.required_text("to")?);
    if !to.is_absolute() {
        return Err(fields.wrong("to", "must be absolute: the server has its own folder"));
    }
    let manifest = write(source, &to).await.map_err(|error| match error {
        BackupError::Exists(_) => ApiError::Conflict(error.to_string()),
        BackupError::Inside(_) => fields.wrong("to", "must not lie in the data folder"),
        BackupError::Io { .. } => fields.wrong("to", &format!("cannot be written: {error}")),
        BackupError::Ledger(BillingError::Overloaded) => {
            ApiError::Overloaded("the ledger".to_owned())
        }
        error => ApiError::internal("a backup failed", &error),
    })?;
    respond::ok(&shown::with(&manifest, [("to", json!(to))])?)
}

/// Makes a data folder of a backup: every file is compared with its sum, and the ledger is audited
/// before the folder gets its name. It blocks.
pub(crate) fn restore(from: &Path, data: &Path) -> Result<Manifest, BackupError> {
    let is_there = match fs::read_dir(data) {
        Ok(mut entries) => match entries.next() {
            Some(_) => return Err(BackupError::NotEmpty(data.to_owned())),
            None => true,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(data)(error)),
    };
    let manifest = read_manifest(from)?;
    if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed(parent))?;
    }
    let draft = Draft::beside(data, ".restoring")?;
    for kept in &manifest.files {
        let relative = inside(&kept.path)?;
        let (source, target) = (from.join(&relative), draft.path.join(&relative));
        if let Some(folder) = target.parent() {
            create_private(folder).map_err(failed(folder))?;
        }
        let (bytes, sha256) = copy(&source, &target).map_err(failed(&source))?;
        if (bytes, &sha256) != (kept.bytes, &kept.sha256) {
            let path = &kept.path;
            return Err(BackupError::Damaged(format!("{path} is not what was backed up")));
        }
    }
    let ledger = draft.path.join(LEDGER);
    if ledger.exists() {
        let check = audit_file(&ledger)?;
        if !check.ok {
            let breaks = check.breaks.join("; ");
            return Err(BackupError::Damaged(format!("the ledger does not add up: {breaks}")));
        }
    }
    if is_there {
        fs::remove_dir(data).map_err(failed(data))?;
    }
    draft.finish(data)?;
    Ok(manifest)
}

fn read_manifest(from: &Path) -> Result<Manifest, BackupError> {
    let path = from.join(MANIFEST);
    let mut text = Vec::new();
    let file = File::open(&path).map_err(failed(&path))?;
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(failed(&path))?;
    let damaged = |reason: String| BackupError::Damaged(format!("{}: {reason}", path.display()));
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    match manifest.format {
        FORMAT => Ok(manifest),
        other => Err(damaged(format!("its format is {other}, this program knows {FORMAT}"))),
    }
}

/// A path of a manifest, which must not lead out of the folder.
fn inside(path: &str) -> Result<PathBuf, BackupError> {
    let relative = PathBuf::from(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    match plain && !path.is_empty() {
        true => Ok(relative),
        false => Err(BackupError::Damaged(format!("the manifest names the path '{path}'"))),
    }
}

/// Components never change under their name: one that is there already is not copied again. One
/// that is deleted meanwhile is not missed.
fn copy_artifacts(from: &Path, into: &Path) -> Result<(), BackupError> {
    create_private(into).map_err(failed(into))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (name, target) = (entry.file_name(), into.join(entry.file_name()));
        if name.to_string_lossy().starts_with('.') || target.exists() {
            continue;
        }
        match copy(&entry.path(), &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.map_err(failed(&target))?),
        }
    }
    Ok(())
}

fn copy_token(from: &Path, into: &Path) -> Result<(), BackupError> {
    let source = from.join(TOKEN);
    copy(&source, &into.join(TOKEN)).map(drop).map_err(failed(&source))
}

/// Every file below a folder, by its path there.
fn sums(root: &Path, folder: &Path) -> Result<Vec<Kept>, BackupError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.is_dir() {
            files.extend(sums(root, &path)?);
            continue;
        }
        let mut file = File::open(&path).map_err(failed(&path))?;
        let (bytes, sha256) = through(&mut file, |_| Ok(())).map_err(failed(&path))?;
        file.sync_all().map_err(failed(&path))?;
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        files.push(Kept { path: relative, bytes, sha256 });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let write = || {
        let mut file = create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path: path.clone(), source }
}
