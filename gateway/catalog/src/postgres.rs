use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Client, Manager, Pool, Runtime};
use tokio_postgres::NoTls;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use crate::{
    Catalog, CatalogError, Function, Key, KeyHash, Model, Name, NewKey, NewModel, NewSecret,
    NewVersion, Org, Principal, SealedSecret, Secret, Version, secret,
};
use address::Address;
use fault::Fault;

/// The server's address, and TLS.
mod address;
/// What can go wrong, and what the caller is told.
mod fault;
/// Migrations.
mod schema;
/// Statements with rows as their answer.
mod ask;
mod functions;
mod keys;
mod models;
mod orgs;
mod secrets;
#[cfg(test)]
mod tests;

/// After how much silence the network is asked whether the server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// How to reach a [`PostgresCatalog`].
#[derive(Clone)]
pub struct PostgresCatalogOptions {
    /// The server: `postgres://user:password@host:port/database?sslmode=…`. `sslmode` is
    /// `require` (encrypted, the certificate checked; so is any other machine by default) or
    /// `disable` (so is this machine by default); `sslrootcert` names a file of certificates to
    /// trust instead of the system's. The user owns the schema `emberbox_catalog` or may create
    /// it; nothing else in the database is touched. A pooler in between must keep sessions and
    /// pass `options` on.
    pub url: String,
    /// How many connections this process opens at most.
    pub connections_max: usize,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long an operation may wait for a connection, and how long one of its statements may
    /// take.
    pub statement_timeout: Duration,
}

impl PostgresCatalogOptions {
    /// The defaults for a server.
    pub fn new(url: &str) -> Self {
        PostgresCatalogOptions {
            url: url.to_owned(),
            connections_max: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
        }
    }

    /// How long an operation may take, whatever the server and the network do.
    fn operation_timeout(&self) -> Duration {
        self.connect_timeout + self.statement_timeout * 2
    }
}

