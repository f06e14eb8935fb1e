//! What the operator and the owner do while callers call: top-ups, prices, keys.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::client::{Answer, Ask, Client, Leave, Seen};
use crate::load::Stage;
use crate::nano;
use crate::record::{Record, TopUp};

/// The pause between two acts, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 1..12;
/// Every call of the rich organisation is affordable; the poor one runs out again and again.
const RICH_NANO: std::ops::Range<i64> = 1_000_000..9_000_000;
const POOR_NANO: std::ops::Range<i64> = 1_000..15_000;

/// Who acts in a round.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    /// The operator's token.
    pub(crate) token: String,
    /// A key of an owner, by organisation.
    pub(crate) owner: String,
    /// The organisations' names, by their places in the books.
    pub(crate) orgs: Vec<String>,
    /// What begins the ids of this round's top-ups.
    pub(crate) prefix: String,
}

/// Acts until nobody listens.
pub(crate) async fn act(stage: Arc<Stage>, desk: Desk, mut random: ChaCha8Rng) -> Record {
    let mut admin = Client::new(stage.admin, &desk.token);
    let mut twin = Client::new(stage.admin, &desk.token);
    let mut owner = Client::new(stage.public, &desk.owner);
    let mut record = Record::default();
    for number in 0_u64.. {
        let go_on = match random.random_range(0..100) {
            0..80 => {
                let clients = (&mut admin, &mut twin);
                top_up(&stage, clients, (&desk, number), (&mut random, &mut record)).await
            }
            80..90 => prices(&stage, &mut admin, &mut random, &mut record).await,
            90..93 => key(&stage, &mut owner, &mut record).await,
            _ => repeat(&mut admin, &desk, &mut random, &mut record).await,
        };
        if !go_on {
            break;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE_MS))).await;
    }
    record
}

/// The request that makes a top-up, the same in every repetition.
pub(crate) fn ask_top_up(desk: &Desk, top_up: &TopUp) -> Ask {
    let org = desk.orgs.get(top_up.org).map_or("", String::as_str);
    let amount = nano::text(top_up.amount);
    let body = json!({ "org": org, "amount": amount, "id": top_up.id });
    Ask::json("POST", "/admin/v1/credits", &body)
}

/// A new top-up; sometimes it is sent twice at the same time.
async fn top_up(
    stage: &Stage,
    (admin, twin): (&mut Client, &mut Client),
    (desk, number): (&Desk, u64),
    (random, record): (&mut ChaCha8Rng, &mut Record),
) -> bool {
    let org = random.random_range(0..desk.orgs.len());
    let amount = random.random_range(if org == 0 { RICH_NANO } else { POOR_NANO });
    let id = format!("{}-{number}", desk.prefix);
    let mut top_up = TopUp { id, org, amount, acknowledged: false };
    let ask = ask_top_up(desk, &top_up);
    let seen = match random.random_ratio(1, 6) {
        true => {
            let both = (admin.ask(ask.clone(), Leave::Never), twin.ask(ask, Leave::Never));
            let (one, other) = tokio::join!(both.0, both.1);
            vec![one, other]
        }
        false => vec![admin.ask(ask, Leave::Never).await],
    };
    if seen.iter().all(|seen| matches!(seen, Seen::Refused)) {
        return false;
    }
    top_up.acknowledged = seen.iter().any(is_ok);
    seen.iter().for_each(|seen| note(stage, "a top-up", seen, record));
    record.top_ups.push(top_up);
    true
}

/// A top-up again that was acknowledged before: it must count once.
async fn repeat(
    admin: &mut Client,
    desk: &Desk,
    random: &mut ChaCha8Rng,
    record: &mut Record,
) -> bool {
    let made: Vec<&TopUp> = record.top_ups.iter().filter(|top_up| top_up.acknowledged).collect();
    if made.is_empty() {
        return true;
    }
    let ask = ask_top_up(desk, made[random.random_range(0..made.len())]);
    !matches!(admin.ask(ask, Leave::Never).await, Seen::Refused)
}

/// The price of a call, changed.
async fn prices(
    stage: &Stage,
    admin: &mut Client,
    random: &mut ChaCha8Rng,
    record: &mut Record,
) -> bool {
    let seen = admin.ask(Ask::get("/admin/v1/prices"), Leave::Never).await;
    let Seen::Answer(answer) = seen else { return !matches!(seen, Seen::Refused) };
    let Ok(mut book) = answer.ok() else { return true };
    let Some(call) = book.pointer_mut("/functions/call") else {
        record.strange.push(format!("no functions.call in the price book: {book}"));
        return true;
    };
    *call = Value::from(nano::text(random.random_range(500..2_000)));
    let seen = admin.ask(Ask::json("PUT", "/admin/v1/prices", &book), Leave::Never).await;
    note(stage, "a price change", &seen, record);
    if let Some(made) = answered(&seen) {
        let version = made.get("version").and_then(Value::as_u64).unwrap_or(0);
        record.price_version = record.price_version.max(version);
    }
    !matches!(seen, Seen::Refused)
}

/// One more key.
async fn key(stage: &Stage, owner: &mut Client, record: &mut Record) -> bool {
    let ask = Ask::json("POST", "/v1/keys", &json!({ "name": "chaos" }));
    let seen = owner.ask(ask, Leave::Never).await;
    note(stage, "a new key", &seen, record);
    let made = answered(&seen);
    let id = made.as_ref().and_then(|made| made.get("id")).and_then(Value::as_str);
    record.keys.extend(id.map(str::to_owned));
    !matches!(seen, Seen::Refused)
}

fn is_ok(seen: &Seen) -> bool {
    matches!(seen, Seen::Answer(Answer { status, .. }) if status.is_success())
}

fn answered(seen: &Seen) -> Option<Value> {
    match seen {
        Seen::Answer(answer) => answer.ok().ok(),
        Seen::Broken { .. } | Seen::Refused => None,
    }
}

/// Notes a whole answer that neither the storage nor a stop explains.
fn note(stage: &Stage, what: &str, seen: &Seen, record: &mut Record) {
    let Seen::Answer(answer) = seen else { return };
    let excused =
        answer.status.is_server_error() && (stage.faulty || stage.ending.load(Ordering::Relaxed));
    if !answer.status.is_success() && !excused {
        let said = String::from_utf8_lossy(&answer.body);
        record.strange.push(format!("{what} was answered {}: {said}", answer.status));
    }
}
