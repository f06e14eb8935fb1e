use std::sync::Arc;

use tracing::Span;
use tracing::field::Empty;

use crate::bridge::{Bridge, Event, FinishReason, Open, Plan, Prompt, SessionId, Task, Usage};
use crate::spend::{Permit, Spend, Units};

use super::Reach;
use super::bindings::wasi::nn::tensor::TensorType;
use super::error::GuestError;
use super::task::{self, Asked};
use super::tensor::{HostTensor, TensorBudget};

/// Tensors with their names.
pub(super) type Named = Vec<(String, HostTensor)>;

/// One sequence on a model. Every task states its whole prompt; what the sequence already holds
/// of it is reused by the engine. The session is opened with the first task, so that contexts
/// that are never used cost nothing.
pub(super) struct Context {
    model: String,
    // Before the session: the reservation is settled with what the session has used.
    running: Option<Charge>,
    session: Option<Session>,
    answered: bool,
}

impl Context {
    pub(super) fn new(model: String) -> Self {
        Self { model, running: None, session: None, answered: false }
    }

    /// Starts a task, or goes on with the one that is streaming when there are no inputs.
    pub(super) async fn compute(
        &mut self,
        reach: &Reach,
        tensors: &TensorBudget,
        inputs: Named,
    ) -> Result<Named, GuestError> {
        if inputs.is_empty() {
            return self.next_piece(tensors).await;
        }
        let asked = task::read(&inputs)?;
        // The texts are copied; the tensors' bytes count for as long as they are held.
        drop(inputs);
        self.start(reach, tensors, asked).await
    }

    /// Whether a generation is streaming.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a task, in place of the one that is streaming.
    pub(super) async fn start(
        &mut self,
        reach: &Reach,
        tensors: &TensorBudget,
        asked: Asked,
    ) -> Result<Named, GuestError> {
        self.abandon().await;
        let session = self.open(reach).await?;
        let outputs = self.begin(reach, tensors, (session, asked)).await;
        if outputs.is_err() && self.running.is_none() {
            // Whatever the session still does is for nobody, and a context that never got an
            // answer must not hold one of the engine's sessions.
            self.session = None;
        }
        outputs
    }

    /// Starts a task in an open session.
    async fn begin(
        &mut self,
        reach: &Reach,
        tensors: &TensorBudget,
        (session, asked): (SessionId, Asked),
    ) -> Result<Named, GuestError> {
        let Asked { task, stream } = asked;
        let operation = operation(&task);
        let plan = reach.bridge.prepare(session, task).await?;
        let worst =
            Units { input_tokens: plan.input_tokens, output_tokens: plan.output_tokens_max };
        let Ok(permit) = reach.spend.reserve(&self.model, worst) else {
            reach.shared.refuse_budget();
            return self.over_budget(plan, tensors);
        };
        let mut charge = Charge::new(reach, session, (&self.model, operation), permit);
        reach.bridge.submit(session).await?;
        charge.submitted = true;
        self.answered = true;
        if stream {
            self.running = Some(charge);
            return self.next_piece(tensors).await;
        }
        all_pieces(charge, tensors).await
    }

    async fn open(&mut self, reach: &Reach) -> Result<SessionId, GuestError> {
        if let Some(session) = &self.session {
            return Ok(session.id);
        }
        let open = Open { model: self.model.clone(), tenant: reach.tenant.clone() };
        let id = reach.bridge.open(open).await?;
        self.session = Some(Session { bridge: Arc::clone(&reach.bridge), id });
        Ok(id)
    }

    /// Ends a generation that the guest has left for another task.
    async fn abandon(&mut self) {
        let Some(charge) = &self.running else { return };
        charge.bridge.cancel(charge.session);
        // The session's next task must not see this one's events.
        while let Ok(event) = charge.bridge.next(charge.session).await {
            if matches!(event, Event::Done { .. }) {
                break;
            }
        }
        self.running = None;
    }

    /// In a conversation that has answers already, running out of budget is one more way for an
    /// answer to end; at its start it is an error.
    fn over_budget(&self, plan: Plan, tensors: &TensorBudget) -> Result<Named, GuestError> {
        if !self.answered {
            return Err(GuestError::budget(&self.model, plan.input_tokens, plan.output_tokens_max));
        }
        let mut outputs = piece(String::new(), &[], tensors)?;
        outputs.extend(end("budget", Usage::default(), tensors)?);
        Ok(outputs)
    }

    /// Goes on with the generation that is streaming.
    pub(super) async fn next_piece(&mut self, tensors: &TensorBudget) -> Result<Named, GuestError> {
        let Some(charge) = self.running.take() else {
            let prose = "there are no inputs, and nothing is being generated in this context";
            return Err(GuestError::invalid(prose));
        };
        let outputs = self.fetch(charge, tensors).await;
        if outputs.is_err() {
            // The rest would be computed, and paid by nobody.
            self.session = None;
        }
        outputs
    }

    async fn fetch(
        &mut self,
        mut charge: Charge,
        tensors: &TensorBudget,
    ) -> Result<Named, GuestError> {
        match charge.bridge.next(charge.session).await? {
            Event::Piece { text, tokens, .. } => {
                let outputs = piece(text, &tokens, tensors)?;
                charge.received(tokens.len());
                self.running = Some(charge);
                Ok(outputs)
            }
            Event::ToolCalls(calls) => {
                let mut outputs = piece(String::new(), &[], tensors)?;
                outputs.push(json("tool_calls", &calls, tensors)?);
                self.running = Some(charge);
                Ok(outputs)
            }
            Event::Embeddings { rows, dims, data, usage } => {
                charge.settle(usage);
                embeddings(rows, dims, data, tensors)
            }
            Event::Done { finish_reason, usage } => {
                let usage = charge.settle(usage);
                let mut outputs = piece(String::new(), &[], tensors)?;
                outputs.extend(end(word(finish_reason), usage, tensors)?);
                Ok(outputs)
            }
        }
    }
}

