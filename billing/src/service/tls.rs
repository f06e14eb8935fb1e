//! Mutual TLS: the files, what is checked in them, and who the other side is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::error::ServiceError;

/// A PEM file of certificates or keys is never larger.
const PEM_BYTES_MAX: u64 = 1 << 20;
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The PEM files of one side. Both sides check the other's certificate against `ca`, and nothing
/// else: no other authority of the system is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed both sides' certificates.
    pub ca: PathBuf,
    /// This side's certificate, followed by intermediate ones where there are any.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What the files of one side hold.
struct Material {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl TlsFiles {
    /// Whether a service could start with these files.
    ///
    /// # Errors
    /// The first mistake in them.
    pub fn check_server(&self) -> Result<(), ServiceError> {
        self.server().map(drop)
    }

    /// Whether a gateway of this name could start with these files.
    ///
    /// # Errors
    /// The first mistake in them.
    pub fn check_client(&self, gateway: &str) -> Result<(), ServiceError> {
        self.client(gateway).map(drop)
    }

    /// The service's side: it asks every client for a certificate.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, ServiceError> {
        let Material { roots, chain, key } = self.read()?;
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| bad(&self.ca, error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| self.unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| self.unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Every connection shows its certificate anew.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The gateway's side. Its certificate must name it, or the service would refuse its holds.
    pub(super) fn client(&self, gateway: &str) -> Result<Arc<ClientConfig>, ServiceError> {
        let Material { roots, chain, key } = self.read()?;
        let names = chain.first().map(names_in).unwrap_or_default();
        if !names.iter().any(|name| name == gateway) {
            let gateway = gateway.to_owned();
            return Err(ServiceError::OtherName { file: self.certificate.clone(), names, gateway });
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| self.unusable(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| self.unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn read(&self) -> Result<Material, ServiceError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca, "CA certificate")? {
            roots.add(authority).map_err(|error| bad(&self.ca, error.to_string()))?;
        }
        let chain = certificates(&self.certificate, "certificate")?;
        let text = pem(&self.key, "key")?;
        let key =
            PrivateKeyDer::from_pem_slice(&text).map_err(|_not_a_key| not_pem("key", &self.key))?;
        Ok(Material { roots: Arc::new(roots), chain, key })
    }

    fn unusable(&self, error: &rustls::Error) -> ServiceError {
        match error {
            rustls::Error::InconsistentKeys(_) => ServiceError::KeyMismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
            rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
                bad(&self.certificate, "it is damaged".to_owned())
            }
            error => bad(&self.certificate, error.to_string()),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn bad(file: &Path, reason: String) -> ServiceError {
    ServiceError::BadCertificate { file: file.to_owned(), reason }
}

fn not_pem(what: &'static str, file: &Path) -> ServiceError {
    ServiceError::NotPem { what, file: file.to_owned() }
}

/// A file's contents, if it is no larger than such a file can be.
pub(super) fn pem(file: &Path, what: &'static str) -> Result<Vec<u8>, ServiceError> {
    let unreadable = |cause: std::io::Error| ServiceError::Unreadable {
        what,
        file: file.to_owned(),
        cause: Arc::new(cause),
    };
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if metadata.len() > PEM_BYTES_MAX {
        return Err(not_pem(what, file));
    }
    std::fs::read(file).map_err(unreadable)
}

fn certificates(
    file: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ServiceError> {
    let text = pem(file, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| not_pem(what, file))
}

/// Who a certificate is for: its common name and its DNS names.
pub(super) fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let tbs = &certificate.tbs_certificate;
    let subject = tbs.subject.0.iter().flat_map(|part| part.0.iter());
    let mut names: Vec<String> = subject.filter_map(common_name).collect();
    if let Ok(Some((_, alternatives))) = tbs.get::<SubjectAltName>() {
        for alternative in alternatives.0 {
            match alternative {
                GeneralName::DnsName(name) if !names.iter().any(|known| known == name.as_str()) => {
                    names.push(name.to_string());
                }
                _ => {}
            }
        }
    }
    names
}

fn common_name(part: &AttributeTypeAndValue) -> Option<String> {
    if part.oid != COMMON_NAME {
        return None;
    }
    let utf8 = part.value.decode_as::<Utf8StringRef<'_>>().ok().map(|name| name.to_string());
    let printable = || part.value.decode_as::<PrintableStringRef<'_>>().ok();
    utf8.or_else(|| printable().map(|name| name.to_string()))
}
