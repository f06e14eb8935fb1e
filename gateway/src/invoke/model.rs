//! A direct call of a model.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use emberbox_billing::{Ending, Hold, Meter};
use emberbox_runtime::bridge::{Answer, Event, FinishReason, Task, TokenLogprobs, ToolCall, Usage};
use tokio::sync::mpsc;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::answers::Answers;
use super::quote::{self, Asked, Prepared};
use super::{Caller, Charged, Tab, Tally};
use crate::app::App;
use crate::errors::ApiError;
use crate::metrics::Waiting;

/// Steps that may wait for a slow client before its sequence waits too.
const STEPS_MAX: usize = 16;

/// What is asked of a model.
pub(crate) struct ModelCall {
    pub(crate) caller: Caller,
    /// `chat` or `embeddings`, as telemetry names it.
    pub(crate) operation: &'static str,
    pub(crate) model: String,
    pub(crate) task: Task,
    /// How many answers to it; at least one.
    pub(crate) choices: u32,
    /// Whether pieces reach the client as they come; else nothing is delivered before the end.
    pub(crate) streams: bool,
}

/// One step of an answer.
#[derive(Debug)]
pub(crate) enum Step {
    /// The hold is durable and the work has begun: the head of an answer may leave.
    Started,
    /// More text of one of the answers.
    Piece { choice: u32, text: String, tokens: u32, logprobs: Vec<TokenLogprobs> },
    /// The functions to be called by one of the answers.
    ToolCalls { choice: u32, calls: Vec<ToolCall> },
    /// A result that is not a text, whole.
    Answer(Answer),
    /// The end, after the charge.
    Done(Box<Finished>),
}

/// How a call ended well.
#[derive(Debug)]
pub(crate) struct Finished {
    /// One for each answer.
    pub(crate) finish_reasons: Vec<FinishReason>,
    /// The prompt counts once, however many answers there are.
    pub(crate) usage: Usage,
    pub(crate) charged: Charged,
}

/// A call in progress. Dropping it is the client's leaving: the work stops and is charged.
pub(crate) struct Run {
    steps: mpsc::Receiver<Result<Step, ApiError>>,
    delivered: Option<Arc<AtomicU32>>,
}

impl Run {
    /// The next step; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Step, ApiError>> {
        let step = self.steps.recv().await;
        if let (Some(Ok(Step::Piece { tokens, .. })), Some(delivered)) = (&step, &self.delivered) {
            delivered.fetch_add(*tokens, Ordering::Relaxed);
        }
        step
    }
}

/// Quotes, holds and begins the work; every refusal comes from here, before any byte.
pub(crate) async fn start(app: &Arc<App>, call: ModelCall) -> Result<Run, ApiError> {
    let (steps, receiver) = mpsc::channel(STEPS_MAX);
    let delivered = Arc::new(AtomicU32::new(0));
    let counted = call.streams.then(|| Arc::clone(&delivered));
    let mut run = Run { steps: receiver, delivered: counted };
    let span = span(&call);
    let app = Arc::clone(app);
    let settling = app.settling.clone();
    settling.spawn(
        async move {
            let client = Client { steps, delivered, deadline: call.caller.arrival.deadline.into() };
            work(app, call, client).await;
        }
        .instrument(span),
    );
    match run.next().await {
        Some(Ok(_)) => Ok(run),
        Some(Err(error)) => Err(error),
        None => Err(ApiError::Internal),
    }
}

/// The span of OpenTelemetry's GenAI conventions. Counts and names only, never content.
fn span(call: &ModelCall) -> Span {
    let max_tokens = match &call.task {
        Task::Generate { options, .. } => options.max_tokens,
        Task::Embed { .. } | Task::Classify { .. } | Task::Rerank { .. } | Task::Run { .. } => None,
    };
    tracing::info_span!(
        "model_call",
        otel.name = format!("{} {}", call.operation, call.model),
        otel.kind = "internal",
        gen_ai.operation.name = call.operation,
        gen_ai.provider.name = "emberbox",
        gen_ai.request.model = call.model,
        gen_ai.request.max_tokens = max_tokens,
        gen_ai.response.model = call.model,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        "error.type" = Empty,
        request_id = %call.caller.arrival.request_id,
    )
}

