use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::{
    Catalog, CatalogError, Function, Key, KeyHash, Model, Name, NewKey, NewModel, NewSecret,
    NewVersion, Org, Principal, SealedSecret, Secret, Version, secret,
};
use worker::Worker;

/// A copy of the whole file while it is written to.
mod backup;
mod functions;
mod keys;
mod models;
mod orgs;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;
mod worker;

/// How to open a [`SqliteCatalog`].
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    /// The database file; it is created when it does not exist.
    pub path: PathBuf,
    /// How many requests may wait for each of the two threads before more are refused.
    pub queue_max: usize,
}

impl CatalogOptions {
    /// The defaults for a file.
    pub fn new(path: &Path) -> Self {
        CatalogOptions { path: path.to_owned(), queue_max: 4096 }
    }
}

/// The catalog in one SQLite file.
///
/// One thread owns the only connection that writes; another reads, so that a slow sync of the disk
/// delays no lookup. Dropping it finishes what is queued and ends both threads.
pub struct SqliteCatalog {
    path: PathBuf,
    writer: Worker,
    reader: Worker,
}

impl SqliteCatalog {
    /// Opens the file, brings its schema up to date and starts both threads. It blocks.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Schema`] for a file of a newer program, [`CatalogError::Store`] when the
    /// database cannot be opened.
    pub fn open(options: &CatalogOptions) -> Result<Self, CatalogError> {
        let writing = schema::open_writer(&options.path)?;
        let reading = schema::open_reader(&options.path)?;
        Ok(SqliteCatalog {
            path: options.path.clone(),
            writer: Worker::start("catalog-writer", writing, options.queue_max)?,
            reader: Worker::start("catalog-reader", reading, options.queue_max)?,
        })
    }

    /// Copies the whole catalog, as it is at one moment, into a new file, which is durable when
    /// this returns. The catalog serves and writes meanwhile. It blocks.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Store`] when the file exists already or cannot be written; what was begun
    /// of it is removed.
    pub fn backup(&self, to: &Path) -> Result<(), CatalogError> {
        backup::copy(&self.path, to)
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn create_org(&self, name: Name) -> Result<Org, CatalogError> {
        self.writer.run(move |db| orgs::create(db, &name)).await
    }

    async fn org(&self, name: &str) -> Result<Org, CatalogError> {
        let name = name.to_owned();
        self.reader.run(move |db| orgs::find(db, &name)).await
    }

    async fn orgs(&self) -> Result<Vec<Org>, CatalogError> {
        self.reader.run(|db| orgs::list(db)).await
    }

    async fn create_key(&self, new: NewKey) -> Result<(Key, Secret), CatalogError> {
        let secret = secret::generate()?;
        let shown = secret.clone();
        let key = self.writer.run(move |db| keys::create(db, &new, &secret)).await?;
        Ok((key, shown))
    }

    async fn principal(&self, hash: KeyHash) -> Result<Option<Principal>, CatalogError> {
        self.reader.run(move |db| keys::principal(db, hash)).await
    }

    async fn keys(&self, org_id: &str) -> Result<Vec<Key>, CatalogError> {
        let org_id = org_id.to_owned();
        self.reader.run(move |db| keys::list(db, &org_id)).await
    }

    async fn revoke_key(&self, org_id: &str, key_id: &str) -> Result<Key, CatalogError> {
        let (org_id, key_id) = (org_id.to_owned(), key_id.to_owned());
        self.writer.run(move |db| keys::revoke(db, &org_id, &key_id)).await
    }

    async fn touch_key(&self, key_id: &str) -> Result<(), CatalogError> {
        let key_id = key_id.to_owned();
        self.writer.run(move |db| keys::touch(db, &key_id)).await
    }

    async fn publish(&self, new: NewVersion) -> Result<Version, CatalogError> {
        self.writer.run(move |db| functions::publish(db, &new)).await
    }

    async fn functions(&self, org_id: &str) -> Result<Vec<Function>, CatalogError> {
        let org_id = org_id.to_owned();
        self.reader.run(move |db| functions::list(db, &org_id)).await
    }

    async fn function(&self, owner: &str, name: &str) -> Result<Function, CatalogError> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.reader.run(move |db| functions::find(db, &owner, &name)).await
    }

    async fn versions(&self, org_id: &str, function: &str) -> Result<Vec<Version>, CatalogError> {
        let (org_id, function) = (org_id.to_owned(), function.to_owned());
        self.reader.run(move |db| functions::versions(db, &org_id, &function)).await
    }

    async fn version(
        &self,
        org_id: &str,
        function: &str,
        number: u64,
    ) -> Result<Version, CatalogError> {
        let (org_id, function) = (org_id.to_owned(), function.to_owned());
        self.reader.run(move |db| functions::version(db, &org_id, &function, number)).await
    }

    async fn activate(
        &self,
        org_id: &str,
        function: &str,
        number: u64,
    ) -> Result<Function, CatalogError> {
        let (org_id, function) = (org_id.to_owned(), function.to_owned());
        self.writer.run(move |db| functions::activate(db, &org_id, &function, number)).await
    }

    async fn delete_function(
        &self,
        org_id: &str,
        function: &str,
    ) -> Result<Vec<String>, CatalogError> {
        let (org_id, function) = (org_id.to_owned(), function.to_owned());
        self.writer.run(move |db| functions::delete(db, &org_id, &function)).await
    }

    async fn set_secret(&self, new: NewSecret) -> Result<SealedSecret, CatalogError> {
        self.writer.run(move |db| secrets::set(db, new)).await
    }

    async fn secrets(&self, org_id: &str) -> Result<Vec<SealedSecret>, CatalogError> {
        let org_id = org_id.to_owned();
        self.reader.run(move |db| secrets::list(db, &org_id)).await
    }

    async fn delete_secret(&self, org_id: &str, name: &str) -> Result<(), CatalogError> {
        let (org_id, name) = (org_id.to_owned(), name.to_owned());
        self.writer.run(move |db| secrets::delete(db, &org_id, &name)).await
    }

    async fn add_model(&self, new: NewModel) -> Result<Model, CatalogError> {
        self.writer.run(move |db| models::add(db, new)).await
    }

    async fn models(&self) -> Result<Vec<Model>, CatalogError> {
        self.reader.run(|db| models::list(db)).await
    }

    async fn remove_model(&self, name: &str) -> Result<Model, CatalogError> {
        let name = name.to_owned();
        self.writer.run(move |db| models::remove(db, &name)).await
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, CatalogError> {
        let name = name.to_owned();
        self.reader.run(move |db| models::setting(db, &name)).await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<(), CatalogError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer.run(move |db| models::set_setting(db, &name, &value)).await
    }
}
