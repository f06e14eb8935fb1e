use std::sync::Arc;

use emberbox_postgres::shared;

use super::*;
use crate::conformance;

/// A catalog in a fresh database of the server that the tests share.
async fn fresh() -> PostgresCatalog {
    open(&shared().unwrap().database("catalog").unwrap()).await.unwrap()
}

async fn open(url: &str) -> Result<PostgresCatalog, CatalogError> {
    PostgresCatalog::connect(&PostgresCatalogOptions::new(url)).await
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn conforms() {
    conformance::organisations(&fresh().await).await;
    conformance::keys(&fresh().await).await;
    conformance::functions(&fresh().await).await;
    conformance::deleting_functions(&fresh().await).await;
    conformance::models_and_settings(&fresh().await).await;
    conformance::impossible_names(&fresh().await).await;
    conformance::orders(&fresh().await).await;
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
