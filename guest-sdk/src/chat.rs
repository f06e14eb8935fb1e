//! A conversation that keeps its context.
//!
//! Every turn gives the whole conversation to the same context. The platform finds that it starts
//! with what it has already read, and only the new part costs time and money.

use crate::generate::{End, Options, option_setters, step};
use crate::nn::{Compute, Graph};
use crate::{Completion, Error, FinishReason, Message, Piece, Prompt, Role, Usage};
use std::rc::Rc;

/// A conversation; [`Model::chat`](crate::Model::chat) begins one.
///
/// ```no_run
/// # fn run() -> Result<(), emberbox_sdk::Error> {
/// # use emberbox_sdk::Model;
/// let mut chat = Model::load("tiny-storyteller")?.chat().max_tokens(80).temperature(0.7);
/// let story = chat.say("Tell me a story about a fox.").complete()?.text;
/// for piece in chat.say("And what happened then?") {
///     print!("{}", piece?);
/// }
/// # Ok(()) }
/// ```
pub struct Chat {
    graph: Rc<dyn Graph>,
    context: Option<Box<dyn Compute>>,
    messages: Vec<Message>,
    options: Options,
}

impl Chat {
    pub(crate) fn new(graph: Rc<dyn Graph>) -> Self {
        Self { graph, context: None, messages: Vec::new(), options: Options::default() }
    }

    option_setters!();

    /// Puts instructions at the head of the conversation.
    #[must_use]
    pub fn system(mut self, instructions: impl Into<String>) -> Self {
        self.messages.insert(0, Message::system(instructions));
        self
    }

    /// Goes on from a conversation that was held before, for instance one the caller sent along.
    #[must_use]
    pub fn history(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.messages.extend(messages);
        self
    }

    /// Everything said so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Says something; the turn returned is the model's answer.
    ///
    /// What has come of an answer when its turn is dropped stays in the conversation.
    pub fn say(&mut self, text: impl Into<String>) -> Turn<&mut Self> {
        self.messages.push(Message::user(text));
        Turn { chat: self, state: TurnState::Asked, end: None }
    }

    /// Says something as the last turn. The turn owns the conversation, so it can be streamed as a
    /// response: `Response::stream(chat.say_last("…"))`.
    pub fn say_last(mut self, text: impl Into<String>) -> Turn<Self> {
        self.messages.push(Message::user(text));
        Turn { chat: self, state: TurnState::Asked, end: None }
    }
}

impl AsMut<Chat> for Chat {
    fn as_mut(&mut self) -> &mut Chat {
        self
    }
}

/// The model's answer in a [`Chat`], as an iterator over its pieces. Dropping it stops the model.
#[must_use = "nothing runs until a piece is asked for"]
pub struct Turn<C: AsMut<Chat>> {
    chat: C,
    state: TurnState,
    end: Option<End>,
}

enum TurnState {
    Asked,
    Running(Box<dyn Compute>),
    Over,
}

impl<C: AsMut<Chat>> Turn<C> {
    /// What the answer used, once it is at its end; before that `None`.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.end.as_ref().map(|end| end.usage)
    }

    /// Why the answer ended, once it is at its end; before that `None`.
    #[must_use]
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.end.as_ref().map(|end| &end.finish_reason)
    }

    /// The whole answer at once.
    ///
    /// # Errors
    /// Whatever ends the generation early: no budget, no time, options the model does not accept.
    pub fn complete(mut self) -> Result<Completion, Error> {
        let mut text = String::new();
        for piece in &mut self {
            text.push_str(&piece?.text);
        }
        let end = self.end.unwrap_or_default();
        Ok(Completion { text, finish_reason: end.finish_reason, usage: end.usage })
    }

    /// The next piece. The context goes back to the chat only at the end of the answer: one that
    /// was left in the middle is closed with the turn, and the next turn opens another.
    fn advance(&mut self) -> Result<Option<Piece>, Error> {
        let chat = self.chat.as_mut();
        let (mut context, inputs) = match std::mem::replace(&mut self.state, TurnState::Over) {
            TurnState::Asked => {
                let context = chat.context.take().map_or_else(|| chat.graph.context(), Ok)?;
                let prompt = Prompt::Messages(chat.messages.clone());
                (context, chat.options.inputs(&prompt)?)
            }
            TurnState::Running(context) => (context, Vec::new()),
            TurnState::Over => return Ok(None),
        };
        let step = step(context.as_mut(), inputs)?;
        if let Some(piece) = &step.piece {
            match chat.messages.last_mut() {
                Some(last) if last.role == Role::Assistant => last.content.push_str(&piece.text),
                _ => chat.messages.push(Message::assistant(&piece.text)),
            }
        }
        match step.end {
            Some(end) => {
                self.end = Some(end);
                chat.context = Some(context);
            }
            None => self.state = TurnState::Running(context),
        }
        Ok(step.piece)
    }
}

impl<C: AsMut<Chat>> Iterator for Turn<C> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

impl<C: AsMut<Chat>> std::iter::FusedIterator for Turn<C> {}