/// The client's side of the channel.
struct Client {
    steps: mpsc::Sender<Result<Step, ApiError>>,
    delivered: Arc<AtomicU32>,
    deadline: tokio::time::Instant,
}

impl Client {
    async fn send(&self, step: Step) -> Result<(), Stop> {
        match tokio::time::timeout_at(self.deadline, self.steps.send(Ok(step))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stop::ClientLeft),
            Err(_) => Err(Stop::Deadline),
        }
    }

    /// Nobody may be listening any more, and then nobody needs to know.
    async fn end(&self, last: Result<Step, ApiError>) {
        if let Err(error) = &last {
            Span::current().record("error.type", error.code());
        }
        // A client that does not read has had the time of its whole call to begin.
        let sent = tokio::time::timeout_at(self.deadline, self.steps.send(last)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!("the client left before the end of its answer");
        }
    }
}

/// Why the work is over.
enum Stop {
    Done(Vec<FinishReason>, Usage),
    ClientLeft,
    Deadline,
    Failed(ApiError),
}

/// A call that may begin.
struct Ready {
    answers: Answers,
    tab: Tab,
    hold: Hold,
    waiting: Waiting,
}

async fn work(app: Arc<App>, call: ModelCall, client: Client) {
    let ModelCall { caller, model, task, choices, .. } = call;
    let asked = Asked { model: &model, task, choices, max_cost: caller.max_cost };
    let ready = match admit(&app, &caller, asked).await {
        Ok(ready) => ready,
        Err(error) => return client.end(Err(error)).await,
    };
    let Ready { mut answers, tab, hold, waiting } = ready;
    let mut clock = Clock { app: &app, arrived: caller.arrival.at, last: HashMap::new() };
    let stop = match deliver(&mut answers, hold, &client, (&mut clock, waiting)).await {
        Ok(never) => match never {},
        Err(stop) => stop,
    };
    let used = answers.usage();
    drop(answers);
    let delivered = client.delivered.load(Ordering::Relaxed);
    let last = settle(tab, &model, stop, (used, delivered)).await;
    client.end(last).await;
}

/// Everything that can refuse the call: the model, the request, the balance, the queue.
async fn admit(app: &Arc<App>, caller: &Caller, asked: Asked<'_>) -> Result<Ready, ApiError> {
    let Prepared { sessions, quote, .. } = quote::model(app, &caller.org(), asked).await?;
    let answers = Answers::new(sessions);
    let lasts_ms_max = app.config.limits.request_deadline_ms;
    let (tab, hold) = Tab::open(app, caller, (quote, lasts_ms_max)).await?;
    let waiting = app.metrics.wait(caller.arrival.at.elapsed());
    if let Err(error) = answers.begin().await {
        tab.release().await;
        return Err(error);
    }
    Ok(Ready { answers, tab, hold, waiting })
}

/// Measures the time to the first token and between the others.
struct Clock<'a> {
    app: &'a App,
    arrived: Instant,
    /// When each answer last had a token.
    last: HashMap<u32, Instant>,
}

impl Clock<'_> {
    fn tokens(&mut self, choice: u32, tokens: u32) {
        let now = Instant::now();
        match self.last.insert(choice, now) {
            None if choice > 0 => {}
            None => self.app.metrics.first_token(now - self.arrived),
            Some(last) => self.app.metrics.next_tokens(tokens, now - last),
        }
    }
}

