use std::sync::Arc;

use crate::bridge::{Answer, BridgeError, Event, ModelKind, Plan, SessionId, Usage};
use crate::models::{Delivery, Models, Refusal};

use super::Reach;
use super::error::GuestError;
use super::output;
use super::task::{self, Asked};
use super::tensor::{HostTensor, TensorBudget};

/// Tensors with their names.
pub(super) type Named = Vec<(String, HostTensor)>;

/// One sequence on a model. Every task states its whole prompt; what the sequence already holds
/// of it is reused by the engine. The session is opened with the first task, so that contexts
/// that are never used cost nothing.
pub(super) struct Context {
    model: String,
    kind: ModelKind,
    session: Option<Session>,
    /// Whether a generation is streaming.
    running: bool,
    answered: bool,
}

impl Context {
    pub(super) fn new(model: String, kind: ModelKind) -> Self {
        Self { model, kind, session: None, running: false, answered: false }
    }

    /// What its inputs ask for.
    pub(super) fn read(&self, inputs: &Named) -> Result<Asked, GuestError> {
        task::read(self.kind, inputs)
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
        let asked = self.read(&inputs)?;
        // The texts are copied; the tensors' bytes count for as long as they are held.
        drop(inputs);
        self.start(reach, tensors, asked).await
    }

    /// Whether a generation is streaming.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Starts a task, in place of the one that is streaming.
    pub(super) async fn start(
        &mut self,
        reach: &Reach,
        tensors: &TensorBudget,
        asked: Asked,
    ) -> Result<Named, GuestError> {
        self.running = false;
        let outputs = self.begin(reach, tensors, asked).await;
        if outputs.is_err() {
            // Whatever the session still does is for nobody, and a context that never got an
            // answer must not hold one of the engine's sessions.
            self.session = None;
        }
        outputs
    }

    async fn begin(
        &mut self,
        reach: &Reach,
        tensors: &TensorBudget,
        asked: Asked,
    ) -> Result<Named, GuestError> {
        let session = self.open(reach).await?;
        let Asked { task, stream } = asked;
        let delivery = if stream { Delivery::Pieces } else { Delivery::Whole };
        let events = match reach.models.run(session, task, delivery).await {
            Ok(events) => events,
            Err(Refusal::Budget(plan)) => {
                reach.shared.refuse_budget();
                return self.over_budget(plan, tensors);
            }
            Err(Refusal::Inference(error)) => return Err(error.into()),
        };
        self.answered = true;
        match (delivery, events.into_iter()) {
            (Delivery::Whole, events) => whole(events, tensors),
            (Delivery::Pieces, mut events) => match events.next() {
                Some(event) => self.outputs(event, tensors),
                None => Err(BridgeError::Failed.into()),
            },
        }
    }

    async fn open(&mut self, reach: &Reach) -> Result<SessionId, GuestError> {
        if let Some(session) = &self.session {
            return Ok(session.id);
        }
        let id = reach.models.open(&self.model).await?;
        self.session = Some(Session { models: Arc::clone(&reach.models), id });
        Ok(id)
    }

    /// In a conversation that has answers already, running out of budget is one more way for an
    /// answer to end; at its start it is an error.
    fn over_budget(&self, plan: Plan, tensors: &TensorBudget) -> Result<Named, GuestError> {
        if !self.answered {
            return Err(GuestError::budget(&self.model, plan.input_tokens, plan.output_tokens_max));
        }
        let mut outputs = output::piece(String::new(), &[], tensors)?;
        outputs.extend(output::end("budget", Usage::default(), tensors)?);
        Ok(outputs)
    }

    /// Goes on with the generation that is streaming.
    pub(super) async fn next_piece(&mut self, tensors: &TensorBudget) -> Result<Named, GuestError> {
        let Some(session) = self.session.as_ref().filter(|_| self.running) else {
            let prose = "there are no inputs, and nothing is being generated in this context";
            return Err(GuestError::invalid(prose));
        };
        self.running = false;
        let outputs = match session.models.next(session.id).await {
            Ok(event) => self.outputs(event, tensors),
            Err(error) => Err(error.into()),
        };
        if outputs.is_err() {
            // The rest would be computed, and paid by nobody.
            self.session = None;
        }
        outputs
    }

    /// One event, as the guest reads it.
    fn outputs(&mut self, event: Event, tensors: &TensorBudget) -> Result<Named, GuestError> {
        match event {
            Event::Piece { text, tokens, .. } => {
                let outputs = output::piece(text, &tokens, tensors)?;
                self.running = true;
                Ok(outputs)
            }
            Event::ToolCalls(calls) => {
                let mut outputs = output::piece(String::new(), &[], tensors)?;
                outputs.push(output::json("tool_calls", &calls, tensors)?);
                self.running = true;
                Ok(outputs)
            }
            Event::Answer { answer, .. } => output::answer(answer, tensors),
            Event::Done { finish_reason, usage } => {
                let mut outputs = output::piece(String::new(), &[], tensors)?;
                outputs.extend(output::end(output::word(finish_reason), usage, tensors)?);
                Ok(outputs)
            }
        }
    }
}

/// All events of a task, as the guest reads them at once.
fn whole(events: impl Iterator<Item = Event>, tensors: &TensorBudget) -> Result<Named, GuestError> {
    let mut all_text = String::new();
    let mut all_tokens = Vec::new();
    let mut all_calls = Vec::new();
    for event in events {
        match event {
            Event::Piece { text, tokens, .. } => {
                all_text.push_str(&text);
                all_tokens.extend(tokens);
            }
            Event::ToolCalls(calls) => all_calls = calls,
            Event::Answer { answer, usage } => {
                // A graph's outputs have the names that its author gave them, and nothing is added.
                let graph = matches!(answer, Answer::Tensors(_));
                let mut outputs = output::answer(answer, tensors)?;
                if !graph {
                    outputs.push(output::json("usage", &usage, tensors)?);
                }
                return Ok(outputs);
            }
            Event::Done { finish_reason, usage } => {
                let mut outputs = output::piece(all_text, &all_tokens, tensors)?;
                if !all_calls.is_empty() {
                    outputs.push(output::json("tool_calls", &all_calls, tensors)?);
                }
                outputs.extend(output::end(output::word(finish_reason), usage, tensors)?);
                return Ok(outputs);
            }
        }
    }
    Err(BridgeError::Failed.into())
}

/// An open session, closed when it is dropped: with its context, or with the store.
struct Session {
    models: Arc<dyn Models>,
    id: SessionId,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.models.close(self.id);
    }
}

#[cfg(test)]
mod tests;
