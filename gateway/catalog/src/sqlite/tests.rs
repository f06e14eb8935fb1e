use std::path::{Path, PathBuf};
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
        SqliteCatalog::open(&CatalogOptions::new(&self.path()))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("catalog.db")
    }
}

#[tokio::test]
async fn conforms() {
    conformance::organisations(&Place::new().open().unwrap()).await;
    conformance::keys(&Place::new().open().unwrap()).await;
    conformance::functions(&Place::new().open().unwrap()).await;
    conformance::deleting_functions(&Place::new().open().unwrap()).await;
    conformance::secrets(&Place::new().open().unwrap()).await;
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
    rusqlite::Connection::open(place.path())
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let refused = place.open().map(|_| ());
    assert!(
        matches!(refused, Err(CatalogError::Schema { found: 99, known: 2, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn files_that_are_no_catalog_are_refused_and_left_alone() {
    let whole = Place::new();
    let catalog = whole.open().unwrap();
    conformance::org(&catalog, "acme").await;
    drop(catalog);
    let bytes = std::fs::read(whole.path()).unwrap();
    for (file, part) in [
        (
            &b"a letter, and certainly not a database; long enough to hold a header, though. \
            A header of SQLite has one hundred bytes."[..],
            "not a database",
        ),
        (&bytes[..50], "malformed"),
        (&bytes[..bytes.len() / 2], "malformed"),
    ] {
        let place = Place::new();
        std::fs::write(place.path(), file).unwrap();
        let refused = match place.open() {
            Ok(catalog) => catalog.org("acme").await.map(|_| ()),
            Err(error) => Err(error),
        };
        match refused {
            Err(CatalogError::Store(cause)) => assert!(cause.to_string().contains(part), "{cause}"),
            other => panic!("{other:?} instead of {part}"),
        }
        assert_eq!(std::fs::read(place.path()).unwrap(), file);
    }
    let nowhere = CatalogOptions::new(&whole.folder.path().join("nowhere/catalog.db"));
    assert!(matches!(SqliteCatalog::open(&nowhere), Err(CatalogError::Store(_))));
}

/// The text of the fixture of each released schema, oldest first.
const RELEASED: [&str; 2] = [include_str!("fixtures/1.sql"), include_str!("fixtures/2.sql")];

/// Every table and index, as SQL without its white space.
fn structure(path: &Path) -> Vec<String> {
    let file = rusqlite::Connection::open(path).unwrap();
    let mut query = file
        .prepare("SELECT type || name || coalesce(sql, '') FROM sqlite_schema ORDER BY 1")
        .unwrap();
    let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| row.unwrap().split_whitespace().collect()).collect()
}

#[tokio::test]
async fn every_released_schema_is_brought_up_to_date() {
    assert_eq!(RELEASED.len(), super::schema::MIGRATIONS.len(), "a fixture for each schema");
    let fresh = Place::new();
    drop(fresh.open().unwrap());
    for (fixture, schema) in RELEASED.into_iter().zip(1..) {
        let place = Place::new();
        rusqlite::Connection::open(place.path()).unwrap().execute_batch(fixture).unwrap();
        conformance::released(&place.open().unwrap(), schema).await;
        assert_eq!(structure(&place.path()), structure(&fresh.path()));
        // Opened again, there is nothing left to do.
        assert_eq!(place.open().unwrap().orgs().await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_backup_taken_while_serving_is_whole() {
    let place = Place::new();
    let catalog = Arc::new(place.open().unwrap());
    let org = conformance::org(catalog.as_ref(), "acme").await;
    let publisher = Arc::clone(&catalog);
    let new = conformance::version_of(&org, "hello", "d", true);
    let (published, mut count) = tokio::sync::watch::channel(0);
    let publishing = tokio::spawn(async move {
        while published.send(publisher.publish(new.clone()).await.unwrap().number).is_ok() {}
    });
    for round in 0..8 {
        let seen = *count.wait_for(|count| *count > round * 2).await.unwrap();
        let copy = Place::new();
        let (catalog, path) = (Arc::clone(&catalog), copy.path());
        tokio::task::spawn_blocking(move || catalog.backup(&path)).await.unwrap().unwrap();
        assert_eq!(std::fs::read_dir(copy.folder.path()).unwrap().count(), 1, "one file is all");
        let copy = copy.open().unwrap();
        assert_eq!(copy.org("acme").await.unwrap(), org);
        // What was published before is in it, and each publication is in it as a whole.
        let versions = copy.versions(&org.id, "hello").await.unwrap();
        assert!(versions[0].number >= seen);
        assert_eq!(versions.len() as u64, versions[0].number);
        assert_eq!(copy.function("acme", "hello").await.unwrap().live, Some(versions[0].number));
    }
    drop(count);
    publishing.await.unwrap();
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_leaves_nothing_unfinished() {
    let place = Place::new();
    let catalog = place.open().unwrap();
    let refused = |to: &Path| match catalog.backup(to) {
        Err(CatalogError::Store(cause)) => cause.to_string(),
        other => panic!("{other:?}"),
    };
    let existing = place.folder.path().join("existing");
    std::fs::write(&existing, "mine").unwrap();
    assert!(refused(&existing).contains("exists"));
    assert_eq!(std::fs::read(&existing).unwrap(), b"mine");
    assert!(refused(&place.folder.path().join("nowhere/copy.db")).contains("No such file"));
    // A catalog that is broken by then fails the copy, and no file stays behind.
    let copy = place.folder.path().join("copy.db");
    std::fs::write(place.path(), "not a database at all, and longer than a header is".repeat(99))
        .unwrap();
    std::fs::remove_file(place.folder.path().join("catalog.db-wal")).unwrap();
    assert!(!refused(&copy).is_empty());
    assert!(!copy.exists());
}

#[tokio::test]
async fn races_are_decided() {
    let place = Place::new();
    // Two handles on one file, as two processes would have them.
    let handles = [place.open().unwrap(), place.open().unwrap()];
    conformance::races(handles.map(|catalog| Arc::new(catalog) as Arc<dyn Catalog>)).await;
}
