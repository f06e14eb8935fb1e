use wasmtime::component::Component;

use super::*;
use crate::{Engine, EngineOptions};

/// The list is for messages; what counts is the linker.
#[test]
fn what_is_offered_is_linked() {
    let engine = Engine::new(EngineOptions { pooling: false, ..Default::default() }).unwrap();
    for (interface, version) in OFFERED {
        let version = if *version == "0.2" { "0.2.0" } else { version };
        let text = format!("(component (import \"{interface}@{version}\" (instance)))");
        let component =
            Component::from_binary(&engine.usual().wasmtime, &wat::parse_str(text).unwrap());
        let linked = engine.usual().components.instantiate_pre(&component.unwrap());
        assert!(linked.is_ok(), "{interface}@{version}: {:?}", linked.err());
        assert_eq!(unknown(&format!("{interface}@{version}"), &[]), None);
    }
}

#[test]
fn versions_match_by_their_rules() {
    for (import, known) in [
        ("wasi:io/poll@0.2.0", true),
        ("wasi:io/poll@0.2.17", true),
        ("wasi:io/poll@0.2.0-rc-1", false),
        ("wasi:io/poll@0.3.0", false),
        ("wasi:io/poll@0.20.0", false),
        ("wasi:io/poll", false),
        ("wasi:nn/graph@0.2.0-rc-2024-10-28", true),
        ("wasi:nn/graph@0.2.0", false),
    ] {
        assert_eq!(unknown(import, &[]).is_none(), known, "{import}");
    }
}
