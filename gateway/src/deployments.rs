//! Function versions: from an upload to something that can be called.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use emberbox_catalog::{CatalogError, NewVersion, Version};
use emberbox_runtime::{Artifacts, Build, EngineOptions, Grants, RuntimeError};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::compiler::{Compilations, CompileError, Lane};
use crate::config::{Config, FunctionLimits};
use crate::errors::ApiError;
use crate::folder::{Folder, FolderError};
use crate::isolate::DeployError;
use crate::manage::policy::Policy;
use crate::manifest::Manifest;
use crate::secrets;

/// The versions that were called lately.
mod cache;
/// What manifests ask for, and what they get.
mod granted;
/// A version that is ready to be called.
mod live;
/// Calls in progress, by function.
mod running;
/// Where functions run.
pub(crate) mod sandbox;

use cache::Cache;
pub(crate) use live::Live;
use live::Ready;
pub(crate) use running::Place;
use running::Running;
pub(crate) use sandbox::{Function, Sandbox};

/// Versions: compiled, kept, ready.
pub(crate) struct Deployments {
    engine: EngineOptions,
    sandbox: Sandbox,
    compilations: Compilations,
    artifacts: Arc<Artifacts>,
    /// The most that the operator allows.
    allowed: FunctionLimits,
    cache: Cache,
    running: Arc<Running>,
    /// Held while the catalog, the artifacts and the slots change together, so that no artifact is
    /// removed for one function while another is published with it.
    changes: tokio::sync::Mutex<()>,
}

/// An upload, checked as far as its manifest goes.
pub(crate) struct Upload {
    pub(crate) owner: String,
    pub(crate) org_id: String,
    pub(crate) manifest_text: String,
    pub(crate) manifest: Manifest,
    pub(crate) component: Bytes,
    pub(crate) activate: bool,
}

impl Deployments {
    /// Keeps at most `ready_max` versions ready.
    pub(crate) fn new(
        (engine, sandbox): (EngineOptions, Sandbox),
        artifacts: Artifacts,
        (config, ready_max): (&Config, usize),
    ) -> Self {
        let code_bytes_max = config.limits.deployments_mib_max.saturating_mul(1 << 20);
        Deployments {
            engine,
            sandbox,
            compilations: Compilations::new(config.compiler.clone()),
            artifacts: Arc::new(artifacts),
            allowed: config.function_limits.clone(),
            cache: Cache::new(ready_max, code_bytes_max),
            running: Arc::default(),
            changes: tokio::sync::Mutex::default(),
        }
    }

    /// A place among the calls of a function; `None` when all are taken.
    pub(crate) fn place(&self, live: &Live) -> Option<Place> {
        self.running.place((&live.org_id, &live.name), live.concurrency)
    }

    /// The next call asks the catalog again which version is live.
    pub(crate) fn forget(&self, owner: &str, name: &str) {
        self.cache.forget(&(owner.to_owned(), name.to_owned()));
    }

    /// The next call of each of an organisation's functions asks again what it is granted.
    pub(crate) fn forget_org(&self, owner: &str) {
        self.cache.forget_org(owner);
    }

