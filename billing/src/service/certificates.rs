//! Certificates for an installation: an authority of its own, the service's pair, a pair per
//! gateway.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::error::ServiceError;
use super::tls::pem;

/// The most characters of a name: what a certificate's common name can have.
pub const CERTIFICATE_NAME_CHARS_MAX: usize = 64;
/// How long the authority is valid.
const CA_DAYS: u32 = 3650;
/// A certificate is valid from this long ago on, for machines whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The authority's name in every certificate. It never changes: a later run signs with the key in
/// the folder under the same name.
const CA_NAME: &str = "Emberbox billing";

/// Whom certificates are made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNames {
    /// The names and IP addresses under which gateways reach the service. Empty to add gateways
    /// to an installation.
    pub server: Vec<String>,
    /// The gateways' names.
    pub gateways: Vec<String>,
    /// How long the service's and the gateways' certificates are valid, in days.
    pub valid_days: u32,
}

/// A file to be written.
struct Draft {
    file: PathBuf,
    text: String,
    mode: u32,
}

/// Makes `ca.pem` and `ca.key`, `server.pem` and `server.key`, and for each gateway
/// `gateway-NAME.pem` and `gateway-NAME.key` in `folder`. Where the folder has an authority
/// already, it signs the new pairs. Keys can be read by their owner only; `ca.key` is needed for
/// nothing but a later run, and is best kept elsewhere. Nothing is overwritten: where one of the
/// files exists, nothing is written. Gives back what was written. Blocking.
///
/// # Errors
/// [`ServiceError::Exists`], [`ServiceError::BadName`], and where files cannot be read or written.
pub fn make_certificates(
    folder: &Path,
    names: &CertificateNames,
) -> Result<Vec<PathBuf>, ServiceError> {
    let mut drafts = Vec::new();
    let issuer = authority(folder, &mut drafts)?;
    if !names.server.is_empty() {
        let server = certificate_for(&names.server, ExtendedKeyUsagePurpose::ServerAuth)?;
        pair(folder, "server", (server, names.valid_days), (&issuer, &mut drafts))?;
    }
    for gateway in &names.gateways {
        let client =
            certificate_for(std::slice::from_ref(gateway), ExtendedKeyUsagePurpose::ClientAuth)?;
        let name = format!("gateway-{gateway}");
        pair(folder, &name, (client, names.valid_days), (&issuer, &mut drafts))?;
    }
    for (at, draft) in drafts.iter().enumerate() {
        let twice = drafts.iter().take(at).any(|earlier| earlier.file == draft.file);
        if twice || draft.file.symlink_metadata().is_ok() {
            return Err(ServiceError::Exists(draft.file.clone()));
        }
    }
    fs::create_dir_all(folder).map_err(|cause| unwritable(folder, cause))?;
    for draft in &drafts {
        write(draft).map_err(|cause| unwritable(&draft.file, cause))?;
    }
    Ok(drafts.into_iter().map(|draft| draft.file).collect())
}

/// The authority in the folder, or a new one.
fn authority(
    folder: &Path,
    drafts: &mut Vec<Draft>,
) -> Result<Issuer<'static, KeyPair>, ServiceError> {
    let (file, key_file) = (folder.join("ca.pem"), folder.join("ca.key"));
    if key_file.exists() {
        let key = String::from_utf8(pem(&key_file, "CA key")?).unwrap_or_default();
        let key = KeyPair::from_pem(&key).map_err(|_not_a_key| ServiceError::NotPem {
            what: "CA key",
            file: key_file.clone(),
        })?;
        if public_key(&file)? != key.public_key_raw() {
            return Err(ServiceError::KeyMismatch { certificate: file, key: key_file });
        }
        return Ok(Issuer::new(ca_params(), key));
    }
    let key = KeyPair::generate().map_err(making)?;
    let text = ca_params().self_signed(&key).map_err(making)?.pem();
    drafts.push(Draft { file, text, mode: 0o644 });
    drafts.push(Draft { file: key_file, text: key.serialize_pem(), mode: 0o600 });
    Ok(Issuer::new(ca_params(), key))
}

fn public_key(file: &Path) -> Result<Vec<u8>, ServiceError> {
    let not_pem = || ServiceError::NotPem { what: "CA certificate", file: file.to_owned() };
    let text = pem(file, "CA certificate")?;
    let der = CertificateDer::from_pem_slice(&text).ok().ok_or_else(not_pem)?;
    let parsed = Certificate::from_der(&der).ok().ok_or_else(not_pem)?;
    Ok(parsed.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes().to_vec())
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_DAYS);
    params
}

/// An end's certificate: for exactly one of the two purposes, so that no gateway can pose as the
/// service.
fn certificate_for(
    names: &[String],
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, ServiceError> {
    for name in names {
        check_name(name)?;
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(making)?;
    params.distinguished_name = common_name(names.first().map_or("", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A name becomes part of a file's name, so it can lead nowhere else.
fn check_name(name: &str) -> Result<(), ServiceError> {
    let address = name.parse::<std::net::IpAddr>().is_ok();
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let plain = name.chars().all(known)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= CERTIFICATE_NAME_CHARS_MAX;
    if address || plain {
        return Ok(());
    }
    let reason = format!(
        "it has 1 to {CERTIFICATE_NAME_CHARS_MAX} lower-case letters, digits, dots and hyphens"
    );
    Err(ServiceError::BadName { name: name.to_owned(), reason })
}

fn pair(
    folder: &Path,
    name: &str,
    (mut params, valid_days): (CertificateParams, u32),
    (issuer, drafts): (&Issuer<'static, KeyPair>, &mut Vec<Draft>),
) -> Result<(), ServiceError> {
    valid_for(&mut params, valid_days);
    let key = KeyPair::generate().map_err(making)?;
    let text = params.signed_by(&key, issuer).map_err(making)?.pem();
    drafts.push(Draft { file: folder.join(format!("{name}.pem")), text, mode: 0o644 });
    let file = folder.join(format!("{name}.key"));
    drafts.push(Draft { file, text: key.serialize_pem(), mode: 0o600 });
    Ok(())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    let from = now.checked_sub(BACKDATED).unwrap_or(now);
    let to = now.checked_add(DAY.saturating_mul(days.min(CA_DAYS))).unwrap_or(now);
    params.not_before = from.into();
    params.not_after = to.into();
}

fn write(draft: &Draft) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(draft.mode).open(&draft.file)?;
    file.write_all(draft.text.as_bytes())?;
    file.sync_all()
}

fn unwritable(file: &Path, cause: std::io::Error) -> ServiceError {
    ServiceError::Unwritable { file: file.to_owned(), cause: Arc::new(cause) }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn making(error: rcgen::Error) -> ServiceError {
    ServiceError::Making(error.to_string())
}
