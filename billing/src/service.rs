//! The ledger over HTTP, for gateways in other processes: the service and its client.
//!
//! Both sides prove who they are with certificates (mutual TLS 1.3). The name in a gateway's
//! certificate is the gateway's name: it can register, and hold money, under no other.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `POST /v1/batch` | `{"operations":[{"hold":{…}},{"capture":{…}},{"void":{…}},{"order":{…}}]}` | JSON lines, below |
//! | `POST /v1/query` | a [`crate::Query`] | a [`crate::Report`] |
//! | `GET /v1/prices` | | the [`crate::PriceBook`] in force; its version is the `ETag` |
//! | `GET /healthz` | | `{"status":"ok"}` |
//!
//! A batch is answered line by line while it is worked on, in any order, each line with the
//! `index` of its operation: `{"index":0,"decided":{…}}` and later `{"index":0,"durable":true}` for
//! a hold, `{"index":1,"done":{…}}` for everything else, `{"index":2,"error":{"code":…}}` for
//! either. So one request carries both acknowledgements of a hold, and one sync of the ledger
//! costs no further round trip. Operations on one call are done in their order; operations on
//! different calls do not wait for each other, and a malformed one harms no other. Every operation
//! has an id of its own, so whoever lost an answer asks again. A hold that arrives after the void
//! of its call (late, on a connection that broke) is not opened: it is answered as voided.
//!
//! What is refused as a whole has a status and `{"error":{"code","message",…}}`: 400 for what makes
//! no sense, 413 for too many bytes or operations (the client then sends the batch in parts), 503
//! with `Retry-After` where all places are taken.
//!
//! Each side reads its certificate files again when they have changed, before its next connection.

mod batch; // One batch, from its operations to the lines of its answer.
mod certificates; // Certificates for an installation.
mod client; // The interface, from another process.
mod error; // What can go wrong at the start.
mod renewal; // Certificates that are replaced.
mod routes; // From a request to its answer.
mod server; // Sockets.
mod tls; // Who is who.
mod voids; // Holds that come after their voids.
mod wire; // What goes over the wire.

pub use certificates::{CERTIFICATE_NAME_CHARS_MAX, CertificateNames, make_certificates};
pub use client::{RemoteBilling, RemoteLimits, RemoteOptions};
pub use error::ServiceError;
pub use server::{ServiceLimits, ServiceOptions, serve};
pub use tls::TlsFiles;

#[cfg(test)]
mod tests;
