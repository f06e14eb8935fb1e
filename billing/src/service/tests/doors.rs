use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::scripted::{Scripted, hold_request};
use super::*;
use crate::ids::CallId;
use crate::service::wire::tests::{every_error, told};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn only_certificates_of_the_authority_are_let_in() {
    let (site, other) = (Site::new(), Site::new());
    let service = site.serve(Scripted::open(), ServiceLimits::default()).await;
    let config = |files: TlsFiles, gateway: &str| {
        let mut config = Arc::unwrap_or_clone(files.client(gateway).unwrap());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    };
    let own = config(site.tls("gateway-gw-1"), "gw-1");
    let stranger = TlsFiles { ca: site.path().join("ca.pem"), ..other.tls("gateway-gw-1") };
    let nobody = without_certificate(&site);
    // The service's own pair is no gateway's, though the same authority signed it.
    let service_pair = config(site.tls("server"), "localhost");
    let distrusting = config(other.tls("gateway-gw-1"), "gw-1");
    for (who, config, expect) in [
        ("a gateway", own, "{\"status\":\"ok\"}"),
        ("one without a certificate", nobody, "CertificateRequired"),
        ("one of another authority", config(stranger, "gw-1"), "fatal alert"),
        ("one with the service's pair", service_pair, "fatal alert"),
        ("one that trusts another authority", distrusting, "invalid peer certificate"),
    ] {
        let told = match talk(service.address, Arc::new(config), HEALTH).await {
            Ok(answer) => answer,
            Err(error) => error.to_string(),
        };
        assert!(told.contains(expect), "{who} was told: {told}");
    }
    service.stop().await;
}

fn without_certificate(site: &Site) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.path().join("ca.pem")).unwrap()).unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn a_gateway_that_is_not_let_in_learns_why() {
    let (site, other) = (Site::new(), Site::new());
    let service = site.serve(Scripted::open(), ServiceLimits::default()).await;
    let limits = RemoteLimits { connect_for: Duration::ZERO, ..RemoteLimits::default() };
    let options = RemoteOptions { limits, ..site.options(service.address) };
    let reason = |options: RemoteOptions| async {
        match RemoteBilling::connect(options).await.unwrap_err() {
            ServiceError::NotRegistered(error) => error.to_string(),
            error => error.to_string(),
        }
    };
    let stranger = TlsFiles { ca: site.path().join("ca.pem"), ..other.tls("gateway-gw-1") };
    let limits = RemoteLimits { connect_for: Duration::from_millis(500), ..options.limits };
    let options = RemoteOptions { limits, ..options };
    let told = reason(RemoteOptions { tls: stranger, ..options.clone() }).await;
    assert!(told.contains("fatal alert"), "{told}");
    let told = reason(RemoteOptions { tls: other.tls("gateway-gw-1"), ..options.clone() }).await;
    assert!(told.contains("invalid peer certificate"), "{told}");
    let url = options.url.replace("localhost", "127.0.0.2");
    let told = reason(RemoteOptions { url, ..options.clone() }).await;
    assert!(told.contains("not valid for name") || told.contains("refused"), "{told}");
    let address = service.stop().await;
    let told = reason(RemoteOptions { url: format!("https://{address}"), ..options }).await;
    assert!(told.contains("refused"), "{told}");
}

