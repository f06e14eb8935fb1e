use std::path::PathBuf;

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
    /// The folder to make the temporary folder in, to choose its disk; by default the system's
    /// folder for temporary files.
    pub parent: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions { fsync: true, settings: Vec::new(), environment: Vec::new(), parent: None }
    }
}
