//! Where the database is, and how the connection is secured.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresLedgerOptions;
use super::schema::SCHEMA;
use crate::error::{OpenFailure, StoreError};

/// How often an idle connection is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A database, understood and ready to be connected to.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// Whose certificates are trusted.
#[derive(Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    System,
    File(String),
}

/// What is wrong with an address.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the address of PostgreSQL is wrong: {0}")]
    Url(&'static str),
    #[error("{file}: {what}")]
    Certificates { file: String, what: String },
    #[error("this system trusts no certificates: name a file with sslrootcert")]
    NoRoots,
}

impl Address {
    /// Reads the options. A connection leaves this machine only encrypted, to a server whose
    /// certificate and name were checked, unless the URL says `sslmode=disable`.
    pub(super) fn of(options: &PostgresLedgerOptions) -> Result<Address, OpenFailure> {
        let (mut config, trust) = parse(&options.url)?;
        let ours = format!(
            "-c search_path={SCHEMA} -c lock_timeout={} -c statement_timeout={} \
             -c idle_in_transaction_session_timeout={}",
            options.lock_timeout_ms, options.statement_timeout_ms, options.statement_timeout_ms,
        );
        let set = config.get_options().map_or(ours.clone(), |theirs| format!("{theirs} {ours}"));
        config
            .options(set)
            .application_name("emberbox-ledger")
            .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
            .tcp_user_timeout(Duration::from_millis(options.statement_timeout_ms))
            .keepalives_idle(KEEPALIVE);
        let tls = trust.map(|trust| tls(&trust)).transpose()?;
        Ok(Address { config, tls })
    }

    /// The address as it may be shown: without the password.
    pub(super) fn place(&self) -> String {
        let host = self.config.get_hosts().first().map_or("?".to_owned(), |host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("postgres://{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }

    /// Opens a connection, driven by the runtime that asks.
    pub(super) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(async move { report(connection.await) });
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(async move { report(connection.await) });
                Ok(client)
            }
        }
    }
}

/// Whoever uses the connection is told by its own statements; this line is for the log.
fn report(ended: Result<(), tokio_postgres::Error>) {
    if let Err(error) = ended {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "the ledger's connection to PostgreSQL ended");
    }
}

fn refuse(why: Unusable) -> OpenFailure {
    OpenFailure::Store(StoreError::new(why))
}

fn parse(url: &str) -> Result<(Config, Option<Trust>), OpenFailure> {
    let wrong = |reason| refuse(Unusable::Url(reason));
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(wrong("it must start with postgres://"));
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut mode = None;
    let mut trust = Trust::default();
    let mut others = Vec::new();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        match name {
            "sslmode" => mode = Some(value),
            "sslrootcert" if value == "system" => trust = Trust::System,
            "sslrootcert" => trust = Trust::File(value),
            _ => others.push(setting),
        }
    }
    let plain = [place, &others.join("&")].join("?");
    let mut config: Config = plain
        .trim_end_matches('?')
        .parse()
        .map_err(|error: tokio_postgres::Error| OpenFailure::Store(StoreError::new(error)))?;
    if config.get_hosts().is_empty() {
        return Err(wrong("it names no host"));
    }
    let encrypted = match mode.as_deref() {
        Some("require" | "verify-full") => true,
        Some("disable") => false,
        None => !config.get_hosts().iter().all(is_this_machine),
        Some(_) => return Err(wrong("sslmode is one of require, verify-full and disable")),
    };
    config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
    Ok((config, encrypted.then_some(trust)))
}

/// Nobody listens between two programs of one machine.
fn is_this_machine(host: &Host) -> bool {
    let Host::Tcp(name) = host else { return true };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = bare.parse();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn tls(trust: &Trust) -> Result<MakeRustlsConnect, OpenFailure> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::File(file) => {
            let unreadable =
                |what: String| refuse(Unusable::Certificates { file: file.clone(), what });
            let certificates = CertificateDer::pem_file_iter(Path::new(file))
                .map_err(|error| unreadable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
        }
    }
    if roots.is_empty() {
        return Err(refuse(Unusable::NoRoots));
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenFailure::Store(StoreError::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_this_machine_is_encrypted() {
        let file = || Ok(Some(Trust::File("/etc/a b.pem".to_owned())));
        for (url, expect) in [
            ("postgres://u:p@db.example/x", Ok(Some(Trust::System))),
            ("postgresql://u@10.0.0.7/x?sslmode=verify-full", Ok(Some(Trust::System))),
            ("postgres://u@localhost/x", Ok(None)),
            ("postgres://u@[::1]/x", Ok(None)),
            ("postgres://u@127.0.0.1:5433/x?connect_timeout=3", Ok(None)),
            ("postgres://u@localhost/x?sslmode=require&sslrootcert=/etc/a%20b.pem", file()),
            ("postgres://u@db.example/x?sslmode=disable", Ok(None)),
            ("postgres://u@db.example/x?sslmode=prefer", Err("sslmode")),
            ("postgres:///x", Err("no host")),
            ("mysql://db.example/x", Err("must start with")),
            ("postgres://u@db.example/x?colour=red", Err("")),
        ] {
            match (parse(url), expect) {
                (Ok((config, trust)), Ok(expect)) => {
                    assert_eq!(
                        config.get_ssl_mode() == SslMode::Require,
                        expect.is_some(),
                        "{url}"
                    );
                    assert_eq!(trust, expect, "{url}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (result, _) => panic!("{url}: {:?}", result.map(|(_, trust)| trust)),
            }
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let options = PostgresLedgerOptions::new("postgres://me:secret@localhost:5433/money");
        let shown = Address::of(&options).unwrap().place();
        assert_eq!(shown, "postgres://localhost:5433/money");
        assert!(!format!("{options:?}").contains("secret"));
    }
}
