//! A folder of hostile guests, each with what the host must answer in its first lines:
//!
//! `;; ends: trap|deadline|no-response|refused`, `;; says: TEXT` that the error must have, limits of its
//! own as `;; limits: FIELD=NUMBER …`, and `;; limit: NAME` where one of them is what ended it. What stands
//! before the line `;; module` is put into the component around the guest, what follows is its core module.
//! Host functions come from an instance `$host` of the first part; memory for their results from `library`.

use std::fs;
use std::path::Path;

use emberbox_runtime::{CallEnding, CallError, Deployment, Limits};

use crate::guest_text::{component, header};
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

fn limits(text: &str) -> Limits {
    let mut fields = serde_json::Map::new();
    for field in header(text, "limits").unwrap_or_default().split_whitespace() {
        let (name, number) = field.split_once('=').expect("FIELD=NUMBER");
        fields.insert(name.to_owned(), number.parse::<u64>().expect("a number").into());
    }
    serde_json::from_value(fields.into()).expect("limits")
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
