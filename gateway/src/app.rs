//! What a request can reach.

use std::sync::Arc;

use emberbox_billing::{Billing, Ledger};
use emberbox_catalog::{Catalog, SqliteCatalog};
use emberbox_runtime::bridge::Bridge;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::auth::{Keys, OperatorToken};
use crate::config::Config;
use crate::deployments::Deployments;
use crate::egress::Egress;
use crate::folder::Folder;
use crate::limits::Limiter;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::models::ModelHost;
use crate::secrets::Vault;
use crate::server::Stop;

/// One server's parts. It is made once at start and shared by all requests.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) folder: Arc<Folder>,
    pub(crate) catalog: Arc<dyn Catalog>,
    /// The catalog once more, where it is a file that can copy itself.
    pub(crate) sqlite_catalog: Option<Arc<SqliteCatalog>>,
    pub(crate) billing: Arc<dyn Billing>,
    /// The ledger once more, where it is in this process.
    pub(crate) ledger: Option<Ledger>,
    /// Models, as calls see them.
    pub(crate) bridge: Arc<dyn Bridge>,
    /// Models, as the operator sees them: only for adding, removing and listing.
    pub(crate) models: Arc<dyn ModelHost>,
    pub(crate) deployments: Deployments,
    /// Where functions may send requests.
    pub(crate) egress: Arc<Egress>,
    /// What opens organisations' secrets.
    pub(crate) vault: Vault,
    pub(crate) keys: Keys,
    pub(crate) operator: OperatorToken,
    pub(crate) limiter: Limiter,
    pub(crate) logs: Arc<Logs>,
    pub(crate) metrics: Arc<Metrics>,
    /// One permit for each request that may be in progress.
    pub(crate) room: Arc<Semaphore>,
    /// Work that outlives its connection: charging a call whose client has left. A server that
    /// stops waits for it.
    pub(crate) settling: TaskTracker,
    pub(crate) stop: Stop,
    /// When the server started, in seconds since 1970.
    pub(crate) started_at_s: u64,
    /// Dropped last: who holds the other end knows then that the stores and the folder are closed.
    pub(crate) _gone: oneshot::Sender<()>,
}
