use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};

use crate::{CallError, RequestBody};

/// What the platform says for itself, in either direction.
const PLATFORM_PREFIX: &str = "x-emberbox-";

/// Credentials and keys of the caller: the function has no business with them.
const CALLER: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, HeaderName::from_static("idempotency-key")];

/// What a function could use to speak for the platform or to plant state at its origin.
const FORGED: [HeaderName; 4] = [
    header::SET_COOKIE,
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-should-retry"),
];
const FORGED_PREFIX: &str = "x-ratelimit-";

/// RFC 9110, section 7.6.1: these belong to one connection.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// wasi:http gives the guest an authority, so a request without one is refused before the guest.
pub(crate) fn check_host(request: &Request<RequestBody>) -> Result<(), CallError> {
    if request.uri().authority().is_some() {
        return Ok(());
    }
    let invalid = |reason: &str| Err(CallError::RequestInvalid(reason.to_owned()));
    let Some(host) = request.headers().get(header::HOST) else {
        return invalid("there is no `host` header");
    };
    match host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) {
        Some(_) => Ok(()),
        None => invalid("the `host` header is not a host name"),
    }
}

/// Removes what the guest must not see.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    remove(headers, |name| CALLER.contains(name) || name.as_str().starts_with(PLATFORM_PREFIX));
}

/// Removes what the guest must not say, and makes browsers treat what it says as a stranger's.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    remove(headers, |name| {
        FORGED.contains(name)
            || name.as_str().starts_with(PLATFORM_PREFIX)
            || name.as_str().starts_with(FORGED_PREFIX)
    });
    // Policies of several headers all apply, so a guest's own can only narrow this one.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The fixed ones, and those that `connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| name != header::HOST)
        .collect();
    remove(headers, |name| HOP_BY_HOP.contains(name) || named.contains(name));
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
