//! Numbers for Prometheus. No key, organisation or function is ever a label.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::ledger::LedgerMetrics;
pub(crate) use self::ledger::watched;
use crate::body;
use crate::errors::ApiError;
use crate::stack::Response;

/// What the ledger is asked.
mod ledger;

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    duration: Family<Answered, Histogram>,
    queue: Histogram,
    time_to_first_token: Histogram,
    inter_token: Histogram,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    debits: Counter,
    debited_credits: Counter<f64, AtomicU64>,
    ledger: LedgerMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

/// From a tenth of a millisecond to about seven minutes.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 22))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("emberbox"),
            running: Gauge::default(),
            waiting: Gauge::default(),
            duration: Family::new_with_constructor(seconds),
            queue: seconds(),
            time_to_first_token: seconds(),
            inter_token: seconds(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            debits: Counter::default(),
            debited_credits: Counter::default(),
            ledger: LedgerMetrics::new(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests_running", "Requests in progress", self.running.clone());
        registry.register(
            "requests_waiting",
            "Model calls that wait for their first event",
            self.waiting.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a request's head to its answer's last byte",
            self.duration.clone(),
        );
        registry.register(
            "queue_seconds",
            "From a model call's arrival to its submission",
            self.queue.clone(),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From a model call's arrival to its first piece",
            self.time_to_first_token.clone(),
        );
        registry.register(
            "inter_token_latency_seconds",
            "Between two pieces of an answer, by token",
            self.inter_token.clone(),
        );
        registry.register("prompt_tokens", "Prompt tokens charged", self.prompt_tokens.clone());
        registry.register(
            "generation_tokens",
            "Generated tokens charged",
            self.generation_tokens.clone(),
        );
        registry.register("debits", "Calls charged", self.debits.clone());
        registry.register(
            "debited_credits",
            "Credits charged; the ledger has the exact sum",
            self.debited_credits.clone(),
        );
        self.ledger.register(registry);
    }

    /// A request begins.
    pub(crate) fn begin(&self, route: &'static str) -> Watch {
        self.running.inc();
        Watch {
            running: self.running.clone(),
            duration: self.duration.clone(),
            labels: Answered { route, status: 0 },
            since: Instant::now(),
        }
    }

    /// A model call waits for its first event until the guard is dropped.
    pub(crate) fn wait(&self, since_arrival: Duration) -> Waiting {
        self.queue.observe(since_arrival.as_secs_f64());
        self.waiting.inc();
        Waiting(self.waiting.clone())
    }

    pub(crate) fn first_token(&self, since_arrival: Duration) {
        self.time_to_first_token.observe(since_arrival.as_secs_f64());
    }

    pub(crate) fn next_tokens(&self, tokens: u32, since_last: Duration) {
        if tokens > 0 {
            self.inter_token.observe(since_last.as_secs_f64() / f64::from(tokens));
        }
    }

    /// A call was charged.
    pub(crate) fn charged(&self, input_tokens: u64, output_tokens: u64, nano: i64) {
        self.prompt_tokens.inc_by(input_tokens);
        self.generation_tokens.inc_by(output_tokens);
        self.debits.inc();
        // A metric, not money: its rounding touches no account.
        self.debited_credits.inc_by(nano as f64 / 1e9);
    }

    /// All metrics in the text format of OpenMetrics.
    pub(crate) fn answer(&self) -> Result<Response, ApiError> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .map_err(|error| ApiError::internal("the metrics could not be written", &error))?;
        let mut response = Response::new(body::full(text));
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(response)
    }
}

/// Measures one request until it is dropped, which is after its answer's last byte.
pub(crate) struct Watch {
    running: Gauge,
    duration: Family<Answered, Histogram>,
    labels: Answered,
    since: Instant,
}

impl Watch {
    pub(crate) fn answered(mut self, status: StatusCode) -> Self {
        self.labels.status = status.as_u16();
        self
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.running.dec();
        // 499, as proxies write it: the client left before there was an answer.
        let labels = Answered {
            route: self.labels.route,
            status: if self.labels.status == 0 { 499 } else { self.labels.status },
        };
        self.duration.get_or_create(&labels).observe(self.since.elapsed().as_secs_f64());
    }
}

/// One call that waits.
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
