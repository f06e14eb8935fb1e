//! A generator that is driven step by step, without threads and without time.

use emberbox_sampling::{Sampler, Sampling};

use super::*;
use crate::api::{Event, Usage};
use crate::models::load::{Network, check};
use crate::models::place::Place;
use crate::scheduler::choice::Choice;
use crate::scheduler::inbox::{Limits, Queued};
use crate::scheduler::prepare::{Generation, Prepared};
use crate::scheduler::session::{Ready, Session};
use crate::testing::{Scratch, defaults, endless_gguf};
use crate::text::output::Output;
use crate::{InferenceError, ModelSource};

/// Guesses of what comes next.
mod drafts;
/// Who is served, and when.
mod fairness;
/// Any mixture of everything.
mod mixture;
/// Blocks: shared, taken away, given back.
mod sharing;

/// A generator and its clock.
struct Rig {
    generator: Generator,
    inbox: Arc<Inbox<Job>>,
    now: Instant,
    blocks: usize,
}

/// A client of it, and what it has received.
struct Client {
    session: Arc<Session>,
    tokens: Vec<u32>,
    end: Option<(FinishReason, Usage)>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ask {
    prompt: Vec<u32>,
    output_max: usize,
    /// Greedy without one.
    seed: Option<u64>,
}

fn ask(prompt: impl IntoIterator<Item = u32>, output_max: usize) -> Ask {
    Ask { prompt: prompt.into_iter().collect(), output_max, seed: None }
}

/// Steps of at most 16 tokens of prompts, whatever the machine's speed, and without drafts.
fn options() -> InferenceOptions {
    InferenceOptions {
        inter_token_target: Duration::ZERO,
        prefill_tokens_max: 16,
        kv_tokens_max: 256,
        speculation: false,
        ..defaults()
    }
}

impl Rig {
    /// A model that never ends its text by itself.
    fn new(options: InferenceOptions) -> Self {
        let file = endless_gguf();
        let scratch = Scratch::new();
        let path = scratch.write("random.gguf", file.bytes());
        let checked = check("random", &ModelSource::Path(path), u64::MAX).unwrap();
        let place = Place::open(options.device, options.encoder_weights).unwrap();
        let (_, text, network) =
            checked.build(options.kv_tokens_max, options.kv_storage.into(), &place).unwrap();
        let Network::Decoder(decoder) = network else { panic!("not a generation model") };
        let inbox = Arc::new(Inbox::new(Limits::of(&options)));
        let blocks = Blocks::needed(options.kv_tokens_max);
        let parts = Parts {
            text: Arc::new(text),
            inbox: Arc::clone(&inbox),
            options: Arc::new(options),
            secret: Secret::new(""),
        };
        let generator = Generator::new(*decoder, parts);
        Self { generator, inbox, now: Instant::now(), blocks }
    }

    fn submit(&self, payer: &str, ask: &Ask) -> Client {
        self.submit_until(payer, ask, None)
    }

    fn submit_until(&self, payer: &str, ask: &Ask, deadline: Option<Instant>) -> Client {
        // Low enough that some texts repeat themselves.
        let temperature = if ask.seed.is_some() { 0.1 } else { 0.0 };
        let sampling = Sampling { temperature, ..Sampling::default() };
        let Ask { prompt, output_max, .. } = ask.clone();
        let choice = Choice {
            sampler: Sampler::new(sampling, ask.seed.unwrap_or(0), &prompt),
            constraint: None,
            output: Output::new(Vec::new()),
            logprobs: None,
            tools: None,
        };
        let task = Generation { prompt, output_max, choice };
        let tokens = task.prompt.len() + output_max;
        self.push(payer, (Prepared::Generate(Box::new(task)), tokens), deadline)
    }

    fn embed(&self, payer: &str, texts: Vec<Vec<u32>>) -> Client {
        let tokens = texts.iter().map(Vec::len).sum();
        self.push(payer, (Prepared::Embed(texts), tokens), None)
    }

    fn push(
        &self,
        payer: &str,
        (prepared, tokens): (Prepared, usize),
        deadline: Option<Instant>,
    ) -> Client {
        let session = Arc::new(Session::new(0, payer));
        let job = session.begin_alone(Ready { prepared, deadline });
        let queued = Queued { job, payer: Arc::from(payer), tokens };
        self.inbox.push(queued).map_err(|(_, error)| error).unwrap();
        Client { session, tokens: Vec::new(), end: None }
    }

    fn turn(&mut self) -> bool {
        self.generator.turn(self.now)
    }

    /// Turns until all clients, who fetch at once, have their ends.
    fn finish(&mut self, clients: &mut [&mut Client]) {
        for _ in 0..20_000 {
            clients.iter_mut().for_each(|client| client.fetch(usize::MAX));
            if clients.iter().all(|client| client.end.is_some()) {
                return;
            }
            assert!(self.turn(), "it sleeps although somebody waits");
        }
        panic!("it never ends");
    }

    /// What a task gives when it is alone.
    fn alone(&mut self, ask: &Ask) -> Vec<u32> {
        let mut client = self.submit("", ask);
        self.finish(&mut [&mut client]);
        client.tokens
    }

    /// Payers of the running sequences, the oldest first.
    fn running(&self) -> Vec<&str> {
        let mut all: Vec<_> = self.generator.running.iter().map(|s| &s.holding).collect();
        all.sort_unstable_by_key(|holding| holding.age);
        all.into_iter().map(|holding| &**holding.payer()).collect()
    }

    fn free(&self) -> usize {
        self.generator.blocks.free()
    }
}

impl Client {
    /// Takes events, at most so many.
    fn fetch(&mut self, events_max: usize) {
        for _ in 0..events_max {
            match self.session.take() {
                Ok(Some(Event::Piece { tokens, .. })) => self.tokens.extend(tokens),
                Ok(Some(Event::Done { finish_reason, usage })) => {
                    assert_eq!(usage.output_tokens as usize, self.tokens.len());
                    self.end = Some((finish_reason, usage));
                }
                Ok(Some(Event::ToolCalls(_) | Event::Answer { .. })) => {}
                Ok(None) | Err(InferenceError::InvalidRequest { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn usage(&self) -> Usage {
        self.end.unwrap().1
    }
}
