//! The load of a round: callers that call, one thing at a time each, until nobody listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::client::{Answer, Ask, Client, Leave, Seen};
use crate::nano;
use crate::record::{Call, Caller, Outcome, Record, Subject};

/// The bundled model, which embeds too.
const MODEL: &str = "tiny-storyteller";
/// How long a caller waits after it was refused, so that refusals are not all that happens.
const REFUSED_PAUSE: Duration = Duration::from_millis(3);

/// What all clients of a round share.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The public listener.
    pub(crate) public: SocketAddr,
    /// The operator's listener.
    pub(crate) admin: SocketAddr,
    /// The path of the function that everybody calls.
    pub(crate) function: String,
    /// The storage fails in this round: an error of the server says nothing about the charge.
    pub(crate) faulty: bool,
    /// The process was told to end, or killed: answers may stop.
    pub(crate) ending: AtomicBool,
}

/// What is called, and how.
#[derive(Clone, Copy)]
enum Kind {
    Function,
    Chat,
    Stream,
    Embed,
}

/// Calls until nobody listens.
pub(crate) async fn call(stage: Arc<Stage>, caller: Caller, mut random: ChaCha8Rng) -> Record {
    let mut client = Client::new(stage.public, &caller.secret);
    let mut record = Record::default();
    loop {
        let kind = match random.random_range(0..100) {
            0..90 => Kind::Function,
            90..93 => Kind::Chat,
            93..97 => Kind::Stream,
            _ => Kind::Embed,
        };
        let leave = leave(kind, &mut random);
        let sent_ms = now_ms();
        let seen = client.ask(ask(&stage, kind, &mut random), leave).await;
        let outcome = match seen {
            Seen::Refused => return record,
            Seen::Broken { begun } => Outcome::Unknown { begun },
            Seen::Answer(answer) => outcome(&stage, kind, &answer, &mut record.strange),
        };
        let refused = outcome == Outcome::Refused;
        let failed = matches!(outcome, Outcome::Unknown { begun: false }) && stage.faulty;
        record.calls.push(Call {
            org: caller.org,
            key: caller.key.clone(),
            subject: subject(kind),
            sent_ms,
            done_ms: now_ms(),
            outcome,
        });
        if refused || failed {
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }
}

/// One call of the function, without load beside it and without leaving.
pub(crate) async fn probe(stage: &Stage, caller: &Caller) -> (Option<Call>, Vec<String>) {
    let mut client = Client::new(stage.public, &caller.secret);
    let sent_ms = now_ms();
    let mut strange = Vec::new();
    let outcome = match client.ask(Ask::get(&stage.function), Leave::Never).await {
        Seen::Refused => return (None, strange),
        Seen::Broken { begun } => Outcome::Unknown { begun },
        Seen::Answer(answer) => outcome(stage, Kind::Function, &answer, &mut strange),
    };
    let (org, key, subject) = (caller.org, caller.key.clone(), Subject::Function);
    (Some(Call { org, key, subject, sent_ms, done_ms: now_ms(), outcome }), strange)
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn leave(kind: Kind, random: &mut ChaCha8Rng) -> Leave {
    match (kind, random.random_range(0..100)) {
        (Kind::Stream, 0..25) => Leave::AtFirstByte,
        (_, 25..33) => Leave::After(Duration::from_millis(random.random_range(0..30))),
        _ => Leave::Never,
    }
}

fn subject(kind: Kind) -> Subject {
    match kind {
        Kind::Function => Subject::Function,
        Kind::Chat | Kind::Stream | Kind::Embed => Subject::Model,
    }
}

fn ask(stage: &Stage, kind: Kind, random: &mut ChaCha8Rng) -> Ask {
    let stream = match kind {
        Kind::Function => return Ask::get(&stage.function),
        Kind::Embed => {
            let body = json!({ "model": MODEL, "input": "a fox", "encoding_format": "base64" });
            return Ask::json("POST", "/v1/embeddings", &body);
        }
        Kind::Chat => false,
        Kind::Stream => true,
    };
    let message = json!({ "role": "user", "content": "Tell me a story about a fox." });
    let mut body = json!({
        "model": MODEL, "messages": [message], "stream": stream,
        "max_tokens": random.random_range(1..8),
    });
    if stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    Ask::json("POST", "/v1/chat/completions", &body)
}

/// What a whole answer says of the charge.
fn outcome(stage: &Stage, kind: Kind, answer: &Answer, strange: &mut Vec<String>) -> Outcome {
    let told = match kind {
        Kind::Stream if answer.status.is_success() => streamed(&answer.body),
        _ => told(answer),
    };
    match (told, answer.status.as_u16()) {
        (Some((receipt, amount)), _) => Outcome::Receipted { receipt, amount },
        // A stream that ends without its last event ends in an error.
        (None, 200) if matches!(kind, Kind::Stream) => Outcome::Unknown { begun: true },
        (None, 200) if matches!(kind, Kind::Function) => Outcome::Answered,
        (None, 500..) if stage.faulty => Outcome::Unknown { begun: false },
        (None, 402 | 429 | 503) => Outcome::Refused,
        (None, status) => {
            // Calls that are cut off by a stop may fail; no charge may come of them.
            if !(stage.ending.load(Ordering::Relaxed) && status >= 500) {
                let said = String::from_utf8_lossy(&answer.body);
                strange.push(format!("a call was answered {status}: {said}"));
            }
            Outcome::Refused
        }
    }
}

/// The receipt and the cost in the head of an answer.
fn told(answer: &Answer) -> Option<(String, i64)> {
    let receipt = answer.header("x-emberbox-receipt")?.to_owned();
    Some((receipt, nano::parse(answer.header("x-emberbox-cost")?).ok()?))
}

/// The receipt and the cost in the last events of a stream that came to its end.
fn streamed(body: &[u8]) -> Option<(String, i64)> {
    let text = String::from_utf8_lossy(body);
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    if events.clone().next_back() != Some("[DONE]") {
        return None;
    }
    let usage =
        events.filter_map(|event| serde_json::from_str::<Value>(event).ok()).find_map(|event| {
            event.get("usage").filter(|usage| usage.get("cost_details").is_some()).cloned()
        })?;
    let receipt = usage.pointer("/cost_details/receipt")?.as_str()?.to_owned();
    Some((receipt, nano::field(&usage, "cost").ok()?))
}
