use emberbox_runtime::{
    CallError, Deployment, Engine, EngineOptions, Grants, Limits, RuntimeError,
};

use crate::support::{ENGINE, World};

/// A component with further imports, whose handler runs `body`.
fn component(imports: &str, body: &str) -> Vec<u8> {
    component_with(imports, "", body)
}

/// A component whose core module has further fields.
fn component_with(imports: &str, fields: &str, body: &str) -> Vec<u8> {
    text_of(imports, &format!("(memory 1) {fields}"), body)
}

/// A component whose core module has these fields, its memory among them.
fn component_of(fields: &str, body: &str) -> Vec<u8> {
    text_of("", fields, body)
}

fn text_of(imports: &str, fields: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            {imports}
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $outparam))
            (core module $m {fields} (func (export "handle") (param i32 i32) {body}))
            (core instance $i (instantiate $m))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $i "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(&text).expect("WAT")
}

fn compile(component: &[u8]) -> Result<Deployment, RuntimeError> {
    Deployment::compile(&ENGINE, component, Limits::default(), Grants::default())
}

fn refusal(component: &[u8]) -> String {
    compile(component).err().expect("a refusal").to_string()
}

#[test]
fn refusals_say_what_is_wrong() {
    let whole = component("", "");
    let core = wat::parse_str("(module)").unwrap();
    let no_handler = wat::parse_str("(component)").unwrap();
    let newer = [b"\0asm".as_slice(), &[0x0e, 0, 1, 0]].concat();
    let mut damaged = whole.clone();
    damaged[8] = 0x7f;
    for (upload, expect) in [
        (b"".as_slice(), "not WebAssembly"),
        (b"<html>", "not WebAssembly"),
        (b"\0as", "truncated"),
        (&core, "core module"),
        (&newer, "unknown version"),
        (&no_handler, "exports neither wasi:http/incoming-handler@0.2 nor"),
        (&whole[..whole.len() - 1], "truncated"),
        (&whole[..whole.len() / 2], "truncated"),
        (&whole[..12], "truncated"),
        (&damaged, "not valid at byte"),
    ] {
        let refusal = refusal(upload);
        assert!(refusal.contains(expect), "expected {expect:?}: {refusal}");
    }
}

#[test]
fn every_cut_is_refused() {
    let whole = component("", "");
    let accepted: Vec<usize> =
        (0..whole.len()).filter(|length| compile(&whole[..*length]).is_ok()).collect();
    // Without its last section, which holds names for debugging, it is still whole.
    assert!(accepted.len() <= 1, "{accepted:?} of {}", whole.len());
}

#[test]
fn all_unknown_imports_are_named() {
    let imports = r#"
        (import "wasi:keyvalue/store@0.2.0-draft" (instance))
        (import "wasi:nn/graph@0.2.0-rc-2023-11-09" (instance))
        (import "wasi:http/types@0.3.0" (instance))
        (import "wasi:io/poll@0.2.99" (instance))
        (import "plain" (func))"#;
    let RuntimeError::UnknownImports(unknown) = compile(&component(imports, "")).err().unwrap()
    else {
        panic!("another error");
    };
    let found: Vec<(&str, Option<&str>)> =
        unknown.iter().map(|import| (&*import.name, import.offered.as_deref())).collect();
    assert_eq!(
        found,
        [
            ("wasi:keyvalue/store@0.2.0-draft", None),
            ("wasi:nn/graph@0.2.0-rc-2023-11-09", Some("wasi:nn/graph@0.2.0-rc-2024-10-28")),
            ("wasi:http/types@0.3.0", Some("wasi:http/types@0.2")),
            ("plain", None),
        ]
    );
    let text = refusal(&component(imports, ""));
    assert!(text.contains("`plain`") && text.contains("it offers wasi:cli@0.2"), "{text}");
}

#[test]
fn an_interface_of_another_shape_is_refused() {
    let imports = r#"(import "wasi:io/poll@0.2.0" (instance (export "fly" (func))))"#;
    let text = refusal(&component(imports, ""));
    assert!(text.contains("does not fit the host's interfaces") && text.contains("fly"), "{text}");
}

