use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use emberbox_runtime::bridge::{
    Answer, Bridge, BridgeError, Event, FinishReason, GenerateOptions, Input, ModelInfo, ModelKind,
    Open, Plan, Prompt, SessionId, Task, Usage,
};
use tokio::sync::Notify;

/// Tokens of output where the options do not say.
const OUTPUT_TOKENS_DEFAULT: u32 = 64;
const CONTEXT_LENGTH: u32 = 1_000;

/// A model that says its prompt back, one word for each token; a token's id is its word's length.
/// A word `stall` is where it stops until it is cancelled. An embedding of a text is its number of
/// bytes and of words.
pub(crate) struct Echo {
    models: Vec<String>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    sessions: HashMap<u64, Session>,
    closed: usize,
}

#[derive(Default)]
struct Session {
    prepared: Option<Task>,
    events: VecDeque<Event>,
    stalled: bool,
    usage: Usage,
}

impl Echo {
    pub(crate) fn new(models: &[&str]) -> Self {
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        Self { models, state: Mutex::new(State::default()), changed: Notify::new() }
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.state.lock().expect("state").sessions.len()
    }

    pub(crate) fn closed(&self) -> usize {
        self.state.lock().expect("state").closed
    }

    /// Waits until some session has said all it will say before it is cancelled.
    pub(crate) async fn stalls(&self) {
        self.until(|state| state.sessions.values().any(|s| s.stalled && s.events.is_empty())).await;
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if done(&self.state.lock().expect("state")) {
                return;
            }
            changed.await;
        }
    }

    fn with<T>(
        &self,
        session: SessionId,
        act: impl FnOnce(&mut Session) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        let mut state = self.state.lock().expect("state");
        let result = act(state.sessions.get_mut(&session.0).ok_or(BridgeError::Cancelled)?);
        drop(state);
        self.changed.notify_waiters();
        result
    }
}

fn invalid<T>(field: &str, reason: &str) -> Result<T, BridgeError> {
    Err(BridgeError::InvalidRequest { field: field.to_owned(), reason: reason.to_owned() })
}

fn check(options: &GenerateOptions) -> Result<(), BridgeError> {
    if options.max_tokens == Some(0) {
        return invalid("max_tokens", "must be at least 1");
    }
    if !(0.0..=2.0).contains(&options.temperature) {
        return invalid("temperature", "must be between 0 and 2");
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return invalid("top_p", "must be above 0 and at most 1");
    }
    Ok(())
}

/// The words of a prompt; of messages those of the last one.
fn words(prompt: &Prompt) -> Result<Vec<String>, BridgeError> {
    let text = match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Tokens(tokens) if tokens.iter().all(|token| *token < 1_000) => {
            tokens.iter().map(|token| "x".repeat(*token as usize)).collect::<Vec<_>>().join(" ")
        }
        Prompt::Tokens(_) => return invalid("tokens", "outside the vocabulary"),
        Prompt::Messages(json) => {
            let messages: Vec<HashMap<String, String>> =
                serde_json::from_str(json).or_else(|_| invalid("messages", "not a list"))?;
            match messages.last().and_then(|m| m.get("role").and(m.get("content"))) {
                Some(content) => content.clone(),
                None => return invalid("messages", "needs a role and a content"),
            }
        }
    };
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { invalid("prompt", "is empty") } else { Ok(words) }
}

/// The words of a text for an encoder.
fn words_of(input: &Input) -> Vec<&str> {
    match input {
        Input::Text(text) => text.split_whitespace().collect(),
        Input::Tokens(_) => Vec::new(),
    }
}

fn plan(task: &Task) -> Result<Plan, BridgeError> {
    let (input, output_tokens_max) = match task {
        Task::Generate { prompt, options } => {
            check(options)?;
            (words(prompt)?.len(), options.max_tokens.unwrap_or(OUTPUT_TOKENS_DEFAULT))
        }
        Task::Embed { texts } => (texts.iter().map(|t| words_of(t).len()).sum(), 0),
        _ => return Err(BridgeError::WrongKind("echo".to_owned())),
    };
    let input_tokens = u32::try_from(input).expect("a short text");
    let tokens = input_tokens.saturating_add(output_tokens_max);
    if tokens > CONTEXT_LENGTH {
        return Err(BridgeError::ContextLength { tokens, max: CONTEXT_LENGTH });
    }
    Ok(Plan { input_tokens, output_tokens_max })
}

