use std::sync::Arc;

use super::{CatalogOptions, SqliteCatalog, conformance};
use crate::{Catalog, CatalogError, KeyHash, NewKey, Role};

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
async fn of_racing_creators_exactly_one_wins() {
    let place = Place::new();
    let catalog = Arc::new(place.open().unwrap());
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let catalog = Arc::clone(&catalog);
        attempts.spawn(async move { catalog.create_org("acme".parse().unwrap()).await.is_ok() });
    }
    let won = attempts.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    // Versions published at the same time get different numbers.
    let org = catalog.org("acme").await.unwrap();
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (catalog, new) =
            (Arc::clone(&catalog), conformance::version_of(&org, "hello", "d", true));
        attempts.spawn(async move { catalog.publish(new).await.unwrap().number });
    }
    let mut numbers = attempts.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=16).collect::<Vec<u64>>());
}
