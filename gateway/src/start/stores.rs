//! Opening what a server keeps: its folder, its ledger, its catalog.

use std::sync::Arc;

use emberbox_billing::service::{RemoteBilling, RemoteLimits, RemoteOptions};
use emberbox_billing::{
    Billing, BillingError, Ledger, LedgerOptions, PostgresLedgerOptions, Unmetered,
};
use emberbox_catalog::{
    Catalog, CatalogError, CatalogOptions, PostgresCatalog, PostgresCatalogOptions, SqliteCatalog,
};

use super::StartError;
use crate::config::{self, Config, RemoteLedger, Role, Store};
use crate::folder::Folder;

/// Where charges go.
pub(super) enum Books {
    /// A ledger in this process.
    Own(Ledger),
    /// A ledger in another.
    Remote(Arc<RemoteBilling>),
    /// Nowhere: nothing is charged.
    None,
}

impl Books {
    /// Opens what the role asks for.
    pub(super) async fn open(config: &Config, folder: &Arc<Folder>) -> Result<Self, StartError> {
        if let Role::Gateway(remote) = &config.role {
            return Ok(Books::Remote(connect(remote.clone()).await?));
        }
        match config.billing {
            config::Billing::Metered => Ok(Books::Own(ledger(config, folder).await?)),
            config::Billing::Unmetered => Ok(Books::None),
        }
    }

    /// The one interface to all of them.
    pub(super) fn billing(&self) -> Arc<dyn Billing> {
        match self {
            Books::Own(ledger) => Arc::new(ledger.clone()),
            Books::Remote(remote) => Arc::<RemoteBilling>::clone(remote),
            Books::None => Arc::new(Unmetered::new()),
        }
    }

    /// The ledger of this process.
    pub(super) fn ledger(&self) -> Option<&Ledger> {
        match self {
            Books::Own(ledger) => Some(ledger),
            Books::Remote(_) | Books::None => None,
        }
    }

    /// Finishes what is queued.
    pub(super) async fn close(self) -> Result<(), BillingError> {
        match self {
            Books::Own(ledger) => ledger.close().await,
            Books::Remote(remote) => {
                remote.close().await;
                Ok(())
            }
            Books::None => Ok(()),
        }
    }
}

/// Opens the ledger of this process.
pub(super) async fn ledger(config: &Config, folder: &Arc<Folder>) -> Result<Ledger, StartError> {
    let (store, folder) = (config.ledger.clone(), Arc::clone(folder));
    let opened = tokio::task::spawn_blocking(move || {
        let options = LedgerOptions { path: folder.ledger(), ..LedgerOptions::default() };
        match store {
            Store::Sqlite => Ledger::open(options),
            Store::Postgres(url) => {
                Ledger::connect(&PostgresLedgerOptions::new(url.reveal()), options)
            }
        }
    });
    Ok(opened.await??)
}

async fn connect(remote: RemoteLedger) -> Result<Arc<RemoteBilling>, StartError> {
    let RemoteLedger { url, gateway, tls } = remote;
    let limits = RemoteLimits::default();
    Ok(RemoteBilling::connect(RemoteOptions { url, gateway, tls, limits }).await?)
}

/// An open catalog; the second one is the same, where it can copy itself.
pub(super) type OpenCatalog = (Arc<dyn Catalog>, Option<Arc<SqliteCatalog>>);

/// Opens the catalog.
pub(super) async fn catalog(
    config: &Config,
    folder: &Arc<Folder>,
) -> Result<OpenCatalog, StartError> {
    match &config.catalog {
        Store::Sqlite => {
            let folder = Arc::clone(folder);
            let opened = tokio::task::spawn_blocking(move || {
                SqliteCatalog::open(&CatalogOptions::new(&folder.catalog()))
            });
            let catalog = Arc::new(opened.await??);
            Ok((Arc::<SqliteCatalog>::clone(&catalog), Some(catalog)))
        }
        Store::Postgres(url) => {
            let options = PostgresCatalogOptions::new(url.reveal());
            let catalog: Result<_, CatalogError> = PostgresCatalog::connect(&options).await;
            Ok((Arc::new(catalog?), None))
        }
    }
}
