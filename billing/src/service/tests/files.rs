use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn checked(result: Result<impl Sized, ServiceError>, expect: &str) {
    let told = result.map(drop).map_err(|error| error.to_string());
    let told = told.err().unwrap_or_else(|| "fine".to_owned());
    assert!(told.contains(expect), "{told}, but expected {expect}");
}

#[test]
fn each_mistake_in_the_files_is_named() {
    let site = Site::new();
    let at = |name: &str| site.path().join(name);
    fs::write(at("text.pem"), "hello").unwrap();
    fs::write(
        at("damaged.pem"),
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(at("large.pem"), vec![b'-'; (1 << 20) + 1]).unwrap();
    let server = || site.tls("server");
    let with_ca = |name: &str| TlsFiles { ca: at(name), ..server() };
    let with_certificate = |name: &str| TlsFiles { certificate: at(name), ..server() };
    let with_key = |name: &str| TlsFiles { key: at(name), ..server() };
    for (files, expect) in [
        (server(), "fine"),
        (with_ca("none.pem"), "cannot read the CA certificate"),
        (with_ca("text.pem"), "text.pem holds no CA certificate in PEM format"),
        (with_ca("server.key"), "server.key holds no CA certificate"),
        (with_ca("damaged.pem"), "damaged.pem cannot be used"),
        (with_certificate("none.pem"), "cannot read the certificate"),
        (with_certificate("text.pem"), "text.pem holds no certificate"),
        (with_certificate("large.pem"), "large.pem holds no certificate"),
        (with_certificate("damaged.pem"), "damaged.pem cannot be used"),
        (with_key("none.pem"), "cannot read the key"),
        (with_key("server.pem"), "server.pem holds no key"),
        (with_key("gateway-gw-1.key"), "does not belong to the certificate"),
    ] {
        checked(files.check_server(), expect);
    }
    let client = site.tls("gateway-gw-1");
    checked(client.check_client("gw-1"), "fine");
    checked(client.check_client("gw-2"), "is for gw-1, not for the gateway `gw-2`");
    let crossed = TlsFiles { key: at("gateway-gw-2.key"), ..client };
    checked(crossed.check_client("gw-1"), "does not belong to the certificate");
}

#[test]
fn keys_can_be_read_by_their_owner_only() {
    let site = Site::new();
    for entry in fs::read_dir(site.path()).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let key = path.extension().unwrap() == "key";
        assert_eq!(mode & 0o077 == 0, key, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn nothing_is_overwritten_and_gateways_can_be_added() {
    let site = Site::new();
    let before: Vec<_> = ["ca.pem", "ca.key", "server.pem", "gateway-gw-1.key"]
        .map(|name| fs::read(site.path().join(name)).unwrap())
        .into();
    let make = |names: CertificateNames| make_certificates(site.path(), &names);
    checked(make(names(&["localhost"], &[])), "server.pem exists already");
    checked(make(names(&[], &["gw-3", "gw-1"])), "gateway-gw-1.pem exists already");
    assert!(!site.path().join("gateway-gw-3.pem").exists(), "half of it was written");
    checked(make(names(&[], &["gw-3", "gw-3"])), "exists already");
    let written = make(names(&[], &["gw-3"])).unwrap();
    assert_eq!(written.len(), 2, "{written:?}");
    checked(site.tls("gateway-gw-3").check_client("gw-3"), "fine");
    let after: Vec<_> = ["ca.pem", "ca.key", "server.pem", "gateway-gw-1.key"]
        .map(|name| fs::read(site.path().join(name)).unwrap())
        .into();
    assert!(before == after);
    for name in ["", "../up", "a/b", "A", "-x", "a b", "ö", &"x".repeat(65)] {
        checked(make(names(&[], &[name])), "no certificate can be made");
    }
    let other = Site::new();
    fs::copy(other.path().join("ca.key"), site.path().join("ca.key")).unwrap();
    checked(make(names(&[], &["gw-4"])), "does not belong to the certificate");
    fs::write(site.path().join("ca.key"), "hello").unwrap();
    checked(make(names(&[], &["gw-4"])), "holds no CA key");
    fs::remove_file(site.path().join("ca.key")).unwrap();
    checked(make(names(&[], &["gw-4"])), "ca.pem exists already");
}

#[tokio::test]
async fn addresses_are_checked() {
    let site = Site::new();
    for (url, expect) in [
        ("billing.example", "begins with https://"),
        ("http://billing.example", "begins with https://"),
        ("https://billing.example/v1", "ends with the host"),
        ("https://billing.example?x=1", "ends with the host"),
        ("https://", "is no address"),
        ("", "is no address"),
    ] {
        let address = "127.0.0.1:1".parse().unwrap();
        let options = RemoteOptions { url: url.to_owned(), ..site.options(address) };
        checked(RemoteBilling::connect(options).await, expect);
    }
}
