//! From a configuration to a running server, and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use emberbox_billing::{Billing, BillingError, Ledger, LedgerOptions, Unmetered};
use emberbox_catalog::{Catalog, CatalogError, CatalogOptions, SqliteCatalog};
use emberbox_inference::{Inference, InferenceError, InferenceOptions};
use emberbox_runtime::{Engine, EngineOptions, RuntimeError};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::auth::{Keys, OperatorToken};
use crate::bootstrap;
use crate::config::{self, Config};
use crate::deployments::Deployments;
use crate::folder::{Folder, FolderError};
use crate::limits::Limiter;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::server::{self, Stop};
use crate::stack;
use crate::telemetry::{self, Telemetry, TelemetryError};

/// How long the charging of calls that were cut off may take after the connections are gone.
const SETTLE_GRACE: Duration = Duration::from_secs(10);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The catalog cannot be opened.
    #[error("the catalog cannot be opened")]
    Catalog(#[from] CatalogError),
    /// The ledger cannot be opened.
    #[error("the ledger cannot be opened")]
    Ledger(#[from] BillingError),
    /// The sandbox cannot start.
    #[error("the sandbox cannot start")]
    Runtime(#[from] RuntimeError),
    /// The engine cannot start, or the bundled model cannot be loaded.
    #[error("inference cannot start")]
    Inference(#[from] InferenceError),
    /// Logs or traces cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A part that starts on a thread of its own did not come back.
    #[error("a part of the server failed while it started")]
    Task(#[from] tokio::task::JoinError),
}

/// A running server. Dropping it does not stop it; [`Running::shutdown`] does.
pub struct Running {
    /// Where API consumers and developers connect.
    pub public: SocketAddr,
    /// Where the operator connects.
    pub admin: SocketAddr,
    /// The name of the organisation that the first start created.
    pub first_org: Option<String>,
    /// Its owner's key, once: only the start that created it knows it.
    pub first_key: Option<String>,
    /// The token for the operator's listener.
    pub operator_token: String,
    app: Arc<App>,
    ledger: Option<Ledger>,
    gone: oneshot::Receiver<()>,
    telemetry: Telemetry,
    listeners: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops accepting, lets requests in progress end for up to `grace`, charges what was cut off,
    /// and closes the stores.
    pub async fn shutdown(self, grace: Duration) {
        self.app.stop.stop(grace);
        self.wait().await;
    }

    /// Returns when the server has stopped.
    pub async fn wait(self) {
        for listener in self.listeners {
            if listener.await.is_err() {
                tracing::error!("a listener ended in a panic");
            }
        }
        self.app.settling.close();
        if tokio::time::timeout(SETTLE_GRACE, self.app.settling.wait()).await.is_err() {
            tracing::error!("some calls were not charged before the server stopped");
        }
        if let Some(Err(error)) = close(self.ledger).await {
            tracing::error!(%error, "the ledger was not closed well");
        }
        let (app, telemetry) = (self.app, self.telemetry);
        // Both block: the catalog finishes what is queued, the exporter sends its last batch.
        let closed = tokio::task::spawn_blocking(move || {
            drop(app);
            telemetry.flush();
        });
        // A connection that was cut off may hold the last handle for a moment longer; the folder
        // is free for the next server only when it is gone.
        let gone = tokio::time::timeout(SETTLE_GRACE, self.gone).await;
        if closed.await.is_err() || gone.is_err() {
            tracing::error!("the server's parts did not close");
        }
    }
}

async fn close(ledger: Option<Ledger>) -> Option<Result<(), BillingError>> {
    match ledger {
        Some(ledger) => Some(ledger.close().await),
        None => None,
    }
}

/// Starts a server: opens its folder and stores, loads its models, listens.
///
/// # Errors
/// Says which part could not start; what was opened before it is closed again.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let telemetry = telemetry::install(&config)?;
    let (public, admin) = (listen(config.listen).await?, listen(config.admin_listen).await?);
    let opening = config.clone();
    let Opened { folder, token, catalog, ledger, inference, engine } =
        tokio::task::spawn_blocking(move || Opened::open(&opening)).await??;
    let billing: Arc<dyn Billing> = match &ledger {
        Some(ledger) => Arc::new(ledger.clone()),
        None => Arc::new(Unmetered::new()),
    };
    let (sender, gone) = oneshot::channel();
    let deployments =
        Deployments::new(engine, config.function_limits.clone(), config.limits.deployments_max);
    let app = Arc::new(App {
        folder: Arc::new(folder),
        catalog,
        billing,
        bridge: Arc::new(inference.clone()),
        inference,
        deployments,
        keys: Keys::default(),
        operator: OperatorToken::new(&token),
        limiter: Limiter::new(config.key_limits.clone()),
        logs: Arc::new(Logs::new(config.limits.log_lines_max)),
        metrics: Metrics::new(),
        room: Arc::new(Semaphore::new(config.limits.requests_max)),
        settling: TaskTracker::new(),
        stop: Stop::default(),
        started_at_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        _gone: sender,
        config,
    });
    bootstrap::models(&app).await?;
    let first = bootstrap::first_org(&app).await?;
    let (public_at, public_task) = serve(&app, public, stack::public(&app))?;
    let (admin_at, admin_task) = serve(&app, admin, stack::operator(&app))?;
    let (first_org, first_key) = first.unzip();
    tracing::info!(public = %public_at, admin = %admin_at, "listening");
    Ok(Running {
        public: public_at,
        admin: admin_at,
        first_org,
        first_key,
        operator_token: token,
        app,
        ledger,
        gone,
        telemetry,
        listeners: vec![public_task, admin_task],
    })
}

/// What blocks while it opens.
struct Opened {
    folder: Folder,
    token: String,
    catalog: Arc<dyn Catalog>,
    /// `None`: nothing is charged.
    ledger: Option<Ledger>,
    inference: Inference,
    engine: Engine,
}

impl Opened {
    fn open(config: &Config) -> Result<Self, StartError> {
        // The lock comes before anything in the folder is touched.
        let folder = Folder::open(&config.data)?;
        let token = folder.operator_token()?;
        let catalog = SqliteCatalog::open(&CatalogOptions::new(&folder.catalog()))?;
        let ledger = match config.billing {
            config::Billing::Metered => {
                let options = LedgerOptions { path: folder.ledger(), ..LedgerOptions::default() };
                Some(Ledger::open(options)?)
            }
            config::Billing::Unmetered => None,
        };
        let inference = Inference::new(InferenceOptions {
            threads: config.inference.threads,
            output_tokens_default: config.limits.output_tokens_default,
            ..InferenceOptions::default()
        })?;
        let engine = Engine::new(EngineOptions {
            instances_max: config.function_limits.instances_max,
            memory_bytes_max: u64::from(config.function_limits.memory_mib_max) << 20,
            component_bytes_max: config.limits.component_bytes_max,
            ..EngineOptions::default()
        })?;
        Ok(Opened { folder, token, catalog: Arc::new(catalog), ledger, inference, engine })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    stack: stack::Stack,
) -> Result<(SocketAddr, JoinHandle<()>), StartError> {
    let at = listener
        .local_addr()
        .map_err(|source| StartError::Listen { address: app.config.listen, source })?;
    let limits = app.config.limits.clone();
    let stop = app.stop.clone();
    Ok((at, tokio::spawn(server::serve(listener, stack, limits, stop))))
}
