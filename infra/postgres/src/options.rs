use std::path::{Path, PathBuf};

/// Where the fixtures are.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// What a server can be told before it starts.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether commits wait for the disk, as they do for an operator. Tests that neither crash the
    /// machine nor measure it may go without.
    pub fsync: bool,
    /// Settings of the server, as `postgres -c NAME=VALUE` takes them. They win over our own.
    pub settings: Vec<(String, String)>,
    /// Variables for the server's environment, `LD_PRELOAD` for instance.
    pub environment: Vec<(String, String)>,
    /// Whether the server speaks TLS too, as `localhost` and with a certificate that only
    /// [`authority_file`] vouches for.
    pub tls: bool,
    /// The folder to make the temporary folder in, to choose its disk; by default the system's
    /// folder for temporary files.
    pub parent: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            fsync: true,
            settings: Vec::new(),
            environment: Vec::new(),
            tls: false,
            parent: None,
        }
    }
}

/// The certificate of the authority behind the servers that speak TLS, in PEM: what a client names
/// as `sslrootcert`.
pub fn authority_file() -> PathBuf {
    Path::new(FIXTURES).join("authority.crt")
}

/// A server's own certificate, or its key.
pub(crate) fn server_file(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}
