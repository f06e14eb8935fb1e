use std::sync::Arc;

use super::{CatalogOptions, SqliteCatalog};
use crate::{Catalog, CatalogError, KeyHash, NewKey, Role, conformance};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Result<SqliteCatalog, CatalogError> {
        SqliteCatalog::open(&CatalogOptions::new(&self.folder.path().join("catalog.db")))
    }
}

#[tokio::test]
async fn conforms() {
    conformance::organisations(&Place::new().open().unwrap()).await;
    conformance::keys(&Place::new().open().unwrap()).await;
    conformance::functions(&Place::new().open().unwrap()).await;
    conformance::deleting_functions(&Place::new().open().unwrap()).await;
    conformance::models_and_settings(&Place::new().open().unwrap()).await;
    conformance::impossible_names(&Place::new().open().unwrap()).await;
    conformance::orders(&Place::new().open().unwrap()).await;
}

#[tokio::test]
async fn everything_survives_reopening_and_no_key_is_in_the_files() {
    let place = Place::new();
    let catalog = place.open().unwrap();
    let org = conformance::org(&catalog, "acme").await;
    let new = NewKey { org_id: org.id.clone(), name: "k".to_owned(), role: Role::Owner };
    let (_, secret) = catalog.create_key(new).await.unwrap();
    catalog.publish(conformance::version_of(&org, "hello", "d1", true)).await.unwrap();
    drop(catalog);

    let needle = &secret.reveal().as_bytes()[12..];
    for file in std::fs::read_dir(place.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }
    let catalog = place.open().unwrap();
    let hash = KeyHash::of(secret.reveal()).unwrap();
    assert_eq!(catalog.principal(hash).await.unwrap().unwrap().org, org);
    assert_eq!(catalog.function("acme", "hello").await.unwrap().live, Some(1));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let place = Place::new();
    drop(place.open().unwrap());
    let path = place.folder.path().join("catalog.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = place.open().map(|_| ());
    assert!(
        matches!(refused, Err(CatalogError::Schema { found: 99, known: 1, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn races_are_decided() {
    let place = Place::new();
    // Two handles on one file, as two processes would have them.
    let handles = [place.open().unwrap(), place.open().unwrap()];
    conformance::races(handles.map(|catalog| Arc::new(catalog) as Arc<dyn Catalog>)).await;
}
