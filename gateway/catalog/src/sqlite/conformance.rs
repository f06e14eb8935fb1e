//! Every implementation of [`Catalog`] must pass these, on an empty store.

use crate::{Catalog, CatalogError, KeyHash, Name, NewKey, NewModel, NewVersion, Org, Role};

pub(super) async fn org(catalog: &dyn Catalog, name: &str) -> Org {
    catalog.create_org(name.parse().unwrap()).await.unwrap()
}

pub(super) fn version_of(org: &Org, function: &str, digest: &str, activate: bool) -> NewVersion {
    NewVersion {
        org_id: org.id.clone(),
        function: function.parse::<Name>().unwrap(),
        digest: digest.to_owned(),
        size_bytes: 3,
        manifest: "[function]".to_owned(),
        activate,
    }
}

fn assert_not_found<T: std::fmt::Debug>(result: Result<T, CatalogError>, what: &str) {
    match result {
        Err(CatalogError::NotFound { what: found, .. }) => assert_eq!(found, what),
        other => panic!("{other:?} instead of: no such {what}"),
    }
}

pub(super) async fn organisations(catalog: &dyn Catalog) {
    let acme = org(catalog, "acme").await;
    let other = org(catalog, "other").await;
    assert!(acme.id.starts_with("org_") && acme.id != other.id);
    assert_eq!(catalog.org("acme").await.unwrap(), acme);
    assert_eq!(catalog.orgs().await.unwrap(), [acme, other]);
    assert_not_found(catalog.org("nobody").await, "organisation");
    let twice = catalog.create_org("acme".parse().unwrap()).await;
    assert!(matches!(twice, Err(CatalogError::Taken { what: "organisation", .. })), "{twice:?}");
}

pub(super) async fn keys(catalog: &dyn Catalog) {
    let (acme, other) = (org(catalog, "acme").await, org(catalog, "other").await);
    let new = |name: &str| NewKey {
        org_id: acme.id.clone(),
        name: name.to_owned(),
        role: Role::Developer,
    };
    let (key, secret) = catalog.create_key(new("laptop")).await.unwrap();
    assert!(secret.reveal().starts_with(&key.prefix) && key.prefix.len() < 12);
    let hash = KeyHash::of(secret.reveal()).unwrap();

    let principal = catalog.principal(hash).await.unwrap().unwrap();
    assert_eq!((&principal.org, &principal.key), (&acme, &key));
    assert_eq!(catalog.keys(&acme.id).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(catalog.keys(&other.id).await.unwrap(), []);
    let unknown = KeyHash::of(&format!("eb_{}", "0".repeat(43))).unwrap();
    assert_eq!(catalog.principal(unknown).await.unwrap(), None);

    catalog.touch_key(&key.id).await.unwrap();
    assert!(catalog.keys(&acme.id).await.unwrap()[0].last_used_at_ms.is_some());

    assert_not_found(catalog.revoke_key(&other.id, &key.id).await, "key");
    assert!(catalog.principal(hash).await.unwrap().is_some(), "another's revocation does nothing");
    let revoked = catalog.revoke_key(&acme.id, &key.id).await.unwrap();
    assert!(revoked.revoked_at_ms.is_some());
    assert_eq!(catalog.principal(hash).await.unwrap(), None);
    assert_eq!(catalog.revoke_key(&acme.id, &key.id).await.unwrap(), revoked);

    for name in ["", "  ", "a\nb", &"x".repeat(81)] {
        let result = catalog.create_key(new(name)).await;
        assert!(matches!(result, Err(CatalogError::InvalidName { .. })), "{name:?}: {result:?}");
    }
    let nobody = NewKey { org_id: "org_none".to_owned(), ..new("x") };
    assert_not_found(catalog.create_key(nobody).await, "organisation");
}

pub(super) async fn functions(catalog: &dyn Catalog) {
    let (acme, other) = (org(catalog, "acme").await, org(catalog, "other").await);
    assert_not_found(catalog.function("acme", "hello").await, "function");
    assert_not_found(catalog.versions(&acme.id, "hello").await, "function");

    let first = catalog.publish(version_of(&acme, "hello", "d1", false)).await.unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(catalog.function("acme", "hello").await.unwrap().live, None);
    let second = catalog.publish(version_of(&acme, "hello", "d2", true)).await.unwrap();
    assert_eq!(catalog.function("acme", "hello").await.unwrap().live, Some(2));
    assert_eq!(catalog.versions(&acme.id, "hello").await.unwrap(), [second, first.clone()]);
    assert_eq!(catalog.version(&acme.id, "hello", 1).await.unwrap(), first);

    assert_eq!(catalog.activate(&acme.id, "hello", 1).await.unwrap().live, Some(1));
    assert_not_found(catalog.activate(&acme.id, "hello", 9).await, "version");
    assert_not_found(catalog.activate(&other.id, "hello", 1).await, "version");
    assert_eq!(catalog.function("acme", "hello").await.unwrap().live, Some(1));
    assert_eq!(catalog.functions(&other.id).await.unwrap(), []);
    assert_eq!(catalog.functions(&acme.id).await.unwrap().len(), 1);
}

pub(super) async fn deleting_functions(catalog: &dyn Catalog) {
    let (acme, other) = (org(catalog, "acme").await, org(catalog, "other").await);
    catalog.publish(version_of(&acme, "hello", "shared", true)).await.unwrap();
    catalog.publish(version_of(&acme, "hello", "own", true)).await.unwrap();
    catalog.publish(version_of(&other, "hello", "shared", true)).await.unwrap();

    assert_not_found(catalog.delete_function(&acme.id, "nothing").await, "function");
    assert_eq!(catalog.delete_function(&acme.id, "hello").await.unwrap(), ["own"]);
    assert_not_found(catalog.function("acme", "hello").await, "function");
    assert_not_found(catalog.delete_function(&acme.id, "hello").await, "function");
    assert_eq!(catalog.function("other", "hello").await.unwrap().live, Some(1));

    // Receipts name a version for ever, so its number is never given out again.
    let again = catalog.publish(version_of(&acme, "hello", "new", false)).await.unwrap();
    assert_eq!(again.number, 3);
    assert_eq!(catalog.function("acme", "hello").await.unwrap().live, None);
}

pub(super) async fn models_and_settings(catalog: &dyn Catalog) {
    let new = |name: &str| NewModel {
        name: name.to_owned(),
        source: "/models/x.gguf".to_owned(),
        digest: "d".to_owned(),
        kind: "generation".to_owned(),
    };
    let model = catalog.add_model(new("org/x-1.5b:q8")).await.unwrap();
    assert_eq!(catalog.models().await.unwrap(), std::slice::from_ref(&model));
    let twice = catalog.add_model(new("org/x-1.5b:q8")).await;
    assert!(matches!(twice, Err(CatalogError::Taken { what: "model", .. })), "{twice:?}");
    for name in ["", "a b", "/x", "x?y", &"x".repeat(129)] {
        let result = catalog.add_model(new(name)).await;
        assert!(matches!(result, Err(CatalogError::InvalidName { .. })), "{name:?}: {result:?}");
    }
    assert_eq!(catalog.remove_model("org/x-1.5b:q8").await.unwrap(), model);
    assert_not_found(catalog.remove_model("org/x-1.5b:q8").await, "model");

    assert_eq!(catalog.setting("colour").await.unwrap(), None);
    catalog.set_setting("colour", "red").await.unwrap();
    catalog.set_setting("colour", "blue").await.unwrap();
    assert_eq!(catalog.setting("colour").await.unwrap().as_deref(), Some("blue"));
}