fn run(task: &Task, usage: Usage) -> (VecDeque<Event>, bool) {
    let (prompt, max) = match task {
        Task::Generate { prompt, options } => {
            (prompt, options.max_tokens.unwrap_or(OUTPUT_TOKENS_DEFAULT) as usize)
        }
        Task::Embed { texts } => {
            let row = |t: &Input| {
                let words = words_of(t);
                let bytes = words.iter().map(|word| word.len() + 1).sum::<usize>() - 1;
                [bytes as f32, words.len() as f32]
            };
            let data: Vec<u8> = texts.iter().flat_map(row).flat_map(f32::to_le_bytes).collect();
            let rows = u32::try_from(texts.len()).expect("few texts");
            let answer = Answer::Embeddings { rows, dims: 2, data };
            return (VecDeque::from([Event::Answer { answer, usage }]), false);
        }
        _ => return (VecDeque::new(), false),
    };
    let words = words(prompt).expect("checked");
    let said: Vec<&String> = words.iter().take(max).take_while(|word| *word != "stall").collect();
    let mut events: VecDeque<Event> = said
        .iter()
        .map(|word| Event::Piece {
            text: format!("{word} "),
            tokens: vec![word.len() as u32],
            logprobs: Vec::new(),
        })
        .collect();
    let stalled = words.iter().take(max).any(|word| word == "stall");
    if !stalled {
        let finish_reason =
            if words.len() > max { FinishReason::Length } else { FinishReason::Stop };
        let usage = Usage { output_tokens: said.len() as u32, ..usage };
        events.push_back(Event::Done { finish_reason, usage });
    }
    (events, stalled)
}

#[async_trait]
impl Bridge for Echo {
    async fn open(&self, open: Open) -> Result<SessionId, BridgeError> {
        assert!(!open.tenant.is_empty());
        if !self.models.contains(&open.model) {
            return Err(BridgeError::ModelNotFound(open.model));
        }
        let mut state = self.state.lock().expect("state");
        state.next += 1;
        let id = state.next;
        state.sessions.insert(id, Session::default());
        Ok(SessionId(id))
    }

    async fn prepare(&self, session: SessionId, task: Task) -> Result<Plan, BridgeError> {
        let plan = plan(&task)?;
        self.with(session, |session| {
            session.prepared = Some(task);
            Ok(plan)
        })
    }

    async fn submit(&self, session: SessionId) -> Result<(), BridgeError> {
        self.with(session, |session| {
            let task = session.prepared.take().ok_or(BridgeError::Failed)?;
            let input_tokens = plan(&task)?.input_tokens;
            session.usage = Usage { input_tokens, ..Usage::default() };
            (session.events, session.stalled) = run(&task, session.usage);
            Ok(())
        })
    }

    async fn next(&self, session: SessionId) -> Result<Event, BridgeError> {
        loop {
            let changed = self.changed.notified();
            // Only what changes something may notify: this waits for changes itself.
            let event = {
                let mut state = self.state.lock().expect("state");
                let session = state.sessions.get_mut(&session.0).ok_or(BridgeError::Cancelled)?;
                session.events.pop_front()
            };
            if let Some(event) = event {
                self.changed.notify_waiters();
                return Ok(event);
            }
            changed.await;
        }
    }

    fn cancel(&self, session: SessionId) {
        let done = |usage| Event::Done { finish_reason: FinishReason::Cancelled, usage };
        let cancel = |session: &mut Session| {
            session.stalled = false;
            session.events = VecDeque::from([done(session.usage)]);
            Ok(())
        };
        self.with(session, cancel).expect("an open session");
    }

    fn close(&self, session: SessionId) {
        let mut state = self.state.lock().expect("state");
        if state.sessions.remove(&session.0).is_some() {
            state.closed += 1;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn usage(&self, session: SessionId) -> Usage {
        let state = self.state.lock().expect("state");
        state.sessions.get(&session.0).map(|session| session.usage).unwrap_or_default()
    }

    async fn bring(&self, _model: bytes::Bytes) -> Result<ModelInfo, BridgeError> {
        Err(BridgeError::BadModel("this model is no file".to_owned()))
    }

    fn model(&self, name: &str) -> Option<ModelInfo> {
        self.models.iter().find(|model| *model == name).map(|name| ModelInfo {
            name: name.clone(),
            kind: ModelKind::Generation,
            architecture: "echo".to_owned(),
            parameters: 0,
            context_length: CONTEXT_LENGTH,
            embedding_dims: 2,
            weight_bytes: 0,
            quantisation: "none".to_owned(),
            digest: String::new(),
            chat_template: true,
            inputs: Vec::new(),
            outputs: Vec::new(),
        })
    }
}
