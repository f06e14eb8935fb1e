//! The models as one call has them: every task is reserved before it runs, and settled once,
//! whatever becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing::field::Empty;

use crate::bridge::{
    Bridge, BridgeError, Event, ModelInfo, Open, Plan, Prompt, SessionId, Task, Usage,
};
use crate::spend::{Computed, Exhausted, Permit, Spend, Units};

/// Why a task was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// What the call may spend does not cover the task's worst case.
    #[error("what the call may spend does not cover {} tokens of input and {} of output", .0.input_tokens, .0.output_tokens_max)]
    Budget(Plan),
    /// Inference did not take it.
    #[error(transparent)]
    Inference(#[from] BridgeError),
}

/// How a task's output is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Piece by piece; each counts as received when it is handed out.
    Pieces,
    /// All at once, at the end; nothing counts before.
    Whole,
}

/// What a call may compute. Its prices and its budget are behind it: the sandbox knows neither.
#[async_trait]
pub trait Models: Send + Sync + 'static {
    /// A model's description, if there is one of this name.
    fn model(&self, name: &str) -> Option<ModelInfo>;

    /// Takes a model as bytes, to be opened by the name in its description.
    ///
    /// # Errors
    /// As [`Bridge::bring`].
    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError>;

    /// Opens a session: one sequence on one model.
    ///
    /// # Errors
    /// As [`Bridge::open`].
    async fn open(&self, model: &str) -> Result<SessionId, BridgeError>;

    /// Reserves and starts a task, in place of the one that runs in this session, and gives its
    /// first event, or all of them.
    ///
    /// # Errors
    /// `Budget` when the call cannot pay it; otherwise as [`Bridge::prepare`], [`Bridge::submit`]
    /// and [`Bridge::next`].
    async fn run(
        &self,
        session: SessionId,
        task: Task,
        delivery: Delivery,
    ) -> Result<Vec<Event>, Refusal>;

    /// Waits for the next event of a task whose output comes in pieces.
    ///
    /// # Errors
    /// As [`Bridge::next`].
    async fn next(&self, session: SessionId) -> Result<Event, BridgeError>;

    /// Ends the session and settles what ran in it.
    fn close(&self, session: SessionId);

    /// Hears how much the guest has computed so far; see [`Spend::compute`].
    ///
    /// # Errors
    /// [`Exhausted`] when what the call may spend does not cover it.
    fn compute(&self, computed: Computed) -> Result<(), Exhausted>;
}

/// Models whose use is paid from what one call may spend. Dropping it ends all that still runs.
pub struct Metered {
    bridge: Arc<dyn Bridge>,
    spend: Arc<dyn Spend>,
    tenant: String,
    sessions: Mutex<HashMap<SessionId, Session>>,
}

struct Session {
    model: String,
    running: Option<Charge>,
}

/// A reservation, settled exactly once.
struct Charge {
    permit: Permit,
    /// Before that, the session's usage is still that of its previous task.
    submitted: bool,
    delivery: Delivery,
    received_tokens: u32,
    /// From the task's start to its end.
    span: Span,
}

