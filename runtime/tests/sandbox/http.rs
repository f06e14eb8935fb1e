use emberbox_runtime::{CallEnding, CallError, Limits};
use http::{HeaderValue, Method};

use crate::support::{World, get, hello, misbehave, outcome, post};

#[tokio::test]
async fn a_function_answers() {
    let world = World::new();
    let answer = world.get(&hello(), "/?name=Ada").await.answered();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "Hello, Ada!\n"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["content-security-policy"], "sandbox");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.report.ending, CallEnding::Normal);
    assert_eq!(answer.report.response_bytes, 12);
    assert!(answer.report.cpu_us > 0, "{:?}", answer.report);
    assert!(answer.report.memory_bytes_peak >= 64 << 10, "{:?}", answer.report);
}

#[tokio::test]
async fn every_request_has_an_instance_of_its_own() {
    let world = World::new();
    let deployment = hello();
    let calls = (0..50).map(|n| {
        let (world, deployment) = (&world, &deployment);
        async move { world.get(deployment, &format!("/?name={n}")).await.answered() }
    });
    for (n, answer) in futures::future::join_all(calls).await.iter().enumerate() {
        assert_eq!(answer.text(), format!("Hello, {n}!\n"));
    }
}

#[tokio::test]
async fn a_request_without_host_is_refused_before_the_guest() {
    let world = World::new();
    for host in [None, Some("not a host"), Some("")] {
        let mut request = get("/");
        request.headers_mut().remove("host");
        if let Some(host) = host {
            request.headers_mut().insert("host", HeaderValue::from_static(host));
        }
        let error = outcome(hello().call(world.call(request)).await).await.failed();
        assert!(matches!(error, CallError::RequestInvalid(_)), "{host:?}: {error:?}");
        assert!(error.report().is_none());
    }
}

#[tokio::test]
async fn the_guest_sees_neither_credentials_nor_platform_headers() {
    let world = World::new();
    let mut request = post("/echo?a=1", "twelve bytes");
    for (name, value) in [
        ("authorization", "Bearer eb_secret"),
        ("cookie", "session=1"),
        ("idempotency-key", "k"),
        ("x-emberbox-org", "org_1"),
        ("connection", "x-named, close"),
        ("x-named", "by connection"),
        ("te", "trailers"),
        ("x-own", "kept"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let deployment = misbehave(Limits::default());
    let seen = outcome(deployment.call(world.call(request)).await).await.answered().json();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["body_bytes"], 12);
    let headers = seen["headers"].to_string();
    assert!(headers.contains("x-own"), "{headers}");
    for gone in ["authorization", "secret", "cookie", "idempotency", "emberbox", "named", "te\""] {
        assert!(!headers.contains(gone), "{gone} in {headers}");
    }
}

#[tokio::test]
async fn a_head_request_is_not_a_client_that_leaves() {
    let world = World::new();
    let mut request = get("/");
    *request.method_mut() = Method::HEAD;
    let answer = hello().call(world.call(request)).await.unwrap();
    drop(answer.response);
    assert_eq!(answer.report.await.ending, CallEnding::Normal);
}

#[tokio::test]
async fn a_body_dropped_at_its_announced_length_is_complete() {
    use http_body_util::BodyExt;
    let world = World::new();
    let mut answer = hello().call(world.call(get("/"))).await.unwrap();
    let frame = answer.response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap().as_ref(), b"Hello, world!\n");
    drop(answer.response);
    assert_eq!(answer.report.await.ending, CallEnding::Normal);
}
