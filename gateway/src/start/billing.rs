//! The role `billing`: the ledger for gateways in other processes, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;

use emberbox_billing::Billing;
use emberbox_billing::service::{self, ServiceLimits, ServiceOptions};
use tokio_util::task::TaskTracker;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::stores::{self, Books};
use super::{Kept, Running, StartError, listen, local_addr};
use crate::config::{BillingService, Config};
use crate::errors::ApiError;
use crate::folder::Folder;
use crate::metrics::{self, Metrics};
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
    let books = Books::Own(ledger);
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
    let desk = Desk { billing, metrics, stop: stop.clone() };
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
        settling: TaskTracker::new(),
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
}

impl Desk {
    fn stack(self) -> Stack {
        let desk = Arc::new(self);
        BoxCloneSyncService::new(service_fn(move |request: Request| {
            let desk = Arc::clone(&desk);
            async move {
                let answer = desk.answer(request.uri().path()).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(Response::from))
            }
        }))
    }

    /// Health and metrics. Orders come through the gateways, which know the organisations.
    async fn answer(&self, path: &str) -> Result<Response, ApiError> {
        match path {
            "/healthz" => Ok(health::live()),
            "/readyz" => Ok(health::ready_ledger(&self.stop, &*self.billing).await),
            "/metrics" => self.metrics.answer(),
            _ => Err(route::no_such_path(path)),
        }
    }
}
