use std::fs;

use super::life::{open_ledger, org, top_up};
use super::lost::Way;
use super::scripted::Scripted;
use super::*;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Puts another installation's files in the place of this one's.
fn replace(site: &Site, other: &Site) {
    for entry in fs::read_dir(other.path()).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, site.path().join(from.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn replaced_certificates_are_used_from_the_next_connection_on() {
    let (site, other) = (Site::new(), Site::new());
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let way = Way::to(service.address).await;
    let remote = RemoteBilling::connect(site.options(way.address)).await.unwrap();
    remote.order(top_up(1)).await.unwrap();
    let mut former = Arc::unwrap_or_clone(site.tls("gateway-gw-1").client("gw-1").unwrap());
    former.alpn_protocols = vec![b"http/1.1".to_vec()];
    replace(&site, &other);
    // What is open goes on; what is opened is of the new authority, on both sides.
    remote.order(top_up(1)).await.unwrap();
    way.turn().cut();
    remote.order(top_up(1)).await.unwrap();
    assert_eq!(ledger.balance(&org()).await.unwrap().posted.as_nano(), 3);
    let told = talk(service.address, Arc::new(former), HEALTH).await;
    assert!(told.unwrap_err().to_string().contains("invalid peer certificate"));
    service.stop().await;
}

#[tokio::test]
async fn half_replaced_certificates_change_nothing() {
    let (site, other) = (Site::new(), Site::new());
    let service = site.serve(Scripted::open(), ServiceLimits::default()).await;
    let way = Way::to(service.address).await;
    let remote = RemoteBilling::connect(site.options(way.address)).await.unwrap();
    let health = async || site.talk(&service, "gateway-gw-1", HEALTH).await;
    // The key is still the former one: the pair makes no sense yet.
    for name in ["server.pem", "gateway-gw-1.pem"] {
        fs::copy(site.path().join(name), site.path().join(format!("{name}.before"))).unwrap();
        fs::copy(other.path().join(name), site.path().join(name)).unwrap();
    }
    way.turn().cut();
    remote.ask(crate::Query::Periods).await.unwrap();
    for name in ["server.pem", "gateway-gw-1.pem"] {
        fs::copy(site.path().join(format!("{name}.before")), site.path().join(name)).unwrap();
    }
    fs::write(site.path().join("server.key"), "hello").unwrap();
    assert!(health().await.unwrap().contains("ok"));
    replace(&site, &other);
    assert!(health().await.unwrap().contains("ok"), "they are all there now");
    service.stop().await;
}
