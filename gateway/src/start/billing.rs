//! The role `billing`: the ledger for gateways in other processes, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;

use emberbox_billing::service::{self, ServiceLimits, ServiceOptions};
use emberbox_billing::{Billing, Ledger};
use http::Method;
use tokio_util::task::TaskTracker;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::stores::{self, Books};
use super::{Kept, Running, StartError, listen, local_addr};
use crate::auth::OperatorToken;
use crate::body;
use crate::config::{BillingService, Config, Store};
use crate::errors::ApiError;
use crate::folder::Folder;
use crate::metrics::{self, Metrics};
use crate::money::backup::{self, Part, Source};
use crate::respond;
use crate::server::{self, Stop};
use crate::stack::{Request, Response, Stack};
use crate::telemetry::Telemetry;
use crate::{health, route};

/// Starts the service.
pub(super) async fn start(
    config: &Config,
    service: BillingService,
    telemetry: Telemetry,
) -> Result<Running, StartError> {
    let BillingService { listen: at, tls } = service;
    let (public, admin) = (listen(at).await?, listen(config.admin_listen).await?);
    let (public_at, admin_at) = (local_addr(&public, at)?, local_addr(&admin, at)?);
    let (path, files) = (config.data.clone(), tls.clone());
    let opened = tokio::task::spawn_blocking(move || {
        files.check_server()?;
        let folder = Folder::open(&path)?;
        let token = folder.operator_token()?;
        Ok::<_, StartError>((Arc::new(folder), token))
    });
    let (folder, operator_token) = opened.await??;
    let ledger = stores::ledger(config, &folder).await?;
    let books = Books::Own(ledger.clone());
    let (metrics, stop) = (Arc::new(Metrics::new()), Stop::default());
    let billing = metrics::watched(books.billing(), &metrics);
    let options = ServiceOptions { tls, limits: ServiceLimits::default() };
    let (served, stopped) = (Arc::clone(&billing), stop.clone());
    let serving = tokio::spawn(async move {
        let stopped = async move { stopped.stopped().await };
        if let Err(error) = service::serve(public, served, options, stopped).await {
            tracing::error!(%error, "the billing service ended");
        }
    });
    let settling = TaskTracker::new();
    let desk = Desk {
        billing,
        metrics,
        stop: stop.clone(),
        operator: OperatorToken::new(&operator_token),
        backup: BackupOf { ledger, store: config.ledger.clone(), folder: Arc::clone(&folder) },
        body_bytes_max: config.limits.json_bytes_max,
        settling: settling.clone(),
    };
    let limits = config.limits.clone();
    let administering = tokio::spawn(server::serve(admin, desk.stack(), limits, stop.clone()));
    tracing::info!(service = %public_at, admin = %admin_at, "serving the ledger");
    Ok(Running {
        public: public_at,
        admin: admin_at,
        first_org: None,
        first_key: None,
        operator_token,
        stop,
        settling,
        books,
        kept: Kept::Folder(folder),
        gone: None,
        telemetry,
        listeners: vec![serving, administering],
    })
}

/// What the operator's listener of the service reaches.
struct Desk {
    billing: Arc<dyn Billing>,
    metrics: Arc<Metrics>,
    stop: Stop,
    operator: OperatorToken,
    backup: BackupOf,
    body_bytes_max: usize,
    settling: TaskTracker,
}

/// What a backup of the service copies.
struct BackupOf {
    ledger: Ledger,
    store: Store,
    /// Kept by tasks that outlive the listener, so that nobody else has it meanwhile.
    folder: Arc<Folder>,
}

impl BackupOf {
    fn source(&self) -> Source {
        let ledger = match self.store {
            Store::Sqlite => Part::Here(self.ledger.clone()),
            Store::Postgres(_) => Part::Elsewhere(Part::LEDGER_IN_POSTGRES),
        };
        let catalog = Part::Elsewhere(Part::CATALOG_OF_GATEWAYS);
        let folder = self.folder.path().to_owned();
        Source { folder, ledger, catalog, models: Vec::new() }
    }
}

impl Desk {
    fn stack(self) -> Stack {
        let desk = Arc::new(self);
        BoxCloneSyncService::new(service_fn(move |request: Request| {
            let desk = Arc::clone(&desk);
            async move {
                let answer = desk.answer(request).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(Response::from))
            }
        }))
    }

    /// Health and metrics, and for the operator what only the ledger's own process can do. Orders
    /// come through the gateways, which know the organisations.
    async fn answer(self: Arc<Self>, request: Request) -> Result<Response, ApiError> {
        match request.uri().path() {
            "/healthz" => Ok(health::live()),
            "/readyz" => Ok(health::ready_ledger(&self.stop, &*self.billing).await),
            "/metrics" => self.metrics.answer(),
            path if !path.starts_with("/admin/v1/") => Err(route::no_such_path(path)),
            _ => {
                self.operator.check(request.headers())?;
                // What has begun is finished, also when its client leaves in the middle of it.
                let settling = self.settling.clone();
                let work = async move { self.operate(request).await };
                settling.spawn(work).await.unwrap_or(Err(ApiError::Internal))
            }
        }
    }

    async fn operate(&self, request: Request) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let body = body::limited(body, self.body_bytes_max);
        match (parts.uri.path(), &parts.method) {
            ("/admin/v1/backup", &Method::POST) => backup::answer(self.backup.source(), body).await,
            ("/admin/v1/ledger/check", &Method::GET) => respond::ok(&self.billing.check().await?),
            ("/admin/v1/backup", _) => Err(ApiError::MethodNotAllowed { allowed: "POST" }),
            ("/admin/v1/ledger/check", _) => Err(ApiError::MethodNotAllowed { allowed: "GET" }),
            (path, _) => Err(route::no_such_path(path)),
        }
    }
}
