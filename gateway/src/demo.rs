//! The demo: a play in scenes on a real server, its claims checked while one watches.
//!
//! Everything runs in this process, offline, on free ports and in a temporary folder. Nothing is
//! staged: the scenes use the same HTTP routes as anybody, what a call says it cost is compared
//! with what the balance lost, and at the end the receipts with the ledger.

use std::path::PathBuf;
use std::time::Instant;

use emberbox_billing::Nano;
use serde_json::json;

use self::screen::Screen;
use self::stage::Stage;
use crate::cli::CliError;
use crate::cli::format::credits;
use crate::cli::output::Output;
use crate::cli::serve::wait_and_drain;
use crate::client::Client;

mod books;
mod guests;
mod refusal;
mod scenes;
mod screen;
mod stage;

/// What a person chose.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Stop the server at the end.
    pub(crate) exit: bool,
    /// A real embedding model for the semantic search.
    pub(crate) embedding_model: Option<PathBuf>,
}

/// What a scene brought to light.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// What the calls said they cost, if they said it.
    claimed: Option<Nano>,
    /// What other organisations than the demo's own have paid.
    paid_by_others: Nano,
}

/// One scene: what is shown, and how.
struct Scene {
    name: &'static str,
    title: &'static str,
    play: fn(&mut Play<'_>) -> Result<Outcome, CliError>,
}

const SCENES: [Scene; 8] = [
    Scene {
        name: "chat",
        title: "A chat, streamed: any OpenAI client can do this",
        play: scenes::chat,
    },
    Scene {
        name: "deploy",
        title: "Three sandboxed functions, each a WebAssembly component, go online",
        play: scenes::deploy,
    },
    Scene { name: "function", title: "A call of a function", play: scenes::hello },
    Scene {
        name: "story",
        title: "A function that calls the model and streams what it says",
        play: scenes::story,
    },
    Scene {
        name: "search",
        title: "A semantic search: a function that compares embeddings",
        play: scenes::search,
    },
    Scene { name: "usage", title: "What was called, and what it cost", play: scenes::usage },
    Scene {
        name: "refusal",
        title: "Credits run out: refused before any work is done",
        play: refusal::play,
    },
    Scene {
        name: "books",
        title: "The books: every receipt against the ledger",
        play: books::play,
    },
];

/// The stage, the screen, and what has been seen so far.
struct Play<'a> {
    stage: &'a Stage,
    screen: Screen,
    options: &'a Options,
    /// The second organisation, once there is one.
    guest: Option<Client>,
    steps: Vec<Step>,
}

/// One line of the report.
#[derive(Debug, Clone)]
struct Step {
    name: &'static str,
    failure: Option<String>,
    cost: Nano,
    ms: u64,
}

/// Runs the demo.
///
/// # Errors
/// When the server does not start, when a check fails, or when nothing can be printed.
pub(crate) fn run(options: &Options, out: Output) -> Result<(), CliError> {
    let runtime = crate::cli::serve::runtime()?;
    let screen = Screen::new(out);
    screen.opening()?;
    screen.title(1, SCENES.len() + 1, "A server with a ledger and a small language model")?;
    screen.command("emberbox serve")?;
    let begun = Instant::now();
    let stage = match Stage::set(&runtime) {
        Ok(stage) => stage,
        Err(error) => {
            let step = Step::new("start", begun, Err(error.to_string()));
            print_report(&[step], out)?;
            return Err(CliError::Demo(error.to_string()));
        }
    };
    stage.introduce(&screen)?;
    let first = Step::new("start", begun, Ok(Nano::from_nano(0)));
    screen.result(&first, stage.balance()?)?;
    let mut play = Play { stage: &stage, screen, options, guest: None, steps: vec![first] };
    for scene in &SCENES {
        play.act(scene)?;
    }
    let verdict = play.verdict();
    play.screen.closing(&play.steps)?;
    let steps = play.steps;
    if !options.exit {
        stage.farewell(&screen)?;
    }
    print_report(&steps, out)?;
    let (running, folder) = stage.strike();
    let ended = if options.exit {
        runtime.block_on(running.shutdown(std::time::Duration::from_secs(5)));
        Ok(())
    } else {
        runtime.block_on(wait_and_drain(running, out))
    };
    drop(folder);
    verdict.and(ended)
}

