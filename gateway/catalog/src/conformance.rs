//! Every implementation of [`Catalog`] must pass these, on an empty store.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{
    Catalog, CatalogError, KEYS_LIVE_MAX, KeyHash, Name, NewKey, NewModel, NewSecret, NewVersion,
    Org, Role, SECRETS_MAX, Sealed,
};

pub(crate) async fn org(catalog: &dyn Catalog, name: &str) -> Org {
    catalog.create_org(name.parse().unwrap()).await.unwrap()
}

pub(crate) fn version_of(org: &Org, function: &str, digest: &str, activate: bool) -> NewVersion {
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

pub(crate) async fn organisations(catalog: &dyn Catalog) {
    let acme = org(catalog, "acme").await;
    let other = org(catalog, "other").await;
    assert!(acme.id.starts_with("org_") && acme.id != other.id);
    assert_eq!(catalog.org("acme").await.unwrap(), acme);
    assert_eq!(catalog.orgs().await.unwrap(), [acme, other]);
    assert_not_found(catalog.org("nobody").await, "organisation");
    let twice = catalog.create_org("acme".parse().unwrap()).await;
    assert!(matches!(twice, Err(CatalogError::Taken { what: "organisation", .. })), "{twice:?}");
}

pub(crate) async fn keys(catalog: &dyn Catalog) {
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
    for number in 0..KEYS_LIVE_MAX {
        catalog.create_key(new(&format!("key {number}"))).await.unwrap();
    }
    let refused = catalog.create_key(new("one too many")).await;
    assert!(matches!(refused, Err(CatalogError::TooMany { what: "keys", .. })), "{refused:?}");
    // Another organisation has its own, and a revoked key makes room.
    let others = NewKey { org_id: other.id.clone(), ..new("x") };
    catalog.create_key(others).await.unwrap();
    let live = catalog.keys(&acme.id).await.unwrap().pop().unwrap();
    catalog.revoke_key(&acme.id, &live.id).await.unwrap();
    catalog.create_key(new("in its place")).await.unwrap();
}

pub(crate) async fn functions(catalog: &dyn Catalog) {
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

pub(crate) async fn deleting_functions(catalog: &dyn Catalog) {
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

fn secret_of(org_id: &str, name: &str, sealed: &[u8]) -> NewSecret {
    NewSecret {
        org_id: org_id.to_owned(),
        name: name.to_owned(),
        sealed: Sealed(sealed.to_owned()),
    }
}

pub(crate) async fn secrets(catalog: &dyn Catalog) {
    let (acme, other) = (org(catalog, "acme").await, org(catalog, "other").await);
    let set = |org: &Org, name: &str, sealed: &[u8]| {
        let new = secret_of(&org.id, name, sealed);
        async move { catalog.set_secret(new).await }
    };
    let first = set(&acme, "TOKEN", b"\0\xff one").await.unwrap();
    assert_eq!((first.name.as_str(), &first.sealed.0[..]), ("TOKEN", &b"\0\xff one"[..]));
    assert!(first.created_at_ms > 0 && first.created_at_ms == first.updated_at_ms);
    assert_eq!(catalog.secrets(&acme.id).await.unwrap(), std::slice::from_ref(&first));

    let second = set(&acme, "TOKEN", b"two").await.unwrap();
    assert_eq!(second.created_at_ms, first.created_at_ms);
    assert!(second.updated_at_ms >= first.updated_at_ms);
    set(&acme, "A_TOKEN", b"three").await.unwrap();
    let found = catalog.secrets(&acme.id).await.unwrap();
    let found: Vec<_> = found.iter().map(|s| (s.name.as_str(), &s.sealed.0[..])).collect();
    assert_eq!(found, [("A_TOKEN", &b"three"[..]), ("TOKEN", b"two")]);

    // The same name is another secret elsewhere.
    assert_eq!(catalog.secrets(&other.id).await.unwrap(), []);
    assert_not_found(catalog.delete_secret(&other.id, "TOKEN").await, "secret");
    set(&other, "TOKEN", b"theirs").await.unwrap();
    catalog.delete_secret(&acme.id, "TOKEN").await.unwrap();
    assert_not_found(catalog.delete_secret(&acme.id, "TOKEN").await, "secret");
    assert_eq!(catalog.secrets(&acme.id).await.unwrap().len(), 1);
    assert_eq!(catalog.secrets(&other.id).await.unwrap()[0].sealed.0, b"theirs");

    let nobody = catalog.set_secret(secret_of("org_none", "TOKEN", b"x")).await;
    assert_not_found(nobody, "organisation");
    for name in ["a", "TOKEN-1", "1TOKEN", "TOKEN ", "\u{c9}", &"X".repeat(129)] {
        let result = set(&acme, name, b"x").await;
        assert!(matches!(result, Err(CatalogError::InvalidName { .. })), "{name:?}: {result:?}");
    }
    set(&acme, &"X".repeat(128), b"x").await.unwrap();
    for number in 2..SECRETS_MAX {
        set(&acme, &format!("_{number}"), b"x").await.unwrap();
    }
    let refused = set(&acme, "ONE_TOO_MANY", b"x").await;
    assert!(matches!(refused, Err(CatalogError::TooMany { what: "secrets", .. })), "{refused:?}");
    // One that is there can still be set, and one that is deleted makes room.
    assert_eq!(set(&acme, "A_TOKEN", b"four").await.unwrap().sealed.0, b"four");
    set(&other, "MORE", b"x").await.unwrap();
    catalog.delete_secret(&acme.id, "_2").await.unwrap();
    set(&acme, "IN_ITS_PLACE", b"x").await.unwrap();
}

pub(crate) async fn models_and_settings(catalog: &dyn Catalog) {
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

/// Names come from requests: what no name can be is nobody's, and breaks nothing.
pub(crate) async fn impossible_names(catalog: &dyn Catalog) {
    let acme = org(catalog, "acme").await;
    for name in ["", "a\0b", "' OR 1 = 1 --", "%", "\u{fffd}", &"x".repeat(10_000)] {
        assert_not_found(catalog.org(name).await, "organisation");
        assert_not_found(catalog.function(name, name).await, "function");
        assert_not_found(catalog.versions(&acme.id, name).await, "function");
        assert_not_found(catalog.version(&acme.id, name, 1).await, "version");
        assert_not_found(catalog.activate(&acme.id, name, u64::MAX).await, "version");
        assert_not_found(catalog.delete_function(&acme.id, name).await, "function");
        assert_not_found(catalog.revoke_key(&acme.id, name).await, "key");
        assert_not_found(catalog.remove_model(name).await, "model");
        assert_eq!(catalog.keys(name).await.unwrap(), []);
        assert_eq!(catalog.functions(name).await.unwrap(), []);
        assert_not_found(catalog.delete_secret(&acme.id, name).await, "secret");
        assert_eq!(catalog.secrets(name).await.unwrap(), []);
        let set = catalog.set_secret(secret_of(&acme.id, name, b"x")).await;
        assert!(matches!(set, Err(CatalogError::InvalidName { .. })), "{name:?}: {set:?}");
        assert_eq!(catalog.setting(name).await.unwrap(), None);
        catalog.touch_key(name).await.unwrap();
    }
    assert_eq!(catalog.orgs().await.unwrap(), [acme]);
}

/// Lists have one order in every store, whatever the machine's language.
pub(crate) async fn orders(catalog: &dyn Catalog) {
    let acme = org(catalog, "acme").await;
    for name in ["b", "a-b", "ab", "a2", "a"] {
        catalog.publish(version_of(&acme, name, "d", false)).await.unwrap();
    }
    for name in ["b", "B", "a:x", "a/x", "a"] {
        let (source, digest, kind) = ("s".to_owned(), "d".to_owned(), "generation".to_owned());
        catalog.add_model(NewModel { name: name.to_owned(), source, digest, kind }).await.unwrap();
    }
    let functions = catalog.functions(&acme.id).await.unwrap();
    let functions: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(functions, ["a", "a-b", "a2", "ab", "b"]);
    let models = catalog.models().await.unwrap();
    let models: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(models, ["B", "a", "a/x", "a:x", "b"]);
}

/// What the fixtures of every released schema hold, found again after the migrations, and a store
/// that goes on from it.
pub(crate) async fn released(catalog: &dyn Catalog, schema: u32) {
    let hash = |digit: &str| KeyHash::of(&format!("eb_{}", digit.repeat(43))).unwrap();
    let orgs = catalog.orgs().await.unwrap();
    let orgs: Vec<(&str, &str)> =
        orgs.iter().map(|org| (org.id.as_str(), org.name.as_str())).collect();
    assert_eq!(orgs, [("org_1", "acme"), ("org_2", "other")]);
    let principal = catalog.principal(hash("1")).await.unwrap().unwrap();
    assert_eq!((principal.org.name.as_str(), principal.key.role), ("acme", Role::Owner));
    assert_eq!(catalog.principal(hash("2")).await.unwrap(), None);
    let keys = catalog.keys("org_1").await.unwrap();
    assert_eq!((keys[1].last_used_at_ms, keys[1].revoked_at_ms), (Some(1005), Some(1006)));

    let functions = catalog.functions("org_1").await.unwrap();
    assert_eq!(functions, [catalog.function("acme", "hello").await.unwrap()]);
    assert_eq!((functions[0].live, functions[0].created_at_ms), (Some(1), 1007));
    let versions = catalog.versions("org_1", "hello").await.unwrap();
    let versions: Vec<(u64, &str, u64)> = versions
        .iter()
        .map(|version| (version.number, version.digest.as_str(), version.size_bytes))
        .collect();
    assert_eq!(versions, [(2, "d2", 4), (1, "d1", 3)]);
    let acme = principal.org;
    for (function, next) in [("hello", 3), ("gone", 8), ("new", 1)] {
        let version = catalog.publish(version_of(&acme, function, "d3", true)).await.unwrap();
        assert_eq!(version.number, next, "{function}");
    }
    assert_eq!(catalog.models().await.unwrap()[0].name, "org/x:q8");
    assert_eq!(catalog.setting("colour").await.unwrap().as_deref(), Some("red"));
    let secrets = catalog.secrets("org_1").await.unwrap();
    let secrets: Vec<_> =
        secrets.iter().map(|s| (s.name.as_str(), &s.sealed.0[..], s.updated_at_ms)).collect();
    let expected = ("API_TOKEN", &[1_u8, 2][..], 1013);
    assert_eq!(secrets, if schema < 2 { vec![] } else { vec![expected] });
    catalog.set_secret(secret_of("org_2", "API_TOKEN", b"new")).await.unwrap();
}

/// Two handles on one store, as two gateways have them: exactly one of racing creators wins, and
/// versions that are published at the same time get consecutive numbers.
pub(crate) async fn races(handles: [Arc<dyn Catalog>; 2]) {
    const EACH: u64 = 8;
    let both = || (0..EACH).flat_map(|_| handles.iter().map(Arc::clone));
    let mut attempts = JoinSet::new();
    for catalog in both() {
        attempts.spawn(async move { catalog.create_org("acme".parse().unwrap()).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        attempts.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let taken = |lost| matches!(lost, Err(CatalogError::Taken { what: "organisation", .. }));
    assert!(lost.into_iter().all(taken));

    let acme = handles[1].org("acme").await.unwrap();
    let mut attempts = JoinSet::new();
    for catalog in both() {
        let new = version_of(&acme, "hello", "d", true);
        attempts.spawn(async move { catalog.publish(new).await.unwrap().number });
    }
    let mut numbers = attempts.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=2 * EACH).collect::<Vec<u64>>());
    // Of activations at the same time each is done, and the last one stays.
    let mut attempts = JoinSet::new();
    for (catalog, number) in both().zip(1..) {
        let id = acme.id.clone();
        attempts.spawn(async move { catalog.activate(&id, "hello", number).await.unwrap().live });
    }
    let mut activated = attempts.join_all().await;
    let live = handles[0].function("acme", "hello").await.unwrap().live;
    assert!(activated.contains(&live), "{live:?}");
    activated.sort_unstable();
    assert_eq!(activated, (1..=2 * EACH).map(Some).collect::<Vec<_>>());
    deletions_race(&handles, &acme).await;
}

/// Publications, activations and deletions of one function at once: each is done or refused as a
/// whole, no number is given out twice, and what is live exists.
async fn deletions_race(handles: &[Arc<dyn Catalog>; 2], acme: &Org) {
    let mut numbers = Vec::new();
    for round in 0..16_u64 {
        let [one, other] = handles.each_ref().map(Arc::clone);
        let mut attempts = JoinSet::new();
        let (new, id) = (version_of(acme, "hello", "d", round % 2 == 0), acme.id.clone());
        attempts.spawn(async move { one.publish(new).await.map(|version| Some(version.number)) });
        attempts.spawn(async move { other.delete_function(&id, "hello").await.map(|_| None) });
        let (one, id) = (Arc::clone(&handles[0]), acme.id.clone());
        let target = 16 + round;
        attempts.spawn(async move { one.activate(&id, "hello", target).await.map(|_| None) });
        for result in attempts.join_all().await {
            match result {
                Ok(number) => numbers.extend(number),
                Err(CatalogError::NotFound { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        if let Ok(function) = handles[1].function("acme", "hello").await
            && let Some(live) = function.live
        {
            handles[1].version(&acme.id, "hello", live).await.unwrap();
        }
    }
    assert_eq!(numbers, (17..33).collect::<Vec<u64>>());
}
