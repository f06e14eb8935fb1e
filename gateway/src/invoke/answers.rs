use emberbox_runtime::bridge::{Event, FinishReason, Usage};
use futures::future::select_all;

use super::quote::Session;
use crate::errors::ApiError;

/// The answers to one prompt, each with its sequence. The first one computes the prompt; the others
/// begin when it has, and find it in the cache.
pub(super) struct Answers {
    sessions: Vec<Session>,
    /// Why each ended, if it did.
    reasons: Vec<Option<FinishReason>>,
    /// How many were begun.
    begun: usize,
}

impl Answers {
    /// Of prepared sessions; at least one.
    pub(super) fn new(sessions: Vec<Session>) -> Self {
        Self { reasons: vec![None; sessions.len()], sessions, begun: 1 }
    }

    /// Begins the first.
    pub(super) async fn begin(&self) -> Result<(), ApiError> {
        let first = self.sessions.first().ok_or(ApiError::Internal)?;
        Ok(first.bridge.submit(first.id).await?)
    }

    /// The next event, and whose it is.
    pub(super) async fn next(&mut self) -> Result<(u32, Event), ApiError> {
        let going = self.sessions[..self.begun].iter().enumerate();
        let next: Vec<_> = going
            .filter(|(choice, _)| self.reasons[*choice].is_none())
            .map(|(choice, session)| {
                let next = session.bridge.next(session.id);
                Box::pin(async move { (choice as u32, next.await) })
            })
            .collect();
        if next.is_empty() {
            return Err(ApiError::Internal);
        }
        let ((choice, event), ..) = select_all(next).await;
        let event = event?;
        for session in &self.sessions[self.begun..] {
            session.bridge.submit(session.id).await?;
        }
        self.begun = self.sessions.len();
        Ok((choice, event))
    }

    /// Notes an end; all reasons, after the last.
    pub(super) fn ended(&mut self, choice: u32, reason: FinishReason) -> Option<Vec<FinishReason>> {
        if let Some(own) = self.reasons.get_mut(choice as usize) {
            *own = Some(reason);
        }
        self.reasons.iter().copied().collect()
    }

    /// Tokens so far: of the prompt once, and of all answers.
    pub(super) fn usage(&self) -> Usage {
        let of = |session: &Session| session.bridge.usage(session.id);
        let first = self.sessions.first().map(of).unwrap_or_default();
        let output_tokens = self.sessions.iter().map(|session| of(session).output_tokens).sum();
        Usage { output_tokens, ..first }
    }
}
