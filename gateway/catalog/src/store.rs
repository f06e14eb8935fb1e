use async_trait::async_trait;

use crate::{
    CatalogError, Function, Key, KeyHash, Model, Name, NewKey, NewModel, NewSecret, NewVersion,
    Org, Principal, SealedSecret, Secret, Version,
};

/// What the gateway asks of a catalog.
///
/// Every write is durable when its future resolves, and a refused write changes nothing.
/// All methods return [`CatalogError::Store`], [`CatalogError::Overloaded`] or
/// [`CatalogError::Stopped`] when the store cannot answer; other errors are named where they occur.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Creates an organisation; [`CatalogError::Taken`] when the name is in use.
    async fn create_org(&self, name: Name) -> Result<Org, CatalogError>;
    /// Finds an organisation by name; [`CatalogError::NotFound`] when there is none.
    async fn org(&self, name: &str) -> Result<Org, CatalogError>;
    /// All organisations, oldest first.
    async fn orgs(&self) -> Result<Vec<Org>, CatalogError>;

    /// Creates a key and returns the secret, which nobody can ask for again.
    /// [`CatalogError::TooMany`] beyond [`crate::KEYS_LIVE_MAX`] and [`crate::KEYS_KEPT_MAX`].
    async fn create_key(&self, new: NewKey) -> Result<(Key, Secret), CatalogError>;
    /// Who presents a key with this hash; `None` when it is unknown or revoked.
    async fn principal(&self, hash: KeyHash) -> Result<Option<Principal>, CatalogError>;
    /// The organisation's keys, oldest first, revoked ones included.
    async fn keys(&self, org_id: &str) -> Result<Vec<Key>, CatalogError>;
    /// Revokes a key for good; [`CatalogError::NotFound`] when the organisation has no such key.
    /// Revoking twice keeps the first date.
    async fn revoke_key(&self, org_id: &str, key_id: &str) -> Result<Key, CatalogError>;
    /// Notes that a key was used now.
    async fn touch_key(&self, key_id: &str) -> Result<(), CatalogError>;

    /// Publishes a version, creating its function with the first one.
    async fn publish(&self, new: NewVersion) -> Result<Version, CatalogError>;
    /// The organisation's functions by name.
    async fn functions(&self, org_id: &str) -> Result<Vec<Function>, CatalogError>;
    /// Finds a function by its owner's name and its own.
    async fn function(&self, owner: &str, name: &str) -> Result<Function, CatalogError>;
    /// A function's versions, newest first.
    async fn versions(&self, org_id: &str, function: &str) -> Result<Vec<Version>, CatalogError>;
    /// One version of a function.
    async fn version(
        &self,
        org_id: &str,
        function: &str,
        number: u64,
    ) -> Result<Version, CatalogError>;
    /// Points the alias `live` to a version, atomically.
    async fn activate(
        &self,
        org_id: &str,
        function: &str,
        number: u64,
    ) -> Result<Function, CatalogError>;
    /// Deletes a function and its versions; returns the digests that no version refers to any
    /// more. A function published again under the name continues the numbering.
    async fn delete_function(
        &self,
        org_id: &str,
        function: &str,
    ) -> Result<Vec<String>, CatalogError>;

    /// Sets a secret of an organisation, in place of the value that it has.
    /// [`CatalogError::TooMany`] beyond [`crate::SECRETS_MAX`].
    async fn set_secret(&self, new: NewSecret) -> Result<SealedSecret, CatalogError>;
    /// The organisation's secrets by name.
    async fn secrets(&self, org_id: &str) -> Result<Vec<SealedSecret>, CatalogError>;
    /// Deletes a secret; [`CatalogError::NotFound`] when the organisation has no such secret.
    async fn delete_secret(&self, org_id: &str, name: &str) -> Result<(), CatalogError>;

    /// Adds a model; [`CatalogError::Taken`] when the name is in use.
    async fn add_model(&self, new: NewModel) -> Result<Model, CatalogError>;
    /// All models by name.
    async fn models(&self) -> Result<Vec<Model>, CatalogError>;
    /// Forgets a model; [`CatalogError::NotFound`] when there is none.
    async fn remove_model(&self, name: &str) -> Result<Model, CatalogError>;

    /// A setting of the platform; `None` when it was never set.
    async fn setting(&self, name: &str) -> Result<Option<String>, CatalogError>;
    /// Sets a setting of the platform.
    async fn set_setting(&self, name: &str, value: &str) -> Result<(), CatalogError>;
}