/// What a task is in OpenTelemetry's GenAI conventions.
fn operation(task: &Task) -> &'static str {
    match task {
        Task::Generate { prompt: Prompt::Messages(_), .. } => "chat",
        Task::Generate { .. } => "text_completion",
        Task::Embed { .. } => "embeddings",
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

/// Runs a task to its end. The guest has received nothing before that.
async fn all_pieces(mut charge: Charge, tensors: &TensorBudget) -> Result<Named, GuestError> {
    let mut all_text = String::new();
    let mut all_tokens = Vec::new();
    let mut all_calls = Vec::new();
    loop {
        match charge.bridge.next(charge.session).await? {
            Event::Piece { text, tokens, .. } => {
                all_text.push_str(&text);
                all_tokens.extend(tokens);
            }
            Event::ToolCalls(calls) => all_calls = calls,
            Event::Embeddings { rows, dims, data, usage } => {
                let mut outputs = embeddings(rows, dims, data, tensors)?;
                let usage = charge.settle(usage);
                outputs.push(json("usage", &usage, tensors)?);
                return Ok(outputs);
            }
            Event::Done { finish_reason, usage } => {
                let mut outputs = piece(all_text, &all_tokens, tensors)?;
                if !all_calls.is_empty() {
                    outputs.push(json("tool_calls", &all_calls, tensors)?);
                }
                charge.received(all_tokens.len());
                let usage = charge.settle(usage);
                outputs.extend(end(word(finish_reason), usage, tensors)?);
                return Ok(outputs);
            }
        }
    }
}

fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Deadline => "deadline",
    }
}

fn piece(text: String, tokens: &[u32], tensors: &TensorBudget) -> Result<Named, GuestError> {
    let ids: Vec<u8> = tokens.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
    let count = length(tokens.len());
    let ids = HostTensor::for_guest(vec![count], TensorType::I64, ids, tensors)?;
    Ok(vec![bytes("text", text.into_bytes(), tensors)?, ("tokens".to_owned(), ids)])
}

fn end(reason: &str, usage: Usage, tensors: &TensorBudget) -> Result<Named, GuestError> {
    Ok(vec![json("usage", &usage, tensors)?, json("finish_reason", &reason, tensors)?])
}

fn embeddings(
    rows: u32,
    dims: u32,
    data: Vec<u8>,
    tensors: &TensorBudget,
) -> Result<Named, GuestError> {
    let tensor = HostTensor::for_guest(vec![rows, dims], TensorType::Fp32, data, tensors)?;
    Ok(vec![("embeddings".to_owned(), tensor)])
}

fn json(
    name: &str,
    value: &impl serde::Serialize,
    tensors: &TensorBudget,
) -> Result<(String, HostTensor), GuestError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| GuestError::unsupported(&format!("output `{name}`: {error}")))?;
    bytes(name, text, tensors)
}

fn bytes(
    name: &str,
    data: Vec<u8>,
    tensors: &TensorBudget,
) -> Result<(String, HostTensor), GuestError> {
    let dimensions = vec![length(data.len())];
    Ok((name.to_owned(), HostTensor::for_guest(dimensions, TensorType::U8, data, tensors)?))
}

/// A length that does not fit is over every limit, and the tensor's own check refuses it.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An open session, closed when it is dropped: with its context, or with the store.
struct Session {
    bridge: Arc<dyn Bridge>,
    id: SessionId,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.bridge.close(self.id);
    }
}

/// A reservation, settled exactly once: at the task's end, or when it is dropped.
struct Charge {
    bridge: Arc<dyn Bridge>,
    spend: Arc<dyn Spend>,
    session: SessionId,
    model: String,
    permit: Option<Permit>,
    /// Before that, the session's usage is still that of its previous task.
    submitted: bool,
    output_tokens: u32,
    /// From its start to its end.
    span: Span,
}

impl Charge {
    fn new(
        reach: &Reach,
        session: SessionId,
        (model, operation): (&str, &'static str),
        permit: Permit,
    ) -> Self {
        Self {
            bridge: Arc::clone(&reach.bridge),
            spend: Arc::clone(&reach.spend),
            session,
            model: model.to_owned(),
            permit: Some(permit),
            submitted: false,
            output_tokens: 0,
            span: span(model, operation),
        }
    }

    /// The guest has these tokens now.
    fn received(&mut self, tokens: usize) {
        self.output_tokens = self.output_tokens.saturating_add(length(tokens));
    }

    /// Settles what the engine did for it; of the output only what the guest received.
    fn settle(mut self, done: Usage) -> Usage {
        let usage = Usage { output_tokens: self.output_tokens, ..done };
        self.settle_once(usage);
        usage
    }

    fn settle_once(&mut self, usage: Usage) {
        if let Some(permit) = self.permit.take() {
            self.span.record("gen_ai.usage.input_tokens", usage.input_tokens);
            self.span.record("gen_ai.usage.output_tokens", usage.output_tokens);
            self.spend.settle(permit, &self.model, usage);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.permit.is_none() {
            return;
        }
        let used = if self.submitted { self.bridge.usage(self.session) } else { Usage::default() };
        self.settle_once(Usage { output_tokens: self.output_tokens, ..used });
    }
}

#[cfg(test)]
mod tests;
