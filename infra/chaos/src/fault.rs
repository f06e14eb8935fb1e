//! What a running server must do whose storage has failed: go on answering questions, and take no
//! further charge once a commit may not have reached the disk. Then it may also keep to itself what
//! a crash could take back.

use std::time::Duration;

use hyper::StatusCode;

use crate::client::{Ask, Client};
use crate::load::{self, Stage};
use crate::record::{Caller, Outcome, Record};

/// What `faults.c` says when the sync of a commit failed.
const COMMIT: &str = "sync of wal in a commit";
/// How long the server may take to say that it is not ready, and how often it is asked.
const TELL_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What must be readable whatever was struck.
const READS: [&str; 2] = ["/v1/prices", "/v1/models"];
/// What may be refused with 503 when nobody knows which commits are on the disk.
const IN_DOUBT: [&str; 2] = ["/v1/credits", "/v1/receipts?limit=1"];

/// Asks the server whose storage was struck; the calls made here are part of the record.
pub(crate) async fn check(
    stage: &Stage,
    struck: &str,
    (caller, owner): (&Caller, &str),
    record: &mut Record,
) -> Vec<String> {
    let mut broken = Vec::new();
    let must_stop = struck == COMMIT;
    if must_stop && !tells(stage).await {
        broken.push(format!("after a failed {struck}, /readyz goes on saying that all is well"));
    }
    let (call, strange) = load::probe(stage, caller).await;
    record.strange.extend(strange);
    if let Some(call) = call {
        let charged = matches!(call.outcome, Outcome::Receipted { .. } | Outcome::Answered);
        if must_stop && charged {
            broken.push(format!("after a failed {struck}, a call was charged: {call:?}"));
        }
        record.calls.push(call);
    }
    let mut reader = Client::new(stage.public, owner);
    for path in READS.into_iter().chain(IN_DOUBT) {
        let refused = match reader.want(Ask::get(path)).await {
            Ok(said) if said.status.is_success() => continue,
            Ok(said) => said.status,
            Err(error) => {
                broken.push(format!("after a failed {struck}, {path} has no answer: {error:#}"));
                continue;
            }
        };
        let doubtful = must_stop && IN_DOUBT.contains(&path);
        if !(doubtful && refused == StatusCode::SERVICE_UNAVAILABLE) {
            broken.push(format!("after a failed {struck}, {path} is refused with {refused}"));
        }
    }
    broken
}

/// Whether the server says in time that it is not ready.
async fn tells(stage: &Stage) -> bool {
    let tells = async {
        let mut probe = Client::new(stage.public, "");
        while probe.want(Ask::get("/readyz")).await.is_ok_and(|said| said.status.is_success()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(TELL_WITHIN, tells).await.is_ok()
}
