use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::Fault;

/// A server's address as it stands in a URL, understood.
pub(super) struct Address {
    /// All that the client understands by itself.
    pub(super) config: Config,
    /// Whose certificates are trusted; `None` where the connection is not encrypted.
    pub(super) trust: Option<Trust>,
}

/// Whose certificates are trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that the system trusts.
    System,
    /// Those of a file in PEM.
    File(PathBuf),
}

impl Address {
    /// Reads a URL as `libpq` writes it, with three differences, all for safety. `require` checks
    /// the server's certificate and name, as `verify-full` does; `prefer` and `allow`, which any
    /// attacker on the way can turn into no encryption, are refused; and without `sslmode` the
    /// connection is encrypted, except on this machine.
    pub(super) fn parse(url: &str) -> Result<Self, Fault> {
        let wrong = |reason: &str| Fault::Address(reason.to_owned());
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it must start with postgres://"));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut mode, mut trust) = (Vec::new(), None, Trust::System);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            match name {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" if value == "system" => trust = Trust::System,
                "sslrootcert" => trust = Trust::File(PathBuf::from(value.as_ref())),
                _ => kept.push(parameter),
            }
        }
        let rest = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
        let mut config: Config = format!("{base}{rest}").parse().map_err(Fault::Parse)?;
        let encrypted = match mode.as_deref() {
            Some("require" | "verify-full") => true,
            Some("disable") => false,
            None => !config.get_hosts().iter().all(is_here),
            Some(_) => return Err(wrong("sslmode is one of require, verify-full and disable")),
        };
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host"));
        }
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        Ok(Address { config, trust: encrypted.then_some(trust) })
    }
}

/// Whether a host is this machine, so that nobody listens on the way.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) if name == "localhost" => true,
        Host::Tcp(name) => name
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback()),
    }
}

/// Sets TLS up: rustls on ring, the server's certificate always checked.
pub(super) fn tls(trust: &Trust) -> Result<MakeRustlsConnect, Fault> {
    let roots = match trust {
        Trust::System => system_roots()?,
        Trust::File(file) => file_roots(file)?,
    };
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn system_roots() -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(Fault::Address(
            "this system trusts no certificates: name a file with sslrootcert".to_owned(),
        )),
        false => Ok(roots),
    }
}

fn file_roots(file: &Path) -> Result<RootCertStore, Fault> {
    let unreadable = |source| Fault::Certificates { file: file.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    match roots.is_empty() {
        true => Err(Fault::Address(format!("{} holds no certificate", file.display()))),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encrypted_unless_told_otherwise() {
        let file = || Some(Trust::File(PathBuf::from("/etc/ca 1.pem")));
        for (url, expect) in [
            ("postgres://u:p@db.example/x", Ok(Some(Trust::System))),
            ("postgresql://u@db.example", Ok(Some(Trust::System))),
            ("postgres://u@db.example/x?sslmode=require", Ok(Some(Trust::System))),
            (
                "postgres://u@10.0.0.1/x?sslmode=verify-full&sslrootcert=system",
                Ok(Some(Trust::System)),
            ),
            ("postgres://u@h/x?connect_timeout=3&sslrootcert=/etc/ca%201.pem", Ok(file())),
            ("postgres://u@localhost/x?sslmode=require&sslrootcert=/etc/ca 1.pem", Ok(file())),
            ("postgres://u@db.example/x?sslmode=disable", Ok(None)),
            ("postgres://u@localhost/x", Ok(None)),
            ("postgres://u@127.0.0.1:5433/x", Ok(None)),
            ("postgres://u@[::1]:5433/x", Ok(None)),
            ("postgres://u@%2Fvar%2Frun%2Fpostgresql/x", Ok(None)),
            ("postgres://u@localhost,db.example/x", Ok(Some(Trust::System))),
            ("postgres://u@db.example/x?sslmode=prefer", Err("sslmode is one of")),
            ("postgres://u@db.example/x?sslmode=verify-ca", Err("sslmode is one of")),
            ("postgres://u@db.example/x?ssl%6Dode=prefer", Ok(Some(Trust::System))),
            ("postgres:///x", Err("no host")),
            ("host=db.example user=u", Err("must start with")),
            ("mysql://db.example", Err("must start with")),
            ("postgres://u@db.example:99999999/x", Err("is wrong")),
            ("postgres://u@db.example/x?colour=red", Err("is wrong")),
            ("", Err("must start with")),
        ] {
            match (Address::parse(url), expect) {
                (Ok(address), Ok(trust)) => {
                    assert_eq!(address.trust, trust, "{url}");
                    let required = address.config.get_ssl_mode() == SslMode::Require;
                    assert_eq!(required, trust.is_some(), "{url}");
                }
                (Err(fault), Err(part)) => {
                    assert!(fault.to_string().contains(part), "{url}: {fault}");
                }
                (Ok(_), Err(part)) => panic!("{url}: accepted, not {part:?}"),
                (Err(fault), Ok(_)) => panic!("{url}: {fault}"),
            }
        }
    }

    #[test]
    fn files_of_certificates_that_hold_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let refusal = || tls(&Trust::File(file.clone())).map(|_| ()).unwrap_err().to_string();
        assert!(refusal().contains("cannot read certificates from"));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(refusal().contains("holds no certificate"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, broken).unwrap();
        assert!(refusal().contains("TLS"));
    }
}