impl Metered {
    /// For one call: the models, what it may spend, and the organisation that pays.
    #[must_use]
    pub fn new(bridge: Arc<dyn Bridge>, spend: Arc<dyn Spend>, tenant: String) -> Self {
        Self { bridge, spend, tenant, sessions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that this call has not opened is another's, or is no more.
    fn owned(&self, session: SessionId) -> Result<(), BridgeError> {
        self.lock().contains_key(&session).then_some(()).ok_or(BridgeError::Cancelled)
    }

    /// Does something with the task that runs in a session.
    fn running<T>(&self, session: SessionId, act: impl FnOnce(&mut Charge) -> T) -> Option<T> {
        self.lock().get_mut(&session)?.running.as_mut().map(act)
    }

    fn reserve(
        &self,
        session: SessionId,
        (operation, delivery): (&'static str, Delivery),
        plan: Plan,
    ) -> Result<(), Refusal> {
        let worst =
            Units { input_tokens: plan.input_tokens, output_tokens: plan.output_tokens_max };
        let mut sessions = self.lock();
        let open = sessions.get_mut(&session).ok_or(BridgeError::Cancelled)?;
        let permit = self.spend.reserve(&open.model, worst).or(Err(Refusal::Budget(plan)))?;
        open.running = Some(Charge {
            permit,
            submitted: false,
            delivery,
            received_tokens: 0,
            span: span(&open.model, operation),
        });
        Ok(())
    }

    /// Settles the session's task, if one runs. Of the output only what was received is paid.
    fn settle(&self, session: SessionId, done: Option<Usage>) -> Option<Usage> {
        let mut sessions = self.lock();
        let open = sessions.get_mut(&session)?;
        let charge = open.running.take()?;
        let output_tokens = match (charge.delivery, done) {
            (Delivery::Whole, None) => 0,
            _ => charge.received_tokens,
        };
        let used = done.unwrap_or_else(|| match charge.submitted {
            true => self.bridge.usage(session),
            false => Usage::default(),
        });
        let usage = Usage { output_tokens, ..used };
        charge.span.record("gen_ai.usage.input_tokens", usage.input_tokens);
        charge.span.record("gen_ai.usage.output_tokens", usage.output_tokens);
        self.spend.settle(charge.permit, &open.model, usage);
        Some(usage)
    }

    /// Ends a task that another one takes the place of.
    async fn abandon(&self, session: SessionId) {
        if self.running(session, |_| ()).is_none() {
            return;
        }
        self.bridge.cancel(session);
        // The session's next task must not see this one's events.
        while let Ok(event) = self.bridge.next(session).await {
            if matches!(event, Event::Done { .. }) {
                break;
            }
        }
        self.settle(session, None);
    }

    async fn event(&self, session: SessionId) -> Result<Event, BridgeError> {
        let mut event = self.bridge.next(session).await?;
        match &mut event {
            Event::Piece { tokens, .. } => {
                let tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                self.running(session, |charge| {
                    charge.received_tokens = charge.received_tokens.saturating_add(tokens);
                });
            }
            Event::ToolCalls(_) => {}
            Event::Answer { usage, .. } | Event::Done { usage, .. } => {
                *usage = self.settle(session, Some(*usage)).unwrap_or(*usage);
            }
        }
        Ok(event)
    }
}

#[async_trait]
impl Models for Metered {
    fn model(&self, name: &str) -> Option<ModelInfo> {
        self.bridge.model(name)
    }

    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError> {
        self.bridge.bring(model).await
    }

    async fn open(&self, model: &str) -> Result<SessionId, BridgeError> {
        let open = Open { model: model.to_owned(), tenant: self.tenant.clone() };
        let id = self.bridge.open(open).await?;
        self.lock().insert(id, Session { model: model.to_owned(), running: None });
        Ok(id)
    }

    async fn run(
        &self,
        session: SessionId,
        task: Task,
        delivery: Delivery,
    ) -> Result<Vec<Event>, Refusal> {
        self.owned(session)?;
        self.abandon(session).await;
        let mut unfinished = Unfinished { metered: self, session, armed: true };
        let operation = operation(&task);
        let plan = self.bridge.prepare(session, task).await?;
        self.reserve(session, (operation, delivery), plan)?;
        self.bridge.submit(session).await?;
        self.running(session, |charge| charge.submitted = true);
        let mut events = vec![self.event(session).await?];
        while delivery == Delivery::Whole && !events.last().is_some_and(is_last) {
            events.push(self.event(session).await?);
        }
        unfinished.armed = false;
        Ok(events)
    }

    async fn next(&self, session: SessionId) -> Result<Event, BridgeError> {
        self.owned(session)?;
        let mut unfinished = Unfinished { metered: self, session, armed: true };
        let event = self.event(session).await?;
        unfinished.armed = false;
        Ok(event)
    }

    fn close(&self, session: SessionId) {
        self.settle(session, None);
        if self.lock().remove(&session).is_some() {
            self.bridge.close(session);
        }
    }

    fn compute(&self, computed: Computed) -> Result<(), Exhausted> {
        self.spend.compute(computed)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let open: Vec<SessionId> = self.lock().keys().copied().collect();
        for session in open {
            self.close(session);
        }
    }
}

/// Settles a task whose guest has stopped waiting for it.
struct Unfinished<'a> {
    metered: &'a Metered,
    session: SessionId,
    armed: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.metered.settle(self.session, None);
        }
    }
}

/// Whether nothing that a guest reads comes after this.
fn is_last(event: &Event) -> bool {
    matches!(event, Event::Answer { .. } | Event::Done { .. })
}

/// What a task is in OpenTelemetry's GenAI conventions.
fn operation(task: &Task) -> &'static str {
    match task {
        Task::Generate { prompt: Prompt::Messages(_), .. } => "chat",
        Task::Generate { .. } => "text_completion",
        Task::Embed { .. } => "embeddings",
        Task::Classify { .. } => "classify",
        Task::Rerank { .. } => "rerank",
        Task::Run { .. } => "run",
    }
}

/// A task's span below that of its call. Counts and names only, never content.
fn span(model: &str, operation: &'static str) -> Span {
    tracing::info_span!(
        "guest_model_call",
        otel.name = format!("{operation} {model}"),
        otel.kind = "internal",
        gen_ai.operation.name = operation,
        gen_ai.provider.name = "emberbox",
        gen_ai.request.model = model,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
    )
}
