use std::sync::Arc;
use std::time::Duration;

use emberbox_billing::{
    Act, BillingError, Endpoint, Message, OpId, Order, Query, Report, SignedMessage, WebhookAnswer,
    WebhookSecret, retry_after,
};
use futures::stream::{self, StreamExt};

use super::delivery;
use super::spans::now_ms;
use crate::app::App;

/// How often the ledger is asked for messages.
const POLL: Duration = Duration::from_millis(500);
/// How long it is left alone after it failed.
const POLL_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Messages that are taken at a time, and how many of them are sent at once.
const MESSAGES_PER_POLL: u32 = 64;
const SENT_AT_ONCE: usize = 16;

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

async fn run(app: &App) {
    loop {
        let pause = match due(app).await {
            Ok(messages) => {
                let sends = messages.into_iter().map(|(message, to)| send(app, message, to));
                stream::iter(sends).for_each_concurrent(SENT_AT_ONCE, |sending| sending).await;
                POLL
            }
            Err(error) => {
                tracing::debug!(%error, "the ledger does not say which messages are due");
                POLL_AFTER_FAILURE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn due(app: &App) -> Result<Vec<(Message, Option<Endpoint>)>, BillingError> {
    match app.billing.ask(Query::Messages { limit: MESSAGES_PER_POLL }).await? {
        Report::Messages(messages) => Ok(messages),
        _ => Err(BillingError::Stopped("an answer of another kind came".to_owned())),
    }
}

/// Tries to send a message once, and notes what came of it.
async fn send(app: &App, message: Message, to: Option<Endpoint>) {
    let answer = match &to {
        None => Ok(None),
        Some(endpoint) => attempt(app, &message, endpoint).await.map(Some),
    };
    let failed = message.attempts.saturating_add(1);
    let status = answer.as_ref().ok().copied().flatten();
    let (wait, note) = match (&answer, WebhookAnswer::of(status)) {
        (Ok(None), _) => (None, "nobody listens".to_owned()),
        (Ok(Some(status)), WebhookAnswer::Taken) => (None, format!("delivered ({status})")),
        (Ok(Some(status)), WebhookAnswer::Gone) => {
            (None, format!("the receiver wants no more ({status})"))
        }
        (Ok(Some(status)), WebhookAnswer::Retry) => {
            (retry_after(failed, message.id), format!("answered {status}"))
        }
        (Err(reason), _) => (retry_after(failed, message.id), short(reason)),
    };
    let retry_at_ms = wait
        .map(|wait| now_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    tracing::info!(message = %message.id, topic = message.topic, note, "a message was sent");
    note_delivery(app, &message, (retry_at_ms, note)).await;
}

async fn attempt(app: &App, message: &Message, to: &Endpoint) -> Result<u16, String> {
    let secret: WebhookSecret =
        to.secret.parse().map_err(|error: BillingError| error.to_string())?;
    let signed = SignedMessage::new(&[secret], message, now_ms() / 1000)
        .map_err(|error| error.to_string())?;
    delivery::post(&to.url, &signed, app.config.webhooks.allow_private).await
}

/// Another gateway may have sent the same message and noted it first: its word stands.
async fn note_delivery(app: &App, message: &Message, (retry_at_ms, note): (Option<u64>, String)) {
    let op = match OpId::new(format!("delivery:{}:{}", message.id, message.attempts)) {
        Ok(op) => op,
        Err(error) => {
            tracing::error!(%error, "a delivery has no id");
            return;
        }
    };
    let act = Act::Delivery { message: message.id, retry_at_ms, note };
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
