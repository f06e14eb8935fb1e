//! Speaks HTTP that it must not speak.

use emberbox_sdk::{Error, Request, Response, json};

/// Headers that only the platform may set on a function's response.
const FORGED: &[(&str, &str)] = &[
    ("x-emberbox-cost", "0"),
    ("x-emberbox-balance", "1000000"),
    ("x-emberbox-receipt", "forged"),
    ("x-emberbox-anything", "forged"),
    ("x-request-id", "forged"),
    ("x-ratelimit-limit-requests", "1000000"),
    ("x-ratelimit-remaining-tokens", "1000000"),
    ("x-should-retry", "true"),
    ("set-cookie", "session=forged; Path=/"),
    ("service-worker-allowed", "/"),
    ("content-security-policy", "default-src *"),
    ("x-content-type-options", "forged"),
    ("strict-transport-security", "max-age=1"),
];

/// Headers of the connection, which is not the function's at all.
const HOP: &[(&str, &str)] =
    &[("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")];

/// A value with another header, and another response, inside.
const CRLF: &[(&str, &str)] = &[("x-plain", "a\r\nset-cookie: forged=1\r\n\r\nforged body")];

/// Sets headers that are not its own, beside one that is.
pub(crate) fn forge_headers(request: &Request) -> Result<Response, Error> {
    let forged = match request.query("kind") {
        Some("hop") => HOP,
        Some("crlf") => CRLF,
        _ => FORGED,
    };
    let names: Vec<&str> = forged.iter().map(|(name, _)| *name).collect();
    let honest = Response::json(&json!({ "forged": names }))?.with_header("x-own", "kept");
    let add = |response: Response, (name, value): &(&str, &str)| response.with_header(name, *value);
    Ok(forged.iter().fold(honest, add))
}

/// Announces 100 bytes and sends 10, or the other way round.
pub(crate) fn lie_length(request: &Request) -> Result<Response, Error> {
    let (announced, sent) = match request.query("kind") {
        Some("long") => (10, 100),
        _ => (100, 10),
    };
    let response = Response::text("x".repeat(sent));
    Ok(response.with_header("content-length", announced.to_string()))
}

/// Sends the beginning of an answer, and then fails.
pub(crate) fn half() -> Result<Response, Error> {
    let failure = Error::internal("failed in the middle, as asked");
    Ok(Response::stream([Ok("the first half\n".to_owned()), Err(failure)]))
}

/// What of the request came through.
pub(crate) fn echo(request: &Request) -> Result<Response, Error> {
    Response::json(&json!({
        "method": request.method(), "path": request.path(), "query": request.query_pairs(),
        "headers": request.headers(), "body_bytes": request.body().len(),
    }))
}
