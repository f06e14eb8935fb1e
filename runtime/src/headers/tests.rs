use super::*;

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn requests_lose_the_callers_secrets() {
    let mut headers = map(&[
        ("authorization", "Bearer k"),
        ("Cookie", "a=1"),
        ("idempotency-key", "1"),
        ("x-emberbox-manifest", "m"),
        ("connection", "keep-alive, X-Hop"),
        ("connection", "x-other, host"),
        ("x-hop", "1"),
        ("x-other", "1"),
        ("upgrade", "h2c"),
        ("host", "h"),
        ("accept", "*/*"),
        ("x-request-id", "the caller may say its own"),
    ]);
    strip_request(&mut headers);
    assert_eq!(names(&headers), ["accept", "host", "x-request-id"]);
}

#[test]
fn answers_lose_what_speaks_for_the_platform() {
    let mut headers = map(&[
        ("x-emberbox-cost", "0"),
        ("X-RateLimit-Remaining", "9"),
        ("x-request-id", "forged"),
        ("x-should-retry", "true"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("service-worker-allowed", "/"),
        ("transfer-encoding", "chunked"),
        ("content-type", "text/html"),
        ("x-content-type-options", "none"),
    ]);
    clean_response(&mut headers);
    assert_eq!(
        names(&headers),
        ["content-security-policy", "content-type", "x-content-type-options"]
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
}
