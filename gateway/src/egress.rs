//! Requests that functions send: to the hosts that their manifests name, as far as the operator and
//! their organisations allow. Nothing is allowed by default.

use std::sync::Arc;

use async_trait::async_trait;
use emberbox_runtime::outbound::{Connection, Exchange, Outbound, OutboundBody, OutboundError};
use futures::future::{self, Either};
use http::header::{HOST, HeaderValue};
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::dial::{Destination, DialError, Dialer};
use crate::errors::ApiError;

/// Which hosts a rule is about.
pub(crate) mod rules;

use rules::Place;
pub use rules::Rules;

/// The header in which a caller says where a function may send requests because of it.
const EGRESS_HEADER: &str = "x-emberbox-egress";
/// The head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;

/// What the operator allows, and how connections are made.
pub(crate) struct Egress {
    /// The most that any function is granted.
    allowed: Rules,
    /// Of these also those that are not on the public internet.
    private: Rules,
    dialer: Dialer,
}

impl Egress {
    pub(crate) fn new(allowed: Rules, private: Rules) -> Self {
        Self { allowed, private, dialer: Dialer::new(Vec::new()) }
    }

    /// The first host that a function asks for and does not get, and who says no.
    pub(crate) fn refusal<'a>(
        &self,
        asked: &'a Rules,
        policy: Option<&Rules>,
    ) -> Option<(&'a rules::Rule, &'static str)> {
        asked.iter().find_map(|rule| Some((rule, self.refuses(rule, policy)?)))
    }

    /// Who says no to a host, if anybody does.
    fn refuses(&self, rule: &rules::Rule, policy: Option<&Rules>) -> Option<&'static str> {
        if !self.allowed.cover(rule) {
            return Some("this server does not allow it (egress.hosts)");
        }
        let forbidden = policy.is_some_and(|policy| !policy.cover(rule));
        forbidden.then_some("the organisation's policy does not allow it")
    }

    /// Of what a function asks for what it gets.
    pub(crate) fn granted(&self, asked: &Rules, policy: Option<&Rules>) -> Rules {
        asked.only(|rule| self.refuses(rule, policy).is_none())
    }
}

/// Refuses a call of a function that may send requests, when its caller wants none to be sent.
pub(crate) fn check_caller(headers: &HeaderMap, granted: &Rules) -> Result<(), ApiError> {
    let Some(wish) = headers.get(EGRESS_HEADER) else { return Ok(()) };
    match wish.to_str() {
        Ok("none") if granted.is_empty() => Ok(()),
        Ok("none") => Err(ApiError::Forbidden(format!(
            "{EGRESS_HEADER} says none, and this function may send requests to {granted}"
        ))),
        _ => Err(ApiError::field(EGRESS_HEADER, "must be \"none\", or be left out")),
    }
}

/// One function's way out.
pub(crate) struct Door {
    pub(crate) egress: Arc<Egress>,
    pub(crate) hosts: Rules,
}

#[async_trait]
impl Outbound for Door {
    async fn send(&self, request: Request<OutboundBody>) -> Result<Exchange, OutboundError> {
        let place = Place::of(request.uri()).map_err(OutboundError::Invalid)?;
        if !self.hosts.allow(&place) {
            return Err(OutboundError::Denied(place.to_string()));
        }
        let to = Destination {
            host: &place.host,
            port: place.port,
            tls: place.tls,
            allow_private: self.egress.private.allow(&place),
        };
        let stream = self.egress.dialer.dial(to).await?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        let request = inner(request, &place)?;
        let response = Box::pin(sender.send_request(request));
        let connection = Box::pin(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a function's connection ended");
            }
        });
        // Both go on together, until there is an answer; then the connection goes on behind it. It
        // may end in the moment in which the answer is there.
        let (response, connection) = match future::select(response, connection).await {
            Either::Left((response, connection)) => (response, connection as Connection),
            Either::Right(((), response)) => (response.await, Box::pin(async {}) as Connection),
        };
        let response = response.map_err(protocol)?;
        let response = response.map(|body| body.map_err(protocol).boxed_unsync());
        Ok(Exchange { response, connection })
    }
}

/// The request as it goes over the connection.
fn inner(
    request: Request<OutboundBody>,
    place: &Place,
) -> Result<Request<OutboundBody>, OutboundError> {
    let (mut parts, body) = request.into_parts();
    let host = HeaderValue::from_str(&place.authority())
        .map_err(|error| OutboundError::Invalid(error.to_string()))?;
    parts.headers.insert(HOST, host);
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let rooted = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    parts.uri =
        rooted.parse().map_err(|error: InvalidUri| OutboundError::Invalid(error.to_string()))?;
    parts.version = http::Version::HTTP_11;
    Ok(Request::from_parts(parts, body))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn protocol(error: hyper::Error) -> OutboundError {
    OutboundError::Protocol(error.to_string())
}

impl From<DialError> for OutboundError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::NameNotFound(why) => Self::NameNotFound(why),
            DialError::Prohibited => Self::AddressProhibited,
            DialError::Refused(why) => Self::Refused(why),
            DialError::Tls(why) => Self::Tls(why),
        }
    }
}
