//! Connections to hosts that others have named: customers' endpoints, functions' destinations.
//!
//! The name is resolved here, each address is checked, and the connection goes to an address that
//! was checked: a name that resolves differently the next moment leads nowhere else.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use emberbox_billing::is_public;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the name is not found: {0}")]
    NameNotFound(String),
    #[error("the name leads to an address that is not on the public internet")]
    Prohibited,
    #[error("no connection: {0}")]
    Refused(String),
    #[error("TLS: {0}")]
    Tls(String),
}

/// Where to.
pub(crate) struct Destination<'h> {
    /// A name, or an address in numbers; version 6 with or without brackets.
    pub(crate) host: &'h str,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Whether it may be an address that is not on the public internet.
    pub(crate) allow_private: bool,
}

/// The authorities that certificates are checked by.
pub(crate) struct Dialer {
    /// Beside those that this machine trusts.
    authorities: Vec<CertificateDer<'static>>,
    /// Made with the first connection that needs it.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Dialer {
    pub(crate) fn new(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self { authorities, tls: OnceLock::new() }
    }

    /// Opens a connection.
    pub(crate) async fn dial(&self, to: Destination<'_>) -> Result<Box<dyn Stream>, DialError> {
        let addresses = resolve(&to).await?;
        let socket = connect(&addresses).await?;
        if !to.tls {
            return Ok(Box::new(socket));
        }
        let config = self.tls.get_or_init(|| config(&self.authorities)).clone();
        let connector = TlsConnector::from(config.map_err(DialError::Tls)?);
        let name = ServerName::try_from(bare(to.host).to_owned())
            .map_err(|error| DialError::Tls(error.to_string()))?;
        let stream = connector.connect(name, socket).await;
        Ok(Box::new(stream.map_err(|error| DialError::Tls(error.to_string()))?))
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The addresses of a host; an error when one of them is not the public internet's.
async fn resolve(to: &Destination<'_>) -> Result<Vec<SocketAddr>, DialError> {
    let found: Vec<SocketAddr> = match bare(to.host).parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, to.port)],
        Err(_) => tokio::net::lookup_host((to.host, to.port))
            .await
            .map_err(|error| DialError::NameNotFound(error.to_string()))?
            .take(ADDRESSES_MAX)
            .collect(),
    };
    if !to.allow_private && found.iter().any(|address| !is_public(address.ip())) {
        return Err(DialError::Prohibited);
    }
    match found.is_empty() {
        true => Err(DialError::NameNotFound("it has no address".to_owned())),
        false => Ok(found),
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut reason = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(DialError::Refused(reason))
}

fn config(authorities: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs().certs;
    let named = authorities.iter().cloned();
    let (added, _) = roots.add_parsable_certificates(found.into_iter().chain(named));
    if added == 0 {
        return Err("this machine trusts no authority".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_addresses_are_connected_to() {
        for (host, allow_private, good) in [
            ("127.0.0.1", false, false),
            ("127.0.0.1", true, true),
            ("[::1]", false, false),
            ("[::ffff:10.0.0.1]", false, false),
            ("169.254.169.254", false, false),
            ("1.1.1.1", false, true),
            ("localhost", false, false),
            ("localhost", true, true),
            // What other parsers take for 127.0.0.1 or for the metadata service is a name here, and
            // whatever it resolves to is checked.
            ("0x7f000001", false, false),
            ("2130706433", false, false),
            ("0", false, false),
        ] {
            let to = Destination { host, port: 443, tls: false, allow_private };
            let found = resolve(&to).await;
            assert_eq!(found.is_ok(), good, "{host}: {found:?}");
        }
    }
}
