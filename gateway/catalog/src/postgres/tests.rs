use std::sync::Arc;

use emberbox_postgres::{PostgresOptions, PostgresServer, authority_file, shared};

use super::*;
use crate::conformance;

/// A catalog in a fresh database of the server that the tests share.
async fn fresh() -> PostgresCatalog {
    open(&shared().unwrap().database("catalog").unwrap()).await.unwrap()
}

async fn open(url: &str) -> Result<PostgresCatalog, CatalogError> {
    PostgresCatalog::connect(&PostgresCatalogOptions::new(url)).await
}

/// All that an error says, its causes included.
fn whole(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(whole).unwrap_or_default();
    format!("{error}: {cause}")
}

/// Why a catalog cannot be opened.
async fn refusal(url: &str) -> String {
    whole(&open(url).await.map(|_| ()).unwrap_err())
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn conforms() {
    conformance::organisations(&fresh().await).await;
    conformance::keys(&fresh().await).await;
    conformance::functions(&fresh().await).await;
    conformance::deleting_functions(&fresh().await).await;
    conformance::secrets(&fresh().await).await;
    conformance::models_and_settings(&fresh().await).await;
    conformance::impossible_names(&fresh().await).await;
    // Even where the database itself sorts as a dictionary does.
    let server = shared().unwrap();
    let english =
        "CREATE DATABASE english TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
    server.query(&server.url(), english).unwrap();
    let url = format!("{}/english", server.url().rsplit_once('/').unwrap().0);
    conformance::orders(&open(&url).await.unwrap()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn races_are_decided() {
    let url = shared().unwrap().database("catalog").unwrap();
    // Both migrate the empty database.
    let (one, other) = tokio::join!(open(&url), open(&url));
    let handles = [one.unwrap(), other.unwrap()];
    conformance::races(handles.map(|catalog| Arc::new(catalog) as Arc<dyn Catalog>)).await;
}

/// The text of the fixture of each released schema, oldest first.
const RELEASED: [&str; 2] = [include_str!("fixtures/1.sql"), include_str!("fixtures/2.sql")];

/// Every column, index and constraint, a line each.
const STRUCTURE: &str = "
    SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, collation_name)
    FROM information_schema.columns WHERE table_schema = 'emberbox_catalog'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'emberbox_catalog'
    UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'emberbox_catalog'::regnamespace ORDER BY 1";

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn every_released_schema_is_brought_up_to_date() {
    assert_eq!(RELEASED.len(), schema::MIGRATIONS.len(), "a fixture for each schema");
    let server = shared().unwrap();
    let fresh = server.database("catalog").unwrap();
    open(&fresh).await.unwrap();
    let structure = server.query(&fresh, STRUCTURE).unwrap();
    assert!(structure.contains("keys.hash bytea NO"), "{structure}");
    for (fixture, schema) in RELEASED.into_iter().zip(1..) {
        let url = server.database("catalog").unwrap();
        server.query(&url, fixture).unwrap();
        conformance::released(&open(&url).await.unwrap(), schema).await;
        assert_eq!(server.query(&url, STRUCTURE).unwrap(), structure);
        // Opened again, there is nothing left to do.
        assert_eq!(open(&url).await.unwrap().orgs().await.unwrap().len(), 2);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_newer_schema_is_refused() {
    let server = shared().unwrap();
    let url = server.database("catalog").unwrap();
    open(&url).await.unwrap();
    let newer = "INSERT INTO emberbox_catalog.schema_versions (version) VALUES (99)";
    server.query(&url, newer).unwrap();
    let refused = open(&url).await.map(|_| ());
    let expected = matches!(refused, Err(CatalogError::Schema { found: 99, known: 2, .. }));
    assert!(expected, "{refused:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn it_shares_a_database_and_needs_no_right_but_to_its_rows() {
    let server = shared().unwrap();
    let url = server.database("catalog").unwrap();
    server.query(&url, "CREATE TABLE public.orgs (x int)").unwrap();
    open(&url).await.unwrap();
    let user = "CREATE ROLE gateway LOGIN PASSWORD 'secret';
        GRANT USAGE ON SCHEMA emberbox_catalog TO gateway;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA emberbox_catalog TO gateway";
    server.query(&url, user).unwrap();
    let (_, place) = url.split_once('@').unwrap();
    conformance::functions(&open(&format!("postgres://gateway:secret@{place}")).await.unwrap())
        .await;
    assert_eq!(server.query(&url, "SELECT count(*) FROM public.orgs").unwrap(), "0");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_cannot_be_opened_says_why_and_keeps_the_password() {
    let url = shared().unwrap().url();
    let (start, place) = url.rsplit_once('@').unwrap();
    let (_, password) = start.rsplit_once(':').unwrap();
    let port = place.split_once('/').unwrap().0.rsplit_once(':').unwrap().1;
    for (wrong, part) in [
        (url.replace(password, "guess"), "password authentication failed"),
        (
            url.replace("/postgres", "/nowhere").replace("nowhere://", "postgres://"),
            "does not exist",
        ),
        (url.replace(port, "1"), "Connection refused"),
        (format!("{url}?sslmode=require"), "server does not support TLS"),
        (format!("{url}?sslmode=prefer"), "sslmode is one of"),
        (url.replace("postgres:/", "mysql:/"), "must start with"),
    ] {
        let said = refusal(&wrong).await;
        assert!(said.contains(part), "{said} for {wrong}");
        assert!(!said.contains(password) && !said.contains("guess"), "{said}");
    }
    assert!(!format!("{:?}", PostgresCatalogOptions::new(&url)).contains(password));
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn connections_are_encrypted_and_the_server_is_checked() {
    let options = PostgresOptions { tls: true, fsync: false, ..PostgresOptions::default() };
    let server = PostgresServer::start_with(options).unwrap();
    let by_name = server.url().replace("127.0.0.1", "localhost");
    let trusted = format!("sslmode=require&sslrootcert={}", authority_file().display());
    let catalog = open(&format!("{by_name}?{trusted}")).await.unwrap();
    conformance::organisations(&catalog).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'emberbox'";
    assert_eq!(server.query(&server.url(), encrypted).unwrap(), "t");
    // An unknown authority, and another name than the certificate's.
    let said = refusal(&format!("{by_name}?sslmode=require")).await;
    assert!(said.contains("UnknownIssuer") || said.contains("trusts no certificates"), "{said}");
    let said = refusal(&format!("{}?{trusted}", server.url())).await;
    assert!(said.contains("not valid for name"), "{said}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn it_comes_back_when_the_server_does() {
    let mut server = PostgresServer::start().unwrap();
    let catalog = open(&server.url()).await.unwrap();
    let acme = conformance::org(&catalog, "acme").await;
    let publish = || catalog.publish(conformance::version_of(&acme, "hello", "d", true));
    assert_eq!(publish().await.unwrap().number, 1);
    for (round, crash) in [(2, false), (3, true)] {
        if crash {
            server.kill().unwrap();
        } else {
            server.stop().unwrap();
        }
        // Away: every answer says that nothing was done and that it is worth trying again.
        for _ in 0..2 {
            let refused = catalog.org("acme").await;
            assert!(matches!(refused, Err(CatalogError::Overloaded)), "{refused:?}");
        }
        let refused = publish().await;
        assert!(matches!(refused, Err(CatalogError::Overloaded)), "{refused:?}");
        server.restart().unwrap();
        assert_eq!(catalog.org("acme").await.unwrap(), acme);
        assert_eq!(publish().await.unwrap().number, round);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn reads_survive_connections_that_the_server_closes() {
    let server = shared().unwrap();
    let url = server.database("catalog").unwrap();
    let catalog = open(&url).await.unwrap();
    let acme = conformance::org(&catalog, "acme").await;
    for _ in 0..20 {
        let closed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'emberbox' AND datname = current_database()";
        assert_ne!(server.query(&url, closed).unwrap(), "0");
        assert_eq!(catalog.org("acme").await.unwrap(), acme);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_takes_too_long_is_given_up_and_undone() {
    let server = shared().unwrap();
    let url = server.database("catalog").unwrap();
    let options = PostgresCatalogOptions {
        connections_max: 1,
        statement_timeout: Duration::from_secs(2),
        ..PostgresCatalogOptions::new(&url)
    };
    let catalog = PostgresCatalog::connect(&options).await.unwrap();
    let acme = conformance::org(&catalog, "acme").await;
    let publish = || catalog.publish(conformance::version_of(&acme, "hello", "d", true));
    publish().await.unwrap();
    // Somebody holds the function's row: an operator with a console, for instance.
    let mut other = open(&url).await.unwrap().connection().await.unwrap();
    let holding = other.transaction().await.unwrap();
    holding.execute("SELECT 1 FROM functions FOR UPDATE", &[]).await.unwrap();
    let (late, beside) = tokio::join!(publish(), catalog.org("acme"));
    assert!(matches!(late, Err(CatalogError::Overloaded)), "{late:?}");
    // There is one connection, and who waited for it too long was told so.
    assert!(matches!(beside, Ok(_) | Err(CatalogError::Overloaded)), "{beside:?}");
    holding.rollback().await.unwrap();
    assert_eq!(publish().await.unwrap().number, 2);
}
