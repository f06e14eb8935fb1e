use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use emberbox_billing::{
    Billing, BillingError, CallId, CaptureRequest, Captured, Hold, HoldRequest, Order, OrgId,
    Outcome, PriceBook, Query, Report,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Metrics, seconds};

/// What the ledger was asked, and how that ended.
#[derive(Clone)]
pub(super) struct LedgerMetrics {
    operations: Family<Operation, Counter>,
    duration: Family<Kind, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
    /// `done`, `refused` by the rules, or `failed`.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    operation: &'static str,
}

impl LedgerMetrics {
    pub(super) fn new() -> Self {
        LedgerMetrics {
            operations: Family::default(),
            duration: Family::new_with_constructor(seconds),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "ledger_operations",
            "What the ledger was asked, and how that ended",
            self.operations.clone(),
        );
        registry.register(
            "ledger_operation_seconds",
            "From asking the ledger to its answer",
            self.duration.clone(),
        );
    }

    fn note<T>(&self, operation: &'static str, since: Instant, answer: &Result<T, BillingError>) {
        let outcome = match answer {
            Ok(_) => "done",
            Err(BillingError::Refused(_)) => "refused",
            Err(_) => "failed",
        };
        self.operations.get_or_create(&Operation { operation, outcome }).inc();
        self.duration.get_or_create(&Kind { operation }).observe(since.elapsed().as_secs_f64());
    }
}

/// The same ledger, counted.
pub(crate) fn watched(billing: Arc<dyn Billing>, metrics: &Metrics) -> Arc<dyn Billing> {
    Arc::new(Watched { billing, metrics: metrics.ledger.clone() })
}

struct Watched {
    billing: Arc<dyn Billing>,
    metrics: LedgerMetrics,
}

#[async_trait]
impl Billing for Watched {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError> {
        let since = Instant::now();
        let answer = self.billing.hold(request).await;
        self.metrics.note("hold", since, &answer);
        answer
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError> {
        let since = Instant::now();
        let answer = self.billing.capture(request).await;
        self.metrics.note("capture", since, &answer);
        answer
    }

    async fn void(&self, org: OrgId, call: CallId) -> Result<(), BillingError> {
        let since = Instant::now();
        let answer = self.billing.void(org, call).await;
        self.metrics.note("void", since, &answer);
        answer
    }

    async fn capture_for(
        &self,
        gateways: Arc<[String]>,
        request: CaptureRequest,
    ) -> Result<Captured, BillingError> {
        let since = Instant::now();
        let answer = self.billing.capture_for(gateways, request).await;
        self.metrics.note("capture", since, &answer);
        answer
    }

    async fn void_for(
        &self,
        gateways: Arc<[String]>,
        org: OrgId,
        call: CallId,
    ) -> Result<(), BillingError> {
        let since = Instant::now();
        let answer = self.billing.void_for(gateways, org, call).await;
        self.metrics.note("void", since, &answer);
        answer
    }

    async fn order(&self, order: Order) -> Result<Outcome, BillingError> {
        let since = Instant::now();
        let answer = self.billing.order(order).await;
        self.metrics.note("order", since, &answer);
        answer
    }

    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError> {
        self.billing.prices().await
    }

    async fn ask(&self, query: Query) -> Result<Report, BillingError> {
        let since = Instant::now();
        let answer = self.billing.ask(query).await;
        self.metrics.note("ask", since, &answer);
        answer
    }
}
