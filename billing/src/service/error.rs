//! What can go wrong when the service, or a client of it, is set up.

use std::path::PathBuf;
use std::sync::Arc;

use crate::BillingError;

/// Why the service or its client cannot start, or certificates cannot be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// A certificate or key file cannot be read.
    #[error("cannot read the {what} {}", file.display())]
    Unreadable {
        /// What it should be, such as `key`.
        what: &'static str,
        /// Where.
        file: PathBuf,
        /// Why.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM format", file.display())]
    NotPem {
        /// What it should be, such as `key`.
        what: &'static str,
        /// Where.
        file: PathBuf,
    },
    /// The key is another certificate's.
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate is no good for its purpose.
    #[error("the certificate {} cannot be used: {reason}", file.display())]
    BadCertificate {
        /// Where.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate is for other names than the gateway's.
    #[error("the certificate {} is for {}, not for the gateway `{gateway}`",
        file.display(), names.join(", "))]
    OtherName {
        /// Where.
        file: PathBuf,
        /// The names in it.
        names: Vec<String>,
        /// The gateway's.
        gateway: String,
    },
    /// The address of the service makes no sense.
    #[error("`{url}` is no address of a billing service: {reason}")]
    BadUrl {
        /// The address.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// A name that no certificate can be made for.
    #[error("no certificate can be made for `{name}`: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
    /// There is such a file already; nothing was changed.
    #[error("{} exists already and is left alone", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}", file.display())]
    Unwritable {
        /// Where.
        file: PathBuf,
        /// Why.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// The library that makes certificates refuses.
    #[error("certificates cannot be made: {0}")]
    Making(String),
    /// The service did not take the client in.
    #[error("the billing service does not take this gateway in")]
    NotRegistered(#[source] BillingError),
}