impl fmt::Debug for PostgresCatalogOptions {
    /// Without the address, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCatalogOptions")
            .field("connections_max", &self.connections_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

/// The catalog in a PostgreSQL server, which several gateways may share.
///
/// Connections are opened when they are needed and kept; one that broke is replaced. Reads are
/// tried twice when a connection breaks under them; writes never, since the first may have been
/// done. While the server is away, operations fail with [`CatalogError::Overloaded`].
///
/// To back it up, dump the schema with PostgreSQL's own tool: `pg_dump --schema=emberbox_catalog`
/// is consistent while gateways write.
pub struct PostgresCatalog {
    pool: Pool,
    operation_timeout: Duration,
}

impl PostgresCatalog {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Schema`] for a database of a newer program, [`CatalogError::Store`] when
    /// the address is wrong, the server cannot be reached or it refuses.
    pub async fn connect(options: &PostgresCatalogOptions) -> Result<Self, CatalogError> {
        Self::open(options).await.map_err(Fault::of_start)
    }

    async fn open(options: &PostgresCatalogOptions) -> Result<Self, Fault> {
        let address = Address::parse(&options.url)?;
        let place = place(&address);
        let pool = pool(address, options)?;
        schema::migrate(&mut pool.get().await?, &place).await?;
        Ok(PostgresCatalog { pool, operation_timeout: options.operation_timeout() })
    }

    async fn connection(&self) -> Result<Client, Fault> {
        Ok(self.pool.get().await?)
    }

    /// Runs an operation that changes nothing, a second time where the connection broke.
    async fn read<T, F>(&self, operation: impl Fn() -> F + Send + Sync) -> Result<T, CatalogError>
    where
        T: Send,
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let twice = async {
            match self.once(operation()).await {
                Err(fault) if fault.connection_broke() => self.once(operation()).await,
                result => result,
            }
        };
        self.in_time(twice).await.map_err(Fault::of_read)
    }

    /// Runs an operation that changes something, once.
    async fn write<T>(
        &self,
        operation: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, CatalogError> {
        self.in_time(self.once(operation)).await.map_err(Fault::of_write)
    }

    /// Where a connection broke, those that wait in the pool did too, more likely than not, and one
    /// may not have noticed yet: they all go, and the next operation opens its own.
    async fn once<T>(
        &self,
        operation: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let result = operation.await;
        if result.as_ref().is_err_and(Fault::connection_broke) {
            drop(self.pool.retain(|_, _| false));
        }
        result
    }

    async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let result = tokio::time::timeout(self.operation_timeout, operation).await;
        result.unwrap_or(Err(Fault::Deadline))
    }
}

/// Makes the pool; it connects when it is first asked for a connection.
fn pool(address: Address, options: &PostgresCatalogOptions) -> Result<Pool, Fault> {
    let Address { mut config, trust } = address;
    let timeout_ms = options.statement_timeout.as_millis().max(1);
    // What the server's settings or the user's own say otherwise would change what the catalog
    // promises. A gateway that dies between two statements must not keep others waiting.
    let settings = format!(
        "{} -c search_path={} -c statement_timeout={timeout_ms} \
         -c idle_in_transaction_session_timeout={timeout_ms} \
         -c default_transaction_isolation=read\\ committed",
        config.get_options().unwrap_or_default(),
        schema::SCHEMA,
    );
    config
        .options(settings)
        .application_name("emberbox")
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(KEEPALIVE_IDLE)
        .tcp_user_timeout(options.operation_timeout())
        // Of several hosts, the one that takes writes.
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    let manager = match trust {
        Some(trust) => Manager::new(config, address::tls(&trust)?),
        None => Manager::new(config, NoTls),
    };
    let pool = Pool::builder(manager)
        .max_size(options.connections_max.max(1))
        .wait_timeout(Some(options.statement_timeout))
        .create_timeout(Some(options.connect_timeout))
        .runtime(Runtime::Tokio1)
        .build()?;
    Ok(pool)
}

/// The address as an error may show it.
fn place(address: &Address) -> String {
    let hosts = address.config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    });
    let database = address.config.get_dbname().unwrap_or_default();
    format!("the database '{database}' at {}", hosts.collect::<Vec<_>>().join(", "))
}

#[async_trait]
impl Catalog for PostgresCatalog {
    async fn create_org(&self, name: Name) -> Result<Org, CatalogError> {
        self.write(async { orgs::create(&self.connection().await?, &name).await }).await
    }

    async fn org(&self, name: &str) -> Result<Org, CatalogError> {
        self.read(|| async move { orgs::find(&self.connection().await?, name).await }).await
    }

    async fn orgs(&self) -> Result<Vec<Org>, CatalogError> {
        self.read(|| async move { orgs::list(&self.connection().await?).await }).await
    }

    async fn create_key(&self, new: NewKey) -> Result<(Key, Secret), CatalogError> {
        let secret = secret::generate()?;
        let create = async { keys::create(&self.connection().await?, &new, &secret).await };
        let key = self.write(create).await?;
        Ok((key, secret))
    }

    async fn principal(&self, hash: KeyHash) -> Result<Option<Principal>, CatalogError> {
        self.read(|| async move { keys::principal(&self.connection().await?, hash).await }).await
    }

    async fn keys(&self, org_id: &str) -> Result<Vec<Key>, CatalogError> {
        self.read(|| async move { keys::list(&self.connection().await?, org_id).await }).await
    }

    async fn revoke_key(&self, org_id: &str, key_id: &str) -> Result<Key, CatalogError> {
        self.write(async { keys::revoke(&self.connection().await?, org_id, key_id).await }).await
    }

    async fn touch_key(&self, key_id: &str) -> Result<(), CatalogError> {
        self.write(async { keys::touch(&self.connection().await?, key_id).await }).await
    }

    async fn publish(&self, new: NewVersion) -> Result<Version, CatalogError> {
        self.write(async { functions::publish(&mut self.connection().await?, &new).await }).await
    }

    async fn functions(&self, org_id: &str) -> Result<Vec<Function>, CatalogError> {
        self.read(|| async move { functions::list(&self.connection().await?, org_id).await }).await
    }

    async fn function(&self, owner: &str, name: &str) -> Result<Function, CatalogError> {
        self.read(|| async move { functions::find(&self.connection().await?, owner, name).await })
            .await
    }

    async fn versions(&self, org_id: &str, function: &str) -> Result<Vec<Version>, CatalogError> {
        self.read(|| async move {
            functions::versions(&self.connection().await?, org_id, function).await
        })
        .await
    }

    async fn version(
        &self,
        org_id: &str,
        function: &str,
        number: u64,
    ) -> Result<Version, CatalogError> {
        self.read(|| async move {
            functions::version(&self.connection().await?, org_id, function, number).await
        })
        .await
    }

    async fn activate(
        &self,
        org_id: &str,
        function: &str,
        number: u64,
    ) -> Result<Function, CatalogError> {
        self.write(async {
            functions::activate(&mut self.connection().await?, org_id, function, number).await
        })
        .await
    }

    async fn delete_function(
        &self,
        org_id: &str,
        function: &str,
    ) -> Result<Vec<String>, CatalogError> {
        self.write(async {
            functions::delete(&mut self.connection().await?, org_id, function).await
        })
        .await
    }

    async fn set_secret(&self, new: NewSecret) -> Result<SealedSecret, CatalogError> {
        self.write(async { secrets::set(&self.connection().await?, new).await }).await
    }

    async fn secrets(&self, org_id: &str) -> Result<Vec<SealedSecret>, CatalogError> {
        self.read(|| async move { secrets::list(&self.connection().await?, org_id).await }).await
    }

    async fn delete_secret(&self, org_id: &str, name: &str) -> Result<(), CatalogError> {
        self.write(async { secrets::delete(&self.connection().await?, org_id, name).await }).await
    }

    async fn add_model(&self, new: NewModel) -> Result<Model, CatalogError> {
        self.write(async { models::add(&self.connection().await?, new).await }).await
    }

    async fn models(&self) -> Result<Vec<Model>, CatalogError> {
        self.read(|| async move { models::list(&self.connection().await?).await }).await
    }

    async fn remove_model(&self, name: &str) -> Result<Model, CatalogError> {
        self.write(async { models::remove(&self.connection().await?, name).await }).await
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, CatalogError> {
        self.read(|| async move { models::setting(&self.connection().await?, name).await }).await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<(), CatalogError> {
        self.write(async { models::set_setting(&self.connection().await?, name, value).await })
            .await
    }
}
