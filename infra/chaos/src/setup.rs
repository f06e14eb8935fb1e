//! The first start: two organisations, a key for each caller, a function, a first top-up.

use std::collections::HashMap;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::books::{Books, Org};
use crate::client::{Ask, Client};
use crate::operator::{Desk, ask_top_up};
use crate::record::{Caller, TopUp};
use crate::server::Server;

/// The function that is called, as it is committed.
const COMPONENT: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
const MANIFEST: &str = include_str!("../../../examples/hello/emberbox.toml");
/// The organisations. The first can pay for everything, the second runs out again and again.
const ORGS: [&str; 2] = ["rich", "poor"];
/// What the rich one begins with: five credits.
const FIRST_NANO: i64 = 5_000_000_000;
/// Every so manieth caller is of the poor organisation.
const POOR_EVERY: usize = 4;

/// The path of the function.
pub(crate) const FUNCTION: &str = "/f/rich/hello/";

/// Prepares an empty server.
pub(crate) async fn prepare(
    server: &Server,
    token: &str,
    connections: u16,
) -> anyhow::Result<Books> {
    let mut admin = Client::new(server.admin, token);
    let mut books = Books::default();
    for name in ORGS {
        let ask = Ask::json("POST", "/admin/v1/orgs", &json!({ "name": name }));
        let made = admin.value(ask).await?;
        books.orgs.push(Org {
            id: text(&made, "/org/id")?,
            name: name.to_owned(),
            owner: text(&made, "/key")?,
            topped_up: 0,
            receipts: HashMap::new(),
            spent: 0,
        });
    }
    deploy(server, &books).await?;
    for number in 0..usize::from(connections) {
        let org = usize::from(number % POOR_EVERY == POOR_EVERY - 1);
        let mut owner = Client::new(server.public, &books.orgs[org].owner);
        let name = format!("caller-{number}");
        let made = owner.value(Ask::json("POST", "/v1/keys", &json!({ "name": name }))).await?;
        let (key, secret) = (text(&made, "/id")?, text(&made, "/key")?);
        if org == 0 {
            books.keys.insert(key.clone());
        }
        books.callers.push(Caller { org, key, secret });
    }
    let id = "first".to_owned();
    let first = TopUp { id, org: 0, amount: FIRST_NANO, acknowledged: true };
    admin.value(ask_top_up(&desk(&books, token, ""), &first)).await?;
    books.enter_top_up(&first);
    Ok(books)
}

/// Who acts for the operator and the rich organisation's owner.
pub(crate) fn desk(books: &Books, token: &str, prefix: &str) -> Desk {
    Desk {
        token: token.to_owned(),
        owner: books.orgs.first().map(|org| org.owner.clone()).unwrap_or_default(),
        orgs: books.orgs.iter().map(|org| org.name.clone()).collect(),
        prefix: prefix.to_owned(),
    }
}

async fn deploy(server: &Server, books: &Books) -> anyhow::Result<()> {
    let owner = books.orgs.first().map_or("", |org| &org.owner);
    let ask = Ask {
        method: "POST",
        path: "/v1/functions/hello/versions".to_owned(),
        headers: vec![
            ("content-type", "application/wasm".to_owned()),
            ("x-emberbox-manifest", BASE64.encode(MANIFEST)),
        ],
        body: Bytes::from_static(COMPONENT),
    };
    Client::new(server.public, owner).value(ask).await?;
    Ok(())
}

fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no text at {pointer} of {value}"))
}
