//! Function versions: from an upload to something that can be called.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use emberbox_billing::{AuthorPrice, Nano, OrgId};
use emberbox_catalog::{CatalogError, NewVersion, Version};
use emberbox_runtime::{Deployment, Engine, Grants, Limits, RuntimeError};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use crate::app::App;
use crate::config::FunctionLimits;
use crate::errors::ApiError;
use crate::folder::{Folder, FolderError};
use crate::manifest::Manifest;

/// Compilations at a time: each may take all of a core for a second.
const COMPILATIONS_MAX: usize = 2;

/// A version that is ready to be called, with everything that a call needs to know of it.
pub(crate) struct Live {
    pub(crate) owner: String,
    pub(crate) org_id: String,
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) max_cost_per_call: Nano,
    pub(crate) author: Option<AuthorPrice>,
    pub(crate) deployment: Deployment,
}

/// The versions that were called lately, compiled.
pub(crate) struct Deployments {
    engine: Engine,
    ceilings: FunctionLimits,
    deployments_max: usize,
    slots: Mutex<HashMap<(String, String), Slot>>,
    compilations: Arc<Semaphore>,
    /// Held while the catalog, the artifacts and the slots change together, so that no artifact is
    /// removed for one function while another is published with it.
    changes: tokio::sync::Mutex<()>,
}

/// The first caller compiles; the others wait for it.
struct Slot {
    cell: Arc<OnceCell<Arc<Live>>>,
    called_at: Instant,
}

/// An upload, checked as far as its manifest goes.
pub(crate) struct Upload {
    pub(crate) owner: String,
    pub(crate) org_id: String,
    pub(crate) manifest_text: String,
    pub(crate) manifest: Manifest,
    pub(crate) component: bytes::Bytes,
    pub(crate) activate: bool,
}

impl Deployments {
    pub(crate) fn new(engine: Engine, ceilings: FunctionLimits, deployments_max: usize) -> Self {
        Deployments {
            engine,
            ceilings,
            deployments_max,
            slots: Mutex::default(),
            compilations: Arc::new(Semaphore::new(COMPILATIONS_MAX)),
            changes: tokio::sync::Mutex::default(),
        }
    }

    /// The next call asks the catalog again which version is live.
    pub(crate) fn forget(&self, owner: &str, name: &str) {
        self.lock().remove(&(owner.to_owned(), name.to_owned()));
    }

    /// Puts a version in place for the calls to come; calls in progress keep theirs.
    fn replace(&self, live: &Arc<Live>) {
        let key = (live.owner.clone(), live.name.clone());
        let cell = Arc::new(OnceCell::new_with(Some(Arc::clone(live))));
        let mut slots = self.lock();
        slots.remove(&key);
        self.make_room(&mut slots);
        slots.insert(key, Slot { cell, called_at: Instant::now() });
    }

