use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use emberbox_billing::{
    Act, BillingError, Endpoint, Message, MessageId, OpId, Order, OrgId, Query, Report,
    SignedMessage, WebhookAnswer, WebhookSecret, retry_after,
};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::delivery::Courier;
use super::spans::now_ms;
use crate::app::App;

/// How often the ledger is asked for messages.
const POLL: Duration = Duration::from_millis(500);
/// How long it is left alone after it failed.
const POLL_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Attempts at a time to one organisation's endpoint. One that hangs keeps so many places for as
/// long as an attempt may take, and no more.
const OF_ONE_ORG_MAX: usize = 2;
/// Attempts at a time to the endpoints of all organisations: what they may take of memory and of
/// sockets.
const OF_ORGS_MAX: usize = 256;
/// Attempts at a time to the operator's endpoint. They are beside the others, so that no number of
/// organisations keeps a request for money waiting.
const OF_OPERATOR_MAX: usize = 8;
/// Messages that are looked at at a time: more than can be under way, so that there is always one
/// that can be sent if any is due. The ledger names each receiver's oldest before anybody's second.
const MESSAGES_PER_POLL: u32 = 1000;

/// Starts sending what the ledger wants told; ends when the server stops.
///
/// Several gateways of one ledger may do this: a message is sent at least once, and its receiver
/// knows a repetition by its id. What was being sent when the server stops is sent again later.
pub(crate) fn start(app: &Arc<App>) {
    let sending = Arc::clone(app);
    app.settling.spawn(async move {
        tokio::select! {
            () = run(&sending) => {}
            () = sending.stop.stopped() => {}
        }
    });
}

/// What is under way. Dropping it ends the attempts.
#[derive(Default)]
struct Outbox {
    attempts: JoinSet<()>,
    under_way: HashMap<Id, (MessageId, Option<OrgId>)>,
    /// Whether something due could not begin for want of a place.
    is_held_up: bool,
}

async fn run(app: &Arc<App>) {
    let courier = Arc::new(Courier::new(&app.config.webhooks));
    let mut outbox = Outbox::default();
    let mut next_poll = Instant::now();
    loop {
        tokio::select! {
            Some(ended) = outbox.attempts.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                outbox.under_way.remove(&id);
                // A place came free: who waits for one waits no longer.
                if outbox.is_held_up {
                    next_poll = Instant::now();
                }
            }
            () = sleep_until(next_poll) => {
                let pause = match due(app).await {
                    Ok(messages) => {
                        outbox.begin((app, &courier), messages);
                        POLL
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the ledger does not say which messages are due");
                        POLL_AFTER_FAILURE
                    }
                };
                next_poll = Instant::now() + pause;
            }
        }
    }
}

impl Outbox {
    /// Begins an attempt for every message that there is a place for.
    fn begin(
        &mut self,
        (app, courier): (&Arc<App>, &Arc<Courier>),
        messages: Vec<(Message, Option<Endpoint>)>,
    ) {
        let known: HashSet<MessageId> = self.under_way.values().map(|(id, _)| *id).collect();
        let mut places = Places::default();
        for (_, org) in self.under_way.values() {
            places.take(org.as_ref());
        }
        self.is_held_up = false;
        for (message, to) in messages {
            if known.contains(&message.id) {
                continue;
            }
            if !places.has_room(message.org.as_ref()) {
                self.is_held_up = true;
                continue;
            }
            places.take(message.org.as_ref());
            let whose = (message.id, message.org.clone());
            let (app, courier) = (Arc::clone(app), Arc::clone(courier));
            let attempt =
                self.attempts.spawn(async move { send(&app, &courier, (message, to)).await });
            self.under_way.insert(attempt.id(), whose);
        }
    }
}

/// How many attempts are under way, and to whom.
#[derive(Default)]
struct Places {
    of_operator: usize,
    of_orgs: usize,
    of_one: HashMap<OrgId, usize>,
}

impl Places {
    fn has_room(&self, org: Option<&OrgId>) -> bool {
        let Some(org) = org else { return self.of_operator < OF_OPERATOR_MAX };
        let of_one = self.of_one.get(org).copied().unwrap_or(0);
        of_one < OF_ONE_ORG_MAX && self.of_orgs < OF_ORGS_MAX
    }