/// Passes events on until there is a reason to stop.
async fn deliver(
    answers: &mut Answers,
    mut hold: Hold,
    client: &Client,
    (clock, waiting): (&mut Clock<'_>, Waiting),
) -> Result<std::convert::Infallible, Stop> {
    // The work has begun already; only its results wait for the disk.
    hold.durable().await.map_err(|error| Stop::Failed(error.into()))?;
    client.send(Step::Started).await?;
    let mut waiting = Some(waiting);
    loop {
        let event = tokio::select! {
            event = answers.next() => event,
            () = client.steps.closed() => return Err(Stop::ClientLeft),
            () = tokio::time::sleep_until(client.deadline) => return Err(Stop::Deadline),
        };
        drop(waiting.take());
        let (choice, event) = event.map_err(Stop::Failed)?;
        match event {
            Event::Piece { text, tokens, logprobs } => {
                let tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                clock.tokens(choice, tokens);
                client.send(Step::Piece { choice, text, tokens, logprobs }).await?;
            }
            Event::ToolCalls(calls) => client.send(Step::ToolCalls { choice, calls }).await?,
            Event::Answer { answer, .. } => client.send(Step::Answer(answer)).await?,
            // Nobody here has cancelled: the model was removed, or its thread has ended.
            Event::Done { finish_reason: FinishReason::Cancelled, .. } => {
                let gone = "the model was stopped in the middle of the call";
                return Err(Stop::Failed(ApiError::Overloaded(gone.to_owned())));
            }
            Event::Done { finish_reason: FinishReason::Deadline, .. } => {
                return Err(Stop::Deadline);
            }
            Event::Done { finish_reason, .. } => {
                if let Some(reasons) = answers.ended(choice, finish_reason) {
                    return Err(Stop::Done(reasons, answers.usage()));
                }
            }
        }
    }
}

/// Ends the hold by the table of endings; returns the last thing that the client hears.
async fn settle(
    tab: Tab,
    model: &str,
    stop: Stop,
    (used, delivered): (Usage, u32),
) -> Result<Step, ApiError> {
    // What the engine made but nobody received is not the client's to pay.
    let cut = Usage { output_tokens: used.output_tokens.min(delivered), ..used };
    let (usage, ending, calls) = match &stop {
        Stop::Done(_, usage) => (*usage, Ending::Normal, 1),
        Stop::ClientLeft => (cut, Ending::ClientLeft, 0),
        Stop::Deadline => (cut, Ending::Deadline, 1),
        Stop::Failed(_) => (cut, Ending::PlatformFault, 0),
    };
    let mut tally = Tally::default();
    tally.add(Some(model), Meter::Calls, calls);
    tally.add_tokens(model, usage);
    record(usage, &stop);
    match stop {
        Stop::Failed(error) if delivered == 0 => {
            tab.release().await;
            Err(error)
        }
        Stop::Failed(error) => tab.charge(tally.lines(), ending).await.and(Err(error)),
        Stop::Deadline => {
            let reason = "the model's answer was not complete before the request's deadline";
            tab.charge(tally.lines(), ending)
                .await
                .and(Err(ApiError::Deadline { reason: reason.to_owned(), limit: None }))
        }
        Stop::ClientLeft => {
            let charged = tab.charge(tally.lines(), ending).await?;
            tracing::debug!(cost = %charged.receipt.amount, "charged a call whose client left");
            Err(ApiError::Internal)
        }
        Stop::Done(finish_reasons, usage) => {
            let charged = tab.charge(tally.lines(), ending).await?;
            Ok(Step::Done(Box::new(Finished { finish_reasons, usage, charged })))
        }
    }
}

fn record(usage: Usage, stop: &Stop) {
    let name = |reason: &FinishReason| match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Deadline => "deadline",
    };
    let reasons = match stop {
        Stop::Done(reasons, _) => reasons.iter().map(name).collect::<Vec<_>>().join(","),
        Stop::ClientLeft => "cancelled".to_owned(),
        Stop::Deadline => "deadline".to_owned(),
        Stop::Failed(_) => "error".to_owned(),
    };
    let span = Span::current();
    span.record("gen_ai.response.finish_reasons", reasons);
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    span.record("gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens);
}