/// With `--json` the last line of standard output, and the only one.
fn print_report(steps: &[Step], out: Output) -> Result<(), CliError> {
    if !out.is_json() {
        return Ok(());
    }
    let lines: Vec<_> = steps.iter().map(Step::to_json).collect();
    let ok = steps.iter().all(|step| step.failure.is_none());
    out.answer(&json!({ "ok": ok, "steps": lines }), |_| String::new())
}

impl Play<'_> {
    /// Plays a scene, compares its claim with the balance, and notes how it went.
    ///
    /// A scene that fails does not end the play: one sees what else works.
    fn act(&mut self, scene: &Scene) -> Result<(), CliError> {
        self.screen.title(self.steps.len() + 1, SCENES.len() + 1, scene.title)?;
        let before = self.stage.balance()?;
        let begun = Instant::now();
        let played = (scene.play)(self);
        let after = self.stage.balance()?;
        let lost = difference(before, after)?;
        let checked = played.and_then(|outcome| checked_cost(outcome, lost));
        let mut step = Step::new(scene.name, begun, checked.map_err(|error| error.to_string()));
        if step.failure.is_some() {
            // A call that failed may have cost something, which later sums must not miss.
            step.cost = lost;
        }
        self.screen.result(&step, after)?;
        self.steps.push(step);
        Ok(())
    }

    /// What all steps so far have cost, whoever paid.
    fn spent(&self) -> Result<Nano, CliError> {
        sum(self.steps.iter().map(|step| step.cost))
    }

    fn verdict(&self) -> Result<(), CliError> {
        let failed: Vec<&str> =
            self.steps.iter().filter(|step| step.failure.is_some()).map(|s| s.name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(CliError::Demo(format!(
            "{} of {} steps failed: {}",
            failed.len(),
            self.steps.len(),
            failed.join(", ")
        )))
    }
}

/// What a scene cost: what the balance lost, which must be what the calls claimed.
fn checked_cost(outcome: Outcome, lost: Nano) -> Result<Nano, CliError> {
    match outcome.claimed {
        Some(claimed) if claimed != lost => Err(failure(format!(
            "the calls said they cost {}, and the balance lost {}",
            credits(claimed),
            credits(lost)
        ))),
        _ => sum([lost, outcome.paid_by_others]),
    }
}

fn difference(before: Nano, after: Nano) -> Result<Nano, CliError> {
    before.checked_sub(after).ok_or_else(|| failure("a difference of credits overflowed".into()))
}

fn sum(amounts: impl IntoIterator<Item = Nano>) -> Result<Nano, CliError> {
    amounts
        .into_iter()
        .try_fold(Nano::from_nano(0), Nano::checked_add)
        .ok_or_else(|| failure("a sum of credits overflowed".to_owned()))
}

/// A check that did not hold.
fn failure(what: String) -> CliError {
    CliError::Failed { what, next: String::new() }
}

/// Goes on if `holds`; otherwise the demo shows what did not.
fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), CliError> {
    if holds { Ok(()) } else { Err(failure(what())) }
}

impl Step {
    fn new(name: &'static str, begun: Instant, cost: Result<Nano, String>) -> Self {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match cost {
            Ok(cost) => Self { name, failure: None, cost, ms },
            Err(reason) => Self { name, failure: Some(reason), cost: Nano::from_nano(0), ms },
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut line = json!({
            "name": self.name,
            "status": if self.failure.is_none() { "ok" } else { "failed" },
            "cost": self.cost.to_string(),
            "ms": self.ms,
        });
        if let Some(reason) = &self.failure {
            line["reason"] = json!(reason);
        }
        line
    }
}