    fn take(&mut self, org: Option<&OrgId>) {
        let Some(org) = org else {
            self.of_operator += 1;
            return;
        };
        self.of_orgs += 1;
        *self.of_one.entry(org.clone()).or_default() += 1;
    }
}

async fn due(app: &App) -> Result<Vec<(Message, Option<Endpoint>)>, BillingError> {
    match app.billing.ask(Query::Messages { limit: MESSAGES_PER_POLL }).await? {
        Report::Messages(messages) => Ok(messages),
        _ => Err(BillingError::Stopped("an answer of another kind came".to_owned())),
    }
}

/// Tries to send a message once, and notes what came of it.
async fn send(app: &App, courier: &Courier, (message, to): (Message, Option<Endpoint>)) {
    let answer = match &to {
        None => Ok(None),
        Some(endpoint) => attempt(courier, &message, endpoint).await.map(Some),
    };
    let failed = message.attempts.saturating_add(1);
    let status = answer.as_ref().ok().copied().flatten();
    let mut gone = None;
    let (wait, note) = match (&answer, WebhookAnswer::of(status)) {
        (Ok(None), _) => (None, "nobody listens".to_owned()),
        (Ok(Some(status)), WebhookAnswer::Taken) => (None, format!("delivered ({status})")),
        (Ok(Some(status)), WebhookAnswer::Gone) => {
            gone = to.map(|endpoint| endpoint.url);
            (None, format!("the receiver wants no more ({status}): it is switched off"))
        }
        (Ok(Some(status)), WebhookAnswer::Retry) => {
            (retry_after(failed, message.id), format!("answered {status}"))
        }
        (Err(reason), _) => (retry_after(failed, message.id), short(reason)),
    };
    let retry_at_ms = wait
        .map(|wait| now_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    tracing::info!(message = %message.id, topic = message.topic, note, "a message was sent");
    let act = Act::Delivery { message: message.id, retry_at_ms, note, gone };
    note_delivery(app, &message, act).await;
}

async fn attempt(courier: &Courier, message: &Message, to: &Endpoint) -> Result<u16, String> {
    let secret: WebhookSecret =
        to.secret.parse().map_err(|error: BillingError| error.to_string())?;
    let signed = SignedMessage::new(&[secret], message, now_ms() / 1000)
        .map_err(|error| error.to_string())?;
    courier.post(&to.url, &signed).await
}

/// Another gateway may have sent the same message and noted it first: its word stands.
async fn note_delivery(app: &App, message: &Message, act: Act) {
    let op = match OpId::new(format!("delivery:{}:{}", message.id, message.attempts)) {
        Ok(op) => op,
        Err(error) => {
            tracing::error!(%error, "a delivery has no id");
            return;
        }
    };
    let order = Order { op, by: "outbox".to_owned(), act };
    match app.billing.order(order).await {
        Ok(_) | Err(BillingError::Conflict | BillingError::Refused(_)) => {}
        Err(error) => tracing::warn!(%error, "a delivery was not noted: it will be repeated"),
    }
}

/// A note is short: the journal keeps it for ever.
fn short(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_by_receiver() {
        let mut places = Places::default();
        let orgs: Vec<OrgId> =
            (0..OF_ORGS_MAX).map(|number| OrgId::new(format!("org-{number}"))).collect();
        let (first, last) = (orgs.first(), orgs.last());
        for _ in 0..OF_ONE_ORG_MAX {
            assert!(places.has_room(first));
            places.take(first);
        }
        assert!(!places.has_room(first) && places.has_room(last) && places.has_room(None));
        for org in &orgs[OF_ONE_ORG_MAX..] {
            places.take(Some(org));
        }
        assert!(!places.has_room(Some(&OrgId::new("another"))), "all places are taken");
        for _ in 0..OF_OPERATOR_MAX {
            assert!(places.has_room(None), "but the operator's");
            places.take(None);
        }
        assert!(!places.has_room(None));
    }
}
