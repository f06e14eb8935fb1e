//! A folder of hostile guests, each with what the host must answer in its first lines:
//!
//! `;; ends: trap|deadline|no-response|refused`, `;; says: TEXT` that the error must have, and limits of
//! its own as `;; limits: FIELD=NUMBER …`, and `;; limit: NAME` where one of them is what ended it. What stands before the line `;; module` is put into the
//! component around the guest, what follows is its core module. Host functions come from an
//! instance `$host` of the first part; memory for their results from `library`.

use std::fs;
use std::path::Path;

use emberbox_runtime::{CallEnding, CallError, Deployment, Limits};

use crate::support::{ENGINE, World, grants, hello};

const AT_LEAST: usize = 50;

struct Guest {
    name: String,
    component: Vec<u8>,
    ends: String,
    says: String,
    limit: String,
    limits: Limits,
}

/// What the comment `;; key: …` says.
fn header<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(";; ")?.strip_prefix(key)?.strip_prefix(": "))
}

fn limits(text: &str) -> Limits {
    let mut fields = serde_json::Map::new();
    for field in header(text, "limits").unwrap_or_default().split_whitespace() {
        let (name, number) = field.split_once('=').expect("FIELD=NUMBER");
        fields.insert(name.to_owned(), number.parse::<u64>().expect("a number").into());
    }
    serde_json::from_value(fields.into()).expect("limits")
}

fn component(text: &str) -> Vec<u8> {
    let (parts, module) = text.split_once(";; module\n").expect("a line `;; module`");
    let host = if parts.contains("(core instance $host") {
        r#"(with "host" (instance $host))"#
    } else {
        ""
    };
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $http
                (export "fields" (type $f (sub resource)))
                (export "incoming-request" (type $r (sub resource)))
                (export "response-outparam" (type (sub resource)))
                (export "[constructor]fields" (func (result (own $f))))
                (export "[method]incoming-request.path-with-query"
                    (func (param "self" (borrow $r)) (result (option string))))))
            (alias export $http "incoming-request" (type $request))
            (alias export $http "response-outparam" (type $outparam))
            (core module $library
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 32768))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $next)
                    (global.set $next (i32.and
                        (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7))
                        (i32.const -8)))))
            (core instance $library (instantiate $library))
            (alias core export $library "memory" (core memory $memory))
            (alias core export $library "realloc" (core func $realloc))
            {parts}
            (core module $guest {module})
            (core instance $guest
                (instantiate $guest (with "library" (instance $library)) {host}))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $guest "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn read(path: &Path) -> Guest {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("a guest");
    Guest {
        ends: header(&text, "ends").expect("`;; ends: …`").to_owned(),
        says: header(&text, "says").unwrap_or_default().to_owned(),
        limit: header(&text, "limit").unwrap_or_default().to_owned(),
        limits: limits(&text),
        component: component(&text),
        name,
    }
}

/// How a guest ends, what is said of it, and the limit that it has reached.
async fn run(guest: &Guest, world: &World) -> (&'static str, String, String) {
    let limits = guest.limits.clone();
    let deployment = match Deployment::compile(&ENGINE, &guest.component, limits, grants()) {
        Ok(deployment) => deployment,
        Err(error) => return ("refused", error.to_string(), String::new()),
    };
    let error = world.get(&deployment, "/").await.failed();
    let ends = match &error {
        CallError::Trap(..) => "trap",
        CallError::Deadline(_) => "deadline",
        CallError::NoResponse(_) => "no-response",
        other => panic!("{}: {other:?}", guest.name),
    };
    let limit = error.report().and_then(|report| report.limit);
    (ends, error.to_string(), limit.map(|limit| format!("{limit:?}")).unwrap_or_default())
}

#[tokio::test]
async fn every_guest_ends_as_it_must() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/guests");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("guests") {
        let guest = read(&entry.expect("a guest").path());
        let world = World::new();
        let (ends, text, limit) = run(&guest, &world).await;
        if ends != guest.ends || !text.contains(&guest.says) || limit != guest.limit {
            wrong.push(format!("{}: {ends}: {text} [{limit}]", guest.name));
        }
        // Nobody else has noticed, and nothing of it is left.
        let answer = world.get(&hello(), "/").await.answered();
        assert_eq!(answer.report.ending, CallEnding::Normal, "after {}", guest.name);
        assert_eq!((world.purse.reservations(), world.bridge.open_sessions()), (0, 0));
        assert_eq!(world.purse.tokens(), 1_000_000, "{} was paid for", guest.name);
        count += 1;
    }
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
    assert!(count >= AT_LEAST, "only {count} guests are left");
}