    /// Forgets what was not called for longest while there is no room for one more.
    fn make_room(&self, slots: &mut HashMap<(String, String), Slot>) {
        while slots.len() >= self.deployments_max.max(1) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.called_at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            slots.remove(&oldest);
        }
    }

    fn slot(&self, key: &(String, String)) -> Arc<OnceCell<Arc<Live>>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(key) {
            slot.called_at = Instant::now();
            return Arc::clone(&slot.cell);
        }
        self.make_room(&mut slots);
        let cell = Arc::new(OnceCell::new());
        slots.insert(key.clone(), Slot { cell: Arc::clone(&cell), called_at: Instant::now() });
        cell
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn compile(
        &self,
        component: bytes::Bytes,
        manifest: &Manifest,
    ) -> Result<Deployment, ApiError> {
        let (limits, grants) = (self.limits(manifest), grants(manifest));
        let engine = self.engine.clone();
        let turn = Arc::clone(&self.compilations).acquire_owned().await;
        let turn = turn.or(Err(ApiError::Overloaded("the server is stopping".to_owned())))?;
        let compiled = tokio::task::spawn_blocking(move || {
            let compiled = Deployment::compile(&engine, &component, limits, grants);
            drop(turn);
            compiled
        });
        compiled
            .await
            .map_err(|error| ApiError::internal("a compilation did not end", &error))?
            .map_err(|error| refused_component(&error))
    }

    /// What the manifest asks for, within what the operator allows.
    fn limits(&self, manifest: &Manifest) -> Limits {
        let (asked, ceilings) = (&manifest.limits, &self.ceilings);
        Limits {
            memory_bytes_max: u64::from(asked.memory_mib.min(ceilings.memory_mib_max)) << 20,
            wall_ms_max: asked.wall_ms.min(ceilings.wall_ms_max),
            cpu_ms_max: asked.cpu_ms.min(ceilings.cpu_ms_max),
            ..Limits::default()
        }
    }

    /// Refuses limits that the operator does not allow, by name.
    pub(crate) fn check_limits(&self, manifest: &Manifest) -> Result<(), ApiError> {
        let (asked, ceilings) = (&manifest.limits, &self.ceilings);
        let rows = [
            ("memory_mib", u64::from(asked.memory_mib), u64::from(ceilings.memory_mib_max)),
            ("wall_ms", asked.wall_ms, ceilings.wall_ms_max),
            ("cpu_ms", asked.cpu_ms, ceilings.cpu_ms_max),
        ];
        match rows.into_iter().find(|(_, asked, ceiling)| asked > ceiling) {
            None => Ok(()),
            Some((name, asked, ceiling)) => Err(ApiError::field(
                &format!("limits.{name}"),
                format!("{asked} is more than this server allows, which is {ceiling}"),
            )),
        }
    }
}

/// Finds the live version of a function, compiling it when this is its first call.
pub(crate) async fn live(app: &App, owner: &str, name: &str) -> Result<Arc<Live>, ApiError> {
    let key = (owner.to_owned(), name.to_owned());
    let cell = app.deployments.slot(&key);
    match cell.get_or_try_init(|| load(app, owner, name)).await {
        Ok(live) => Ok(Arc::clone(live)),
        Err(error) => {
            // A name that leads nowhere takes no place; a slot that was replaced meanwhile stays.
            let mut slots = app.deployments.lock();
            if slots.get(&key).is_some_and(|slot| Arc::ptr_eq(&slot.cell, &cell)) {
                slots.remove(&key);
            }
            Err(error)
        }
    }
}

async fn load(app: &App, owner: &str, name: &str) -> Result<Arc<Live>, ApiError> {
    let function = app.catalog.function(owner, name).await?;
    let number = function.live.ok_or_else(|| {
        ApiError::FunctionNotFound(format!("{owner}/{name} (no version is live)"))
    })?;
    let version = app.catalog.version(&function.org_id, name, number).await?;
    load_version(app, (owner, &function.org_id, name), version).await
}

async fn load_version(
    app: &App,
    (owner, org_id, name): (&str, &str, &str),
    version: Version,
) -> Result<Arc<Live>, ApiError> {
    let manifest = Manifest::parse(&version.manifest)
        .map_err(|error| ApiError::internal("a stored manifest is not valid", &error))?;
    let digest = version.digest.clone();
    let component = on_disk(app, move |folder| folder.read_artifact(&digest)).await?;
    let deployment = app.deployments.compile(component.into(), &manifest).await?;
    tracing::info!(owner, function = name, version = version.number, "compiled");
    Ok(Arc::new(Live {
        owner: owner.to_owned(),
        org_id: org_id.to_owned(),
        name: name.to_owned(),
        version: version.number,
        max_cost_per_call: manifest.max_cost_per_call,
        author: author(org_id, &manifest),
        deployment,
    }))
}