    /// A version that can be called, with the bytes of its code: compiled before, or now.
    async fn function(
        &self,
        (org_id, digest): (&str, &str),
        (manifest, grants): (&Manifest, Grants),
        (lane, component): (Lane<'_>, impl Future<Output = Result<Bytes, ApiError>>),
    ) -> Result<(Function, usize), ApiError> {
        let metering = self.metering(manifest);
        // An operator may have become stricter since.
        let limits = manifest.limits.within(&self.allowed.call).for_sandbox(metering);
        let build = Build { digest: digest.to_owned(), metering };
        let load = || {
            let what = (limits.clone(), grants.clone());
            self.sandbox.load(&self.artifacts, (org_id, digest), what)
        };
        match load().await {
            Ok(Some(ready)) => return Ok(ready),
            Ok(None) => {}
            // The component is there still, whatever became of its compiled code.
            Err(DeployError::Code(error)) => {
                tracing::warn!(%error, "compiled code cannot be used");
            }
            Err(error) => return Err(not_deployed(error)),
        }
        self.compile(build, (lane, component.await?)).await?;
        let ready = load().await.map_err(|error| {
            // What the engine does not take, an upload must not leave behind.
            if matches!(error, DeployError::Code(_)) {
                self.artifacts.remove(digest);
            }
            not_deployed(error)
        })?;
        ready.ok_or_else(|| refused(CompileError::Failed("its code was gone at once".to_owned())))
    }

    /// Compiles a component, and keeps what came of it.
    async fn compile(
        &self,
        build: Build,
        (lane, component): (Lane<'_>, Bytes),
    ) -> Result<(), ApiError> {
        let how = (&self.engine, build.metering);
        let compiled = self.compilations.compile(how, (lane, component)).await;
        let code = compiled.map_err(|error| match error {
            // It was taken once, so whoever calls it now is not at fault.
            CompileError::Refused(_) | CompileError::TooLarge if lane == Lane::Kept => {
                ApiError::internal("a component that was taken before is refused now", &error)
            }
            other => refused(other),
        })?;
        let artifacts = Arc::clone(&self.artifacts);
        blocking(move || artifacts.write(&build, &code))
            .await?
            .map_err(|error| refused(RuntimeError::Artifact(error).into()))
    }

    fn concurrency(&self, manifest: &Manifest) -> u64 {
        manifest.limits.within(&self.allowed.call).concurrency
    }
}

/// Finds the live version of a function, compiling it when this is its first call.
pub(crate) async fn live(app: &App, owner: &str, name: &str) -> Result<Arc<Live>, ApiError> {
    let key = (owner.to_owned(), name.to_owned());
    let cache = &app.deployments.cache;
    let mut cell = cache.cell(&key);
    let expired = |live: &Arc<Live>| live.secrets_until.is_some_and(|until| until < Instant::now());
    if cell.get().is_some_and(expired) {
        cache.forget_cell(&key, &cell);
        cell = cache.cell(&key);
    }
    if let Some(live) = cell.get() {
        return Ok(Arc::clone(live));
    }
    match cell.get_or_try_init(|| load(app, owner, name)).await {
        Ok(live) => {
            cache.loaded();
            Ok(Arc::clone(live))
        }
        Err(error) => {
            cache.forget_cell(&key, &cell);
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
    let secrets = secrets::granted(app, org_id, &manifest).await?;
    let policy = Policy::of(&*app.catalog, org_id).await?;
    let component = async {
        let digest = version.digest.clone();
        let component = on_disk(app, move |folder| folder.read_artifact(&digest)).await?;
        tracing::info!(owner, function = name, version = version.number, "is compiled again");
        Ok(component.into())
    };
    // An operator or an organisation may have become stricter since.
    let what = (&manifest, app.deployments.grants(&manifest, &policy, secrets.secrets));
    let (function, code_bytes) =
        app.deployments.function((org_id, &version.digest), what, (Lane::Kept, component)).await?;
    let ready = Ready {
        function,
        concurrency: app.deployments.concurrency(&manifest),
        outbound_hosts: app
            .egress
            .granted(&manifest.outbound_hosts, policy.outbound_hosts.as_ref()),
        code_bytes,
        secrets_until: secrets.believed_until,
    };
    Ok(Live::new((owner, org_id, version.number), &manifest, ready))
}

/// A version that was made.
pub(crate) struct Published {
    pub(crate) version: Version,
    /// Secrets that it names and that are not set.
    pub(crate) unset: Vec<String>,
}

/// Publishes an upload: compiled first, so that what cannot run is refused and leaves nothing.
pub(crate) async fn publish(app: &App, upload: Upload) -> Result<Published, ApiError> {
    let Upload { owner, org_id, manifest_text, manifest, component, activate } = upload;
    let digest = hex::encode(Sha256::digest(&component));
    let moment = app.deployments.cache.moment();
    let policy = Policy::of(&*app.catalog, &org_id).await?;
    app.deployments.check(&app.egress, &manifest, &policy)?;
    let secrets = secrets::granted(app, &org_id, &manifest).await?;
    let name = manifest.name.parse::<emberbox_catalog::Name>()?;
    let what = (&manifest, app.deployments.grants(&manifest, &policy, secrets.secrets));
    let uploaded = (Lane::Upload(&org_id), std::future::ready(Ok(component.clone())));
    let made = app.deployments.function((&org_id, &digest), what, uploaded).await;
    let (ready, code_bytes) = made.inspect_err(|_| {
        if !app.folder.has_artifact(&digest) {
            app.deployments.artifacts.remove(&digest);
        }
    })?;
    let new = NewVersion {
        org_id: org_id.clone(),
        function: name,
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
                app.deployments.artifacts.remove(&digest);
            }
            return Err(error.into());
        }
    };
    if activate {
        let ready = Ready {
            function: ready,
            concurrency: app.deployments.concurrency(&manifest),
            outbound_hosts: manifest.outbound_hosts.clone(),
            code_bytes,
            secrets_until: secrets.believed_until,
        };
        let live = Live::new((&owner, &org_id, version.number), &manifest, ready);
        app.deployments.cache.put(&live, moment);
    }
    Ok(Published { version, unset: secrets.unset })
}

/// Points `live` to a version: compiled first, so that no call waits or fails because of the switch.
pub(crate) async fn activate(
    app: &App,
    (owner, org_id, name): (&str, &str, &str),
    number: u64,
) -> Result<(), ApiError> {
    let moment = app.deployments.cache.moment();
    let version = app.catalog.version(org_id, name, number).await?;
    let live = load_version(app, (owner, org_id, name), version).await?;
    let _changing = app.deployments.changes.lock().await;
    app.catalog.activate(org_id, name, number).await?;
    app.deployments.cache.put(&live, moment);
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
        app.deployments.artifacts.remove(&digest);
    }
    Ok(())
}

/// Runs what blocks on the disk where blocking is allowed.
async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Folder) -> Result<T, FolderError> + Send + 'static,
) -> Result<T, ApiError> {
    let folder = Arc::clone(&app.folder);
    blocking(move || work(&folder))
        .await?
        .map_err(|error| ApiError::internal("an artifact could not be read or kept", &error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::internal("work on the disk did not end", &error))
}

fn not_deployed(error: DeployError) -> ApiError {
    match error {
        DeployError::Limit { field, reason } => ApiError::field(&field, reason),
        DeployError::NotReusable(reason) => ApiError::field("function.reuse_instances", reason),
        DeployError::TooLarge => refused(CompileError::TooLarge),
        DeployError::Code(error) => not_deployed(*error),
        DeployError::Refused(reason) => refused(CompileError::Refused(reason)),
        DeployError::Failed(reason) => refused(CompileError::Failed(reason)),
    }
}

fn refused(error: CompileError) -> ApiError {
    match error {
        CompileError::TooLarge => ApiError::BodyTooLarge,
        CompileError::Refused(reason) => ApiError::field("component", reason),
        CompileError::Busy => ApiError::Overloaded(error.to_string()),
        CompileError::Failed(_) => ApiError::internal("the sandbox failed", &error),
    }
}