#[test]
fn size_and_limits_are_checked_first() {
    let options = EngineOptions { pooling: false, component_bytes_max: 100, ..Default::default() };
    let engine = Engine::new(options).unwrap();
    let deploy = |limits| {
        let upload = component("", "");
        Deployment::compile(&engine, &upload, limits, Grants::default()).err().unwrap().to_string()
    };
    assert!(deploy(Limits::default()).contains("at most 100 are accepted"));
    for (limits, field) in [
        (Limits { memory_bytes_max: 0, ..Limits::default() }, "memory_bytes_max"),
        (Limits { memory_bytes_max: 1 << 40, ..Limits::default() }, "memory_bytes_max"),
        (Limits { wall_ms_max: 0, ..Limits::default() }, "wall_ms_max"),
        (Limits { handles_max: 0, ..Limits::default() }, "handles_max"),
        (Limits { log_bytes_max: u64::MAX, ..Limits::default() }, "log_bytes_max"),
    ] {
        let text = deploy(limits);
        assert!(text.contains(field) && text.contains("must be between 1 and"), "{text}");
    }
    for options in [
        EngineOptions { instances_max: 0, ..Default::default() },
        EngineOptions { epoch_tick_ms: 0, ..Default::default() },
    ] {
        assert!(matches!(Engine::new(options), Err(RuntimeError::Limit { .. })));
    }
}

#[tokio::test]
async fn handlers_written_by_hand_end_as_they_should() {
    let world = World::new();
    for (body, expect) in [
        ("(loop (br 0))", "did not answer in time"),
        ("unreachable", "wasm `unreachable` instruction executed"),
        ("", "ended without an answer"),
        ("(drop (memory.grow (i32.const 65535))) unreachable", "its memory limit is"),
        ("(i32.store (i32.const -1) (i32.const 0))", "out of bounds memory access"),
        ("(call 0 (i32.const 0) (i32.const 0))", "call stack exhausted"),
    ] {
        let limits = Limits { cpu_ms_max: 50, ..Limits::default() };
        let deployment =
            Deployment::compile(&ENGINE, &component("", body), limits, Grants::default()).unwrap();
        let error = world.get(&deployment, "/").await.failed();
        assert!(error.to_string().contains(expect), "{body}: {error}");
        assert!(!matches!(error, CallError::Fault(..)), "{body}: {error}");
    }
}

#[tokio::test]
async fn instances_are_bounded_before_they_run() {
    let world = World::new();
    let few = Limits { cpu_ms_max: 50, memory_bytes_max: 65_535, ..Limits::default() };
    for (fields, limits, expect) in [
        ("(table 60000 funcref)", Limits::default(), "table minimum size"),
        ("", few, "memory minimum size"),
        (
            "(func $s (loop (br 0))) (start $s)",
            Limits { cpu_ms_max: 50, ..Limits::default() },
            "did not answer in time",
        ),
    ] {
        let upload = component_with("", fields, "");
        let deployment = Deployment::compile(&ENGINE, &upload, limits, Grants::default()).unwrap();
        let error = world.get(&deployment, "/").await.failed().to_string();
        assert!(error.contains(expect), "{fields}: {error}");
    }
}

#[test]
fn host_and_sdk_speak_the_same_wit() {
    let host = include_str!("../../wit/wasi-nn.wit");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/wit/wasi-nn.wit");
    assert_eq!(host, std::fs::read_to_string(path).unwrap());
}

/// Memory and tables of the pool go from one tenant to the next.
#[tokio::test]
async fn nothing_of_an_instance_is_left_for_the_next() {
    // With room for one instance, the next one gets its slots. 6 MiB are more than slots keep.
    let engine = Engine::new(EngineOptions { instances_max: 1, ..Default::default() }).unwrap();
    assert!(engine.pooling());
    let fields = r#"(memory $own 80) (table $t 60 funcref) (elem declare func $f) (func $f)"#;
    let writes = r#"
        (drop (memory.grow (i32.const 16)))
        (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 6291456))
        (table.fill (i32.const 0) (ref.func $f) (i32.const 60))"#;
    let looks = r#"
        (local $at i32)
        (drop (memory.grow (i32.const 16)))
        (loop $next
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 6291456))))
        (local.set $at (i32.const 0))
        (loop $next
            (if (i32.eqz (ref.is_null (table.get (local.get $at)))) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 60))))"#;
    let deploy = |body: &str| {
        let upload = component_of(fields, body);
        Deployment::compile(&engine, &upload, Limits::default(), Grants::default()).unwrap()
    };
    let (writer, reader) = (deploy(writes), deploy(looks));
    let world = World::new();
    for _ in 0..5 {
        for deployment in [&writer, &reader] {
            let error = world.get(deployment, "/").await.failed();
            assert!(matches!(error, CallError::NoResponse(_)), "{error}");
        }
    }
}