/// Publishes an upload: compiled first, so that what cannot run is refused and leaves nothing.
pub(crate) async fn publish(app: &App, upload: Upload) -> Result<Version, ApiError> {
    let Upload { owner, org_id, manifest_text, manifest, component, activate } = upload;
    let function = manifest.name.parse::<emberbox_catalog::Name>()?;
    let deployment = app.deployments.compile(component.clone(), &manifest).await?;
    let digest = hex::encode(Sha256::digest(&component));
    let new = NewVersion {
        org_id: org_id.clone(),
        function,
        digest: digest.clone(),
        size_bytes: component.len() as u64,
        manifest: manifest_text,
        activate,
    };
    let _changing = app.deployments.changes.lock().await;
    let name = digest.clone();
    let is_new = on_disk(app, move |folder| folder.write_artifact(&name, &component)).await?;
    let version = match app.catalog.publish(new).await {
        Ok(version) => version,
        Err(error) => {
            if is_new {
                app.folder.remove_artifact(&digest);
            }
            return Err(error.into());
        }
    };
    if activate {
        let name = manifest.name.clone();
        let author = author(&org_id, &manifest);
        let max_cost_per_call = manifest.max_cost_per_call;
        app.deployments.replace(&Arc::new(Live {
            owner,
            org_id,
            name,
            version: version.number,
            max_cost_per_call,
            author,
            deployment,
        }));
    }
    Ok(version)
}

/// Points `live` to a version: compiled first, so that no call waits or fails because of the switch.
pub(crate) async fn activate(
    app: &App,
    (owner, org_id, name): (&str, &str, &str),
    number: u64,
) -> Result<(), ApiError> {
    let version = app.catalog.version(org_id, name, number).await?;
    let live = load_version(app, (owner, org_id, name), version).await?;
    let _changing = app.deployments.changes.lock().await;
    app.catalog.activate(org_id, name, number).await?;
    app.deployments.replace(&live);
    Ok(())
}

/// Deletes a function with all its versions and the artifacts that were only its own.
pub(crate) async fn delete(
    app: &App,
    (owner, org_id, name): (&str, &str, &str),
) -> Result<(), CatalogError> {
    let _changing = app.deployments.changes.lock().await;
    let digests = app.catalog.delete_function(org_id, name).await?;
    app.deployments.forget(owner, name);
    app.logs.forget(org_id, name);
    for digest in digests {
        app.folder.remove_artifact(&digest);
    }
    Ok(())
}

/// Runs what blocks on the disk where blocking is allowed.
async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Folder) -> Result<T, FolderError> + Send + 'static,
) -> Result<T, ApiError> {
    let folder = Arc::clone(&app.folder);
    let done = tokio::task::spawn_blocking(move || work(&folder));
    done.await
        .map_err(|error| ApiError::internal("work on the disk did not end", &error))?
        .map_err(|error| ApiError::internal("an artifact could not be read or kept", &error))
}

fn grants(manifest: &Manifest) -> Grants {
    Grants { models: manifest.models.clone(), environment: manifest.environment.clone() }
}

/// What the author adds to the price; nothing when the manifest names no price.
fn author(org_id: &str, manifest: &Manifest) -> Option<AuthorPrice> {
    let price = manifest.price;
    let free = price.call_fee.as_nano() == 0 && price.compute_markup_bps == 0;
    (!free).then(|| AuthorPrice {
        org: OrgId::new(org_id),
        call_fee: price.call_fee,
        compute_markup_bps: price.compute_markup_bps,
    })
}

fn refused_component(error: &RuntimeError) -> ApiError {
    match error {
        RuntimeError::TooLarge { .. } => ApiError::BodyTooLarge,
        RuntimeError::Engine(_) | RuntimeError::Timer(_) => {
            ApiError::internal("the sandbox failed", error)
        }
        RuntimeError::Limit { field, .. } => ApiError::field(field, error.to_string()),
        RuntimeError::NotWasm
        | RuntimeError::CoreModule
        | RuntimeError::UnknownVersion(_)
        | RuntimeError::Truncated { .. }
        | RuntimeError::Malformed { .. }
        | RuntimeError::UnknownImports(_)
        | RuntimeError::MissingHandler(_)
        | RuntimeError::Mismatch(_)
        | RuntimeError::Compile(_) => ApiError::field("component", error.to_string()),
    }
}
