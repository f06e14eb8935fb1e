//! The roles `all` and `gateway`: everything that callers, developers and operators talk to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use emberbox_catalog::Catalog;
use emberbox_inference::{Inference, InferenceOptions};
use emberbox_runtime::bridge::Bridge;
use emberbox_runtime::{Artifacts, Engine, EngineOptions, KEY_BYTES};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use super::stores::{self, Books};
use super::{Kept, Running, StartError, listen, local_addr, open_files};
use crate::app::App;
use crate::auth::{Keys, OperatorToken};
use crate::bootstrap;
use crate::config::Config;
use crate::deployments::{Deployments, Sandbox};
use crate::egress::Egress;
use crate::folder::{Folder, FolderError};
use crate::isolate;
use crate::limits::Limiter;
use crate::logs::Logs;
use crate::metrics::{self, Metrics};
use crate::models::ModelHost;
use crate::money::{orders, outbox};
use crate::secrets::Vault;
use crate::server::{self, Stop};
use crate::stack;
use crate::telemetry::Telemetry;

/// Starts a server: opens its folder and stores, loads its models, listens.
pub(super) async fn start(config: Config, telemetry: Telemetry) -> Result<Running, StartError> {
    let (public, admin) = (listen(config.listen).await?, listen(config.admin_listen).await?);
    let public_at = local_addr(&public, config.listen)?;
    let admin_at = local_addr(&admin, config.admin_listen)?;
    let opening = config.clone();
    let Opened { folder, token, vault, engine, artifacts, key } =
        tokio::task::spawn_blocking(move || Opened::open(&opening)).await??;
    let (catalog, sqlite_catalog) = stores::catalog(&config, &folder).await?;
    let (models, bridge) = models(&config, &*catalog).await?;
    let options = engine.options().clone();
    let sandbox = sandbox(&config, engine, (folder.compiled(), key)).await?;
    let books = Books::open(&config, &folder).await?;
    let metrics = Arc::new(Metrics::new());
    let (sender, gone) = oneshot::channel();
    let ready_max = open_files::ready_functions_max(config.limits.deployments_max);
    let deployments = Deployments::new((options, sandbox), artifacts, (&config, ready_max));
    let (limits, settling, stop) = (config.limits.clone(), TaskTracker::new(), Stop::default());
    let app = Arc::new(App {
        folder,
        catalog,
        sqlite_catalog,
        billing: metrics::watched(books.billing(), &metrics),
        ledger: books.ledger().cloned(),
        bridge,
        models,
        deployments,
        egress: Arc::new(Egress::new(
            config.egress.hosts.clone(),
            config.egress.private_hosts.clone(),
        )),
        vault,
        keys: Keys::default(),
        operator: OperatorToken::new(&token),
        limiter: Limiter::new(config.key_limits.clone()),
        logs: Arc::new(Logs::new(config.limits.log_lines_max)),
        metrics,
        room: Arc::new(Semaphore::new(config.limits.requests_max)),
        settling: settling.clone(),
        stop: stop.clone(),
        started_at_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        _gone: sender,
        config,
    });
    orders::make_secrets_seed(&*app.catalog).await?;
    bootstrap::models(&app).await?;
    let (first_org, first_key) = bootstrap::first_org(&app).await?.unzip();
    outbox::start(&app);
    let listeners = [(public, stack::public(&app)), (admin, stack::operator(&app))];
    let listeners = listeners.map(|(listener, stack)| {
        tokio::spawn(server::serve(listener, stack, limits.clone(), stop.clone()))
    });
    tracing::info!(public = %public_at, admin = %admin_at, "listening");
    Ok(Running {
        public: public_at,
        admin: admin_at,
        first_org,
        first_key,
        operator_token: token,
        stop,
        settling,
        books,
        kept: Kept::App(app),
        gone: Some(gone),
        telemetry,
        listeners: listeners.into(),
    })
}

/// The models: here, or in a process of their own.
async fn models(
    config: &Config,
    catalog: &dyn Catalog,
) -> Result<(Arc<dyn ModelHost>, Arc<dyn Bridge>), StartError> {
    if config.isolation.enabled {
        let sources = catalog.models().await?.into_iter().map(|model| model.source.into());
        let models = isolate::start_inference(config, sources.collect()).await;
        let models = models.map_err(StartError::Isolation)?;
        return Ok((Arc::new(models.clone()), Arc::new(models)));
    }
    let (graph_operations_max, graph_bytes_max) = config.inference.graph_bounds();
    let options = InferenceOptions {
        device: config.inference.device,
        encoder_weights: config.inference.encoder_weights,
        threads: config.inference.threads,
        speculation: config.inference.speculation,
        output_tokens_default: config.limits.output_tokens_default,
        memory_bytes_max: config.inference.memory_mib_max.saturating_mul(1 << 20),
        graph_operations_max,
        graph_bytes_max,
        ..InferenceOptions::default()
    };
    let inference = tokio::task::spawn_blocking(move || Inference::new(options)).await??;
    Ok((Arc::new(inference.clone()), Arc::new(inference)))
}

/// What functions run in: this process, or others.
async fn sandbox(
    config: &Config,
    engine: Engine,
    compiled: (PathBuf, [u8; KEY_BYTES]),
) -> Result<Sandbox, StartError> {
    if !config.isolation.enabled {
        return Ok(Sandbox::Here(engine));
    }
    let workers = isolate::start_workers(config, engine.options().clone(), compiled).await;
    Ok(Sandbox::Apart(workers.map_err(StartError::Isolation)?))
}

/// What blocks while it opens.
struct Opened {
    folder: Arc<Folder>,
    token: String,
    vault: Vault,
    engine: Engine,
    artifacts: Artifacts,
    key: [u8; KEY_BYTES],
}

impl Opened {
    fn open(config: &Config) -> Result<Self, StartError> {
        // The lock comes before anything in the folder is touched.
        let folder = Folder::open(&config.data)?;
        let token = folder.operator_token()?;
        let vault = Vault::new(match &config.secrets_key {
            Some(key) => key.0,
            None => folder.secrets_key()?,
        });
        let engine = Engine::new(EngineOptions {
            instances_max: config.function_limits.instances_max,
            memory_bytes_max: config.function_limits.call.memory_mib << 20,
            component_bytes_max: config.limits.component_bytes_max,
            ..EngineOptions::default()
        })?;
        let (compiled, key) = (folder.compiled(), folder.artifact_key()?);
        let artifacts = Artifacts::open(&engine, &compiled, key, |kept| folder.has_artifact(kept))
            .map_err(|source| FolderError::Io { path: compiled, source })?;
        Ok(Opened { folder: Arc::new(folder), token, vault, engine, artifacts, key })
    }
}
