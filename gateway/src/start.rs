//! From a configuration to a running server, and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use emberbox_billing::service::ServiceError;
use emberbox_billing::{Billing, BillingError};
use emberbox_catalog::CatalogError;
use emberbox_inference::InferenceError;
use emberbox_runtime::RuntimeError;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use self::stores::Books;
use crate::app::App;
use crate::config::{Config, Role};
use crate::folder::{Folder, FolderError};
use crate::invoke::CHARGE_PATIENCE;
use crate::server::Stop;
use crate::telemetry::{self, Telemetry, TelemetryError};

/// The roles `all` and `gateway`.
mod gateway;
/// The role `billing`.
mod billing;
/// Ledger and catalog.
mod stores;
/// How many files the process may have open.
mod open_files;

/// How long the charging of calls that were cut off may take after the connections are gone: longer
/// than any of them is tried.
const SETTLE_GRACE: Duration = CHARGE_PATIENCE.saturating_add(Duration::from_secs(5));
/// How long the stores may take to finish what is queued.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

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
    /// The billing service cannot be served, or not be reached.
    #[error("the billing service cannot be used")]
    Service(#[from] ServiceError),
    /// The sandbox cannot start.
    #[error("the sandbox cannot start")]
    Runtime(#[from] RuntimeError),
    /// The engine cannot start, or the bundled model cannot be loaded.
    #[error("inference cannot start")]
    Inference(#[from] InferenceError),
    /// A part cannot run in a process of its own.
    #[error("a part of the server cannot be started in a process of its own")]
    Isolation(#[source] std::io::Error),
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
    /// Where API consumers and developers connect; in the role `billing`, where gateways do.
    pub public: SocketAddr,
    /// Where the operator connects.
    pub admin: SocketAddr,
    /// The name of the organisation that the first start created.
    pub first_org: Option<String>,
    /// Its owner's key, once: only the start that created it knows it.
    pub first_key: Option<String>,
    /// The token for the operator's listener.
    pub operator_token: String,
    stop: Stop,
    settling: TaskTracker,
    books: Books,
    kept: Kept,
    /// Hears when the last handle of the parts is gone.
    gone: Option<oneshot::Receiver<()>>,
    telemetry: Telemetry,
    listeners: Vec<JoinHandle<()>>,
}

/// What holds the folder's lock, and is dropped last.
enum Kept {
    App(Arc<App>),
    Folder(Arc<Folder>),
}

impl Running {
    /// The ledger that calls are charged to, for programs that have the server within them.
    #[must_use]
    pub fn billing(&self) -> Arc<dyn Billing> {
        self.books.billing()
    }

    /// Stops accepting, lets requests in progress end for up to `grace`, charges what was cut off,
    /// and closes the stores.
    pub async fn shutdown(self, grace: Duration) {
        self.stop.stop(grace);
        self.wait().await;
    }

    /// Returns when the server has stopped.
    pub async fn wait(self) {
        for listener in self.listeners {
            if listener.await.is_err() {
                tracing::error!("a listener ended in a panic");
            }
        }
        self.settling.close();
        if tokio::time::timeout(SETTLE_GRACE, self.settling.wait()).await.is_err() {
            tracing::error!("some calls were not charged before the server stopped");
        }
        match tokio::time::timeout(CLOSE_GRACE, self.books.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the ledger was not closed well"),
            Err(_) => tracing::error!("the ledger did not close in time"),
        }
        let (kept, telemetry) = (self.kept, self.telemetry);
        // Both block: the catalog finishes what is queued, the exporter sends its last batch.
        let closed = tokio::task::spawn_blocking(move || {
            match kept {
                Kept::App(app) => drop(app),
                Kept::Folder(folder) => drop(folder),
            }
            telemetry.flush();
        });
        // A connection that was cut off may hold the last handle for a moment longer; the folder
        // is free for the next server only when it is gone.
        let gone = match self.gone {
            Some(gone) => tokio::time::timeout(CLOSE_GRACE, gone).await.is_ok(),
            None => true,
        };
        if closed.await.is_err() || !gone {
            tracing::error!("the server's parts did not close");
        }
    }
}

/// Starts a server in the role that the configuration gives it.
///
/// # Errors
/// Says which part could not start; what was opened before it is closed again.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let telemetry = telemetry::install(&config)?;
    match &config.role {
        Role::Billing(service) => billing::start(&config, service.clone(), telemetry).await,
        Role::All | Role::Gateway(_) => Box::pin(gateway::start(config, telemetry)).await,
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Where a listener really listens: its port may have been free to choose.
fn local_addr(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address, source })
}