#[tokio::test]
async fn a_gateway_acts_under_its_own_name_only() {
    let site = Site::new();
    let ledger = Scripted::open();
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let call = CallId::generate();
    let hold = |holder: &str| {
        let mut request = serde_json::to_value(hold_request(call)).unwrap();
        request["holder"] = serde_json::from_str(holder).unwrap();
        format!("{{\"hold\":{request}}}")
    };
    let register = |gateway: &str| {
        format!(
            "{{\"order\":{{\"op\":\"x\",\"by\":\"x\",\"act\":{{\"kind\":\"register_gateway\",\
             \"gateway\":\"{gateway}\"}}}}}}"
        )
    };
    for (operation, expect) in [
        (hold("{\"gateway\":\"gw-1\",\"epoch\":1}"), "\"durable\":true"),
        (hold("{\"gateway\":\"gw-2\",\"epoch\":1}"), "for gw-1, not for `gw-2`"),
        (hold("null"), "names its gateway"),
        (register("gw-1"), "registered"),
        (register("gw-2"), "for gw-1, not for `gw-2`"),
    ] {
        let batch = format!("{{\"operations\":[{operation}]}}");
        let (status, told) = site.ask(&service, ("POST", "/v1/batch"), &batch).await;
        assert_eq!(status, 200);
        assert!(told.contains(expect), "{operation} was answered {told}");
    }
    assert_eq!(ledger.log(), [format!("hold {call}")], "what was refused reached the ledger");
    service.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let site = Site::new();
    let limits =
        ServiceLimits { body_bytes_max: 4000, operations_max: 3, ..ServiceLimits::default() };
    let service = site.serve(Scripted::open(), limits).await;
    let void = format!("{{\"void\":{{\"org\":\"a\",\"call\":\"{}\"}}}}", CallId::generate());
    let batch = |operations: &[&str]| format!("{{\"operations\":[{}]}}", operations.join(","));
    let post = |path| ("POST", path);
    for (what, body, expect) in [
        (post("/v1/batch"), batch(&[void.as_str()]), (200, "voided")),
        (post("/v1/batch"), batch(&[]), (200, "")),
        (post("/v1/batch"), batch(&[void.as_str(); 3]), (200, "\"index\":2")),
        (post("/v1/batch"), batch(&[void.as_str(); 4]), (413, "at most 3 in one batch")),
        (post("/v1/batch"), "x".repeat(4001), (413, "at most 4000 bytes")),
        (post("/v1/batch"), String::new(), (400, "not a batch")),
        (post("/v1/batch"), "{\"operations\":{}}".to_owned(), (400, "not a batch")),
        (post("/v1/batch"), "{\"operations\":[],\"x\":1}".to_owned(), (400, "unknown field")),
        (post("/v1/query"), "\"periods\"".to_owned(), (200, "{\"periods\":[]}")),
        (post("/v1/query"), "\"secrets\"".to_owned(), (400, "not a question")),
        (("GET", "/v1/batch"), String::new(), (405, "no such method")),
        (("DELETE", "/v1/prices"), String::new(), (405, "no such method")),
        (("GET", "/v2/batch"), String::new(), (404, "no such route")),
        (("GET", "/"), String::new(), (404, "no such route")),
        (("GET", "/v1/prices"), String::new(), (200, "\"version\":1")),
        (("GET", "/healthz"), String::new(), (200, "ok")),
    ] {
        let (status, told) = site.ask(&service, what, &body).await;
        assert_eq!(status, expect.0, "{what:?} {body}: {told}");
        assert!(told.contains(expect.1), "{what:?} {body}: {told}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_poisoned_operation_harms_no_other() {
    let site = Site::new();
    let service = site.serve(Scripted::open(), ServiceLimits::default()).await;
    let void = || format!("{{\"void\":{{\"org\":\"a\",\"call\":\"{}\"}}}}", CallId::generate());
    let mut hold = serde_json::to_value(hold_request(CallId::generate())).unwrap();
    hold["amount"] = serde_json::json!(1e9);
    let operations =
        [void(), format!("{{\"hold\":{hold}}}"), void(), "17".to_owned(), "[]".to_owned(), void()];
    let batch = format!("{{\"operations\":[{}]}}", operations.join(","));
    let (status, told) = site.ask(&service, ("POST", "/v1/batch"), &batch).await;
    assert_eq!(status, 200);
    for (index, expect) in [
        (0, "\"done\":\"voided\""),
        (1, "\"code\":\"invalid\""),
        (2, "\"done\":\"voided\""),
        (3, "\"code\":\"invalid\""),
        (4, "\"code\":\"invalid\""),
        (5, "\"done\":\"voided\""),
    ] {
        let found = told
            .lines()
            .any(|line| line.contains(&format!("\"index\":{index},")) && line.contains(expect));
        assert!(found, "{index} {expect} in {told}");
    }
    service.stop().await;
}

#[tokio::test]
async fn every_error_reaches_the_caller() {
    let site = Site::new();
    let ledger = Scripted::open();
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let mut options = site.options(service.address);
    options.limits.hold_retry_for = Duration::from_secs(2);
    let remote = RemoteBilling::connect(options).await.unwrap();
    for error in every_error() {
        *ledger.error.lock().unwrap() = Some(error.clone());
        let (request, org) = (hold_request(CallId::generate()), crate::OrgId::new("acme"));
        let call = request.call;
        let order = crate::Order {
            op: crate::OpId::generate(),
            by: "operator".to_owned(),
            act: crate::Act::SetLowBalance { org: org.clone(), below: None },
        };
        let capture = crate::CaptureRequest {
            org: org.clone(),
            call,
            usage: Vec::new(),
            ending: crate::Ending::Normal,
        };
        let expect = told(&error);
        assert_eq!(told(&remote.hold(request).await.unwrap_err()), expect);
        assert_eq!(told(&remote.capture(capture).await.unwrap_err()), expect);
        assert_eq!(told(&remote.void(org, call).await.unwrap_err()), expect);
        assert_eq!(told(&remote.order(order).await.unwrap_err()), expect);
        // A question that got no answer is asked again, for a while.
        assert_eq!(told(&remote.ask(crate::Query::Periods).await.unwrap_err()), expect);
    }
    service.stop().await;
}
