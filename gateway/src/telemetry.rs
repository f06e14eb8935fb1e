//! Logs on stderr and, where an endpoint is configured, traces by OTLP over HTTP.
//!
//! Spans carry names, counts and times, never the content of prompts or answers.

use std::io::IsTerminal;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::Config;

/// How long one batch of spans may take to be sent.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer of a collector that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of the log is not one.
    #[error("the log filter '{filter}' is not valid")]
    Filter {
        /// As it was configured.
        filter: String,
        /// What is wrong.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter refused its endpoint.
    #[error("traces cannot be exported")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Sends what is left when the server stops.
#[derive(Default)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the last spans. It blocks for up to the time that sending may take.
    pub(crate) fn flush(&self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::force_flush) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Sets the process's log and trace outputs up. In a process that has them already, such as a
/// test, the first ones stay.
pub(crate) fn install(config: &Config) -> Result<Telemetry, TelemetryError> {
    if config.log == "off" && config.otlp_endpoint.is_none() {
        return Ok(Telemetry::default());
    }
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|source| TelemetryError::Filter { filter: config.log.clone(), source })?;
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let provider = config.otlp_endpoint.as_deref().map(exporter).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let of_ours = EnvFilter::new("off,emberbox=info");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("emberbox")).with_filter(of_ours)
    });
    let subscriber = Registry::default().with(log).with(traces);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("this process logs already; the first configuration stays");
    }
    Ok(Telemetry { provider })
}

/// Sets the log up in a process that has no traces of its own.
pub(crate) fn log_only(filter: &str) -> Result<(), TelemetryError> {
    let config = Config { log: filter.to_owned(), otlp_endpoint: None, ..Config::default() };
    install(&config).map(|_| ())
}

/// Puts a request's span below the one that its client names (W3C Trace Context, `traceparent`).
pub(crate) fn follow(span: &Span, headers: &HeaderMap) {
    if !headers.contains_key("traceparent") {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if let Err(error) = span.set_parent(parent) {
        tracing::debug!(%error, "a request's trace could not be followed");
    }
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender::new())
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let resource = Resource::builder().with_service_name("emberbox").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// A collector's address alone means its usual path.
fn traces_url(endpoint: &str) -> String {
    let has_path = endpoint
        .split("://")
        .nth(1)
        .is_some_and(|rest| rest.split_once('/').is_some_and(|(_, path)| !path.is_empty()));
    match has_path {
        true => endpoint.to_owned(),
        false => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
    }
}

/// Sends spans from the exporter's own thread, which has no async runtime: so it may block.
#[derive(Debug)]
struct Sender {
    agent: ureq::Agent,
}

impl Sender {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A collector is the operator's own; a proxy of the environment is for the world.
            .proxy(None)
            .timeout_global(Some(EXPORT_TIMEOUT));
        Sender { agent: config.build().new_agent() }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let answer = self.agent.run(http::Request::from_parts(parts, &body[..]))?;
        let (parts, mut body) = answer.into_parts();
        let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(http::Response::from_parts(parts, bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_means_the_usual_path() {
        let rows = [
            ("http://host:4318", "http://host:4318/v1/traces"),
            ("http://host:4318/", "http://host:4318/v1/traces"),
            ("http://host:4318/v1/traces", "http://host:4318/v1/traces"),
            ("https://host/otlp/a", "https://host/otlp/a"),
        ];
        for (endpoint, url) in rows {
            assert_eq!(traces_url(endpoint), url);
        }
    }
}
